/* A difference between two states in the words of the contract: rows, edges, one packed array.

   Whoever knows the settled points says which go and which come, and who is near a place; what
   follows from that for rows and edges is here. Own points have rows of the cache, ghosts only send.
   Knows neither LAMMPS nor Python. */

#pragma once

#include "interpreter.h"
#include "neighbours.h"
#include "point_list.h"

#include <vector>

namespace mliap_local {

/* The records of a change with room behind them, so that Python need not copy them to pad them: its
   sizes are 64 rows or more, and up to 1.5 times what is needed. */
mliap_local_change padded(std::vector<double> &packed, int settled, int cache_rows);

enum Part { OWN, GHOSTS, PARTS };

/* Rows of the cache: in use or free, all below size(). What a proposal takes and frees is kept
   apart until it is settled. */
class CacheRows {
 public:
  struct Proposal {
    std::vector<int> gone;    // rows of points that are gone, which are used first
    std::size_t from_gone = 0, from_free = 0;
    int size = 0;             // of the cache then
  };

  void assign(int in_use);
  int size() const { return size_; }
  Proposal propose(std::vector<int> gone) const;
  int take(Proposal &) const;    // one more row
  void settle(const Proposal &);

 private:
  int size_ = 0;
  std::vector<int> free_;
};

class PackedChange {
 public:
  void clear();
  /* Points that come: own ones, whose rows are changed rows, then ghosts; rows that are emptied. */
  void add_changed_row(int row, int species);

  /* All edges of points that come and go. `near(part, point, visit)` calls visit(x, species, row) for
     every settled point of this part within the cutoff of one of these points that does not go
     itself. True if one that comes is closer to one of them than `overlap`. */
  template <class Near>
  bool add_edges(const std::vector<Point> (&come)[PARTS], const std::vector<Point> (&gone)[PARTS],
                 double cutoff, double overlap, Near &&near);

  /* Valid until the next clear(). */
  mliap_local_change pack(int settled, int cache_rows);
  int n_rows() const { return static_cast<int>(rows_.size()) / ROW; }

 private:
  friend class PackedTogether;
  static constexpr int ROW = 2, EDGE = 5;    // values of each

  int place_of_row(int row, int species);
  void add_edge(int receiver, const double *at_receiver, int sender_species,
                const double *at_sender);

  std::vector<double> rows_, edges_, packed_;
  std::vector<int> place_of_row_;
  int n_changed_ = 0, n_edges_ = 0;
};

/* Several differences that each start from the settled state, as one question. */
class PackedTogether {
 public:
  void clear();
  void add(const PackedChange &, int owner);
  bool empty() const { return parts_.empty(); }

  /* Valid until the next clear(). After it: */
  mliap_local_change pack(int settled, int cache_rows);
  int n_rows() const { return static_cast<int>(owner_.size()); }
  int owner(int row) const { return owner_[row]; }
  /* Its place among the changed rows of its own difference, or -1 if it is none. */
  int changed(int row) const { return changed_[row]; }

 private:
  struct Piece {
    std::vector<double> rows, edges;
    int n_changed, n_edges, owner;
  };
  std::vector<Piece> parts_;
  std::vector<int> owner_, changed_;
  std::vector<double> packed_;
};

template <class Near>
bool PackedChange::add_edges(const std::vector<Point> (&come)[PARTS],
                             const std::vector<Point> (&gone)[PARTS], double cutoff, double overlap,
                             Near &&near)
{
  bool too_close = false;
  for (int p = 0; p < PARTS; p++)
    for (std::size_t c = 0; c < come[p].size(); c++) {
      const Point &point = come[p][c];
      const int receiver = static_cast<int>(c);    // own: changed rows come first, in this order
      for (int q = 0; q < PARTS; q++) {
        if (p == GHOSTS && q == GHOSTS) continue;    // no row here receives from either
        near(static_cast<Part>(q), point, [&](const double *x, int species, int row) {
          if (square_distance(x, point.x) < overlap * overlap) too_close = true;
          if (p == OWN) add_edge(receiver, point.x, species, x);
          if (q == OWN) add_edge(place_of_row(row, species), x, point.species, point.x);
        });
        if (p != OWN) continue;
        for (const Point &other : come[q])
          if (&other != &point && square_distance(other.x, point.x) < cutoff * cutoff)
            add_edge(receiver, point.x, other.species, other.x);
      }
    }
  n_edges_ = static_cast<int>(edges_.size()) / EDGE;
  for (int p = 0; p < PARTS; p++)
    for (const Point &point : gone[p])
      near(OWN, point, [&](const double *x, int species, int row) {
        add_edge(place_of_row(row, species), x, point.species, point.x);
      });
  return too_close;
}

}    // namespace mliap_local
