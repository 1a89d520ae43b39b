/* Atoms to edges: rows of neighbours from a LAMMPS list, or the points around one among some.
   Knows neither Python nor models; the only LAMMPS it knows is the shape
   of its arrays. */

#pragma once

#include <cstddef>
#include <cstdint>
#include <utility>
#include <vector>

namespace mliap_local {

/* What one process sees: its own atoms first, then ghosts. Views, valid during a call. */
struct Points {
  int n_own, n_all;
  const double *x;    /* [n_all * 3] */
  const int *species; /* [n_all], -1: contributes nothing */
};

inline double square_distance(const double *a, const double *b)
{
  const double d[3] = {b[0] - a[0], b[1] - a[1], b[2] - a[2]};
  return d[0] * d[0] + d[1] * d[1] + d[2] * d[2];
}

/* Species of n points: that of their type, or -1 where their mask has a hidden bit. */
void find_species(const int *type, const int *mask, int hidden, const int *species_of_type, int n,
                  int *species);

/* A LAMMPS neighbour list: NeighList's arrays. Row ii belongs to atom ilist[ii]. */
struct NeighbourList {
  int inum;
  const int *ilist, *numneigh;
  int *const *firstneigh;
  int mask; /* clears the bits of j that LAMMPS uses for special bonds */
};

/* A share of atoms with their neighbours within the cutoff, one after another. */
class Rows {
 public:
  std::vector<int> atoms;      /* place among the points of each row's atom */
  std::vector<int> species;    /* of each row */
  std::vector<int> first;      /* of each row's neighbours, and one more */
  /* Of each neighbour; there may be room behind the last. */
  std::vector<int> senders;    /* place among the points */
  std::vector<signed char> kinds;    /* species */
  std::vector<double> r_ij[3];
  /* After HalfList::find_rows: atoms at the other ends of edges that stand for two, each once; and the
     place there of each neighbour, or -1. */
  std::vector<int> others, other;
  int n_more = 0;    /* rows at the end that go on with those of atoms before */

  void clear();
  /* Cuts rows that are much wider than most: what is padded to their width takes less room then. */
  void split();
  /* A row without neighbours so far, and room for so many. */
  void begin_row(int atom, int kind, int room);
  /* A neighbour of the last row, kept if `is` holds: written anyway, because a branch costs more. */
  void add(int sender, int kind, const double *from, const double *to, bool is)
  {
    int &end = first.back();
    senders[end] = sender;
    kinds[end] = static_cast<signed char>(kind);
    for (int c = 0; c < 3; c++) r_ij[c][end] = to[c] - from[c];
    end += is;
  }
  int n_rows() const { return static_cast<int>(species.size()); }
  int width() const;
  /* The place of an atom, below `n`, among the others. */
  int place(int atom, int n);

 private:
  std::vector<int> places_;    /* of each atom, -1 where it has none */
};

/* Adds to `row` the neighbours of atom i within the cutoff, in the order of the list. */
void find_row(const Points &points, const NeighbourList &list, double cutoff, int i,
              std::vector<int> &row);

/* Finds rows: row k belongs to atom i = atoms[begin + k]; where that is ~i, to atom i without its
   neighbours. */
void find_rows(const Points &points, const NeighbourList &list, double cutoff,
               const std::vector<int> &atoms, int begin, int end, Rows &rows);

/* Of each point the own atom that it is or is an image of, -1 if it is of another process; and how
   far it lies along some direction, as an integer: images differ from their atoms by the same
   integers, so that of two opposite edges exactly one has the farther sender. */
struct Ends {
  std::vector<int> owner;
  std::vector<std::int64_t> depth;
};

/* A list where one edge stands for two, if both ends are own atoms of one species. */
class HalfList {
 public:
  Ends ends;

  void make(const Points &points, const NeighbourList &list);
  /* Of the list that it was made from, is it still good? Types change without another list. */
  bool is_of(const Points &points) const;
  /* The room that its rows take, as a part of that of all edges. */
  double room() const { return room_; }
  double bytes() const;
  /* Rows as find_rows finds them, row i of own atom i, but for those that go on behind the others. */
  void find_rows(const Points &points, double cutoff, int begin, int end, Rows &rows) const;

 private:
  std::vector<std::size_t> first_;
  std::vector<int> neighbours_, species_;
  double room_ = 1.0;
};

/* All own atoms in turn; ~i for those that the list leaves out. */
void list_own(const Points &points, const NeighbourList &list, std::vector<int> &atoms);

/* The same rows by looking at all pairs of points: slow, and shares nothing with lists, boxes and
   their users, because it is what they are checked against. */
void search_rows(const Points &points, double cutoff, int begin, int end, Rows &rows);

/* The two points that contribute and are closest, at least one of them own; -1, -1: no two. */
std::pair<int, int> closest_pair(const Points &points);

/* Where forces and virials are added; NULL: not wanted. Virials are those of -r_ij dE/dr_ij. */
struct Sums {
  double *f;          /* [n_all * 3] */
  double *virial;     /* [6] xx yy zz xy xz yz */
  double **vatom;     /* [n_all][6], half to either end of an edge */
  double **cvatom;    /* [n_all][9], then yx zx zy; all to the sender, as heat flux wants it */
};

/* Adds what dE/dr_ij of all edges says: gradient[c][row][k] of rows as wide as `width`. */
template <typename Real>
void add_forces(const Rows &rows, int capacity, int width, const Real *gradient, const Sums &sums);

/* The same from the forces on all points. */
void add_point_forces(const Points &points, const double *force, const Sums &sums);

/* Writes rows as bridge.h wants them laid out. */
template <typename Real>
void lay_rows(const Rows &rows, int capacity, int width, int *species, signed char *kinds,
              Real *r_ij);
void lay_others(const Rows &rows, int capacity, int width, int *others, int *other);
void lay_points(const Rows &rows, int capacity, int width, int none, int *point, int *neighbour);

/* Adds to `near` the places p of [begin, end) with |x_p - at| < cutoff that contribute, in order. */
void find_near(const double *x, const int *species, int begin, int end, const double *at,
               double cutoff, std::vector<int> &near);

}    // namespace mliap_local
