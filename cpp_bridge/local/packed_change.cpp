/* What packed_change.h declares: which row is whose, and records in their order. */

#include "packed_change.h"

#include <algorithm>
#include <utility>

namespace mliap_local {

static constexpr std::size_t LEAST_ROOM = 1024, ROOM_FACTOR = 2;

mliap_local_change padded(std::vector<double> &packed, int settled, int cache_rows)
{
  packed.resize(std::max(LEAST_ROOM, ROOM_FACTOR * packed.size()), 0.0);
  return {settled, cache_rows, packed.data(), static_cast<int>(packed.size())};
}

void CacheRows::assign(int in_use)
{
  size_ = in_use;
  free_.clear();
}

CacheRows::Proposal CacheRows::propose(std::vector<int> gone) const
{
  Proposal proposal;
  proposal.gone = std::move(gone);
  proposal.size = size_;
  return proposal;
}

int CacheRows::take(Proposal &proposal) const
{
  if (proposal.from_gone < proposal.gone.size()) return proposal.gone[proposal.from_gone++];
  if (proposal.from_free < free_.size()) return free_[free_.size() - ++proposal.from_free];
  return proposal.size++;
}

void CacheRows::settle(const Proposal &proposal)
{
  free_.resize(free_.size() - proposal.from_free);
  free_.insert(free_.end(), proposal.gone.begin() + static_cast<long>(proposal.from_gone),
               proposal.gone.end());
  size_ = proposal.size;
}

void PackedChange::clear()
{
  for (std::size_t k = 0; k < rows_.size(); k += ROW)
    place_of_row_[static_cast<int>(rows_[k])] = -1;
  rows_.clear();
  edges_.clear();
  n_changed_ = n_edges_ = 0;
}

void PackedChange::add_changed_row(int row, int species)
{
  if (place_of_row_.size() <= static_cast<std::size_t>(row)) place_of_row_.resize(row + 1, -1);
  place_of_row_[row] = n_changed_++;
  rows_.insert(rows_.end(), {static_cast<double>(row), static_cast<double>(species)});
}

/* Where the row of an own point that has not changed stands among the rows of the change. */
int PackedChange::place_of_row(int row, int species)
{
  if (place_of_row_.size() <= static_cast<std::size_t>(row)) place_of_row_.resize(row + 1, -1);
  int &place = place_of_row_[row];
  if (place < 0) {
    place = n_rows();
    rows_.insert(rows_.end(), {static_cast<double>(row), static_cast<double>(species)});
  }
  return place;
}

void PackedChange::add_edge(int receiver, const double *at_receiver, int sender_species,
                            const double *at_sender)
{
  edges_.insert(edges_.end(),
                {static_cast<double>(receiver), static_cast<double>(sender_species),
                 at_sender[0] - at_receiver[0], at_sender[1] - at_receiver[1],
                 at_sender[2] - at_receiver[2]});
}

mliap_local_change PackedChange::pack(int settled, int cache_rows)
{
  const double n_deleted = static_cast<double>(edges_.size() / EDGE) - n_edges_;
  packed_.assign({static_cast<double>(n_rows()), static_cast<double>(n_changed_),
                  static_cast<double>(n_edges_), n_deleted});
  packed_.insert(packed_.end(), rows_.begin(), rows_.end());
  packed_.insert(packed_.end(), edges_.begin(), edges_.end());
  return padded(packed_, settled, cache_rows);
}

void PackedTogether::clear()
{
  parts_.clear();
  owner_.clear();
  changed_.clear();
}

void PackedTogether::add(const PackedChange &change, int owner)
{
  parts_.push_back({change.rows_, change.edges_, change.n_changed_, change.n_edges_, owner});
}

/* Changed rows of all come first, then the others; new edges of all, then deleted ones. */
mliap_local_change PackedTogether::pack(int settled, int cache_rows)
{
  constexpr int ROW = PackedChange::ROW, EDGE = PackedChange::EDGE;
  std::vector<double> rows, edges;
  std::vector<std::vector<int>> place(parts_.size());    // of each part's rows
  int n_changed = 0, n_edges = 0;
  for (const bool changed : {true, false})
    for (std::size_t p = 0; p < parts_.size(); p++) {
      const Piece &part = parts_[p];
      const int n_rows = static_cast<int>(part.rows.size()) / ROW;
      for (int k = changed ? 0 : part.n_changed; k < (changed ? part.n_changed : n_rows); k++) {
        place[p].push_back(static_cast<int>(rows.size()) / ROW);
        rows.insert(rows.end(), part.rows.begin() + ROW * k, part.rows.begin() + ROW * (k + 1));
        owner_.push_back(part.owner);
        changed_.push_back(changed ? k : -1);
        n_changed += changed;
      }
    }
  for (const bool added : {true, false})
    for (std::size_t p = 0; p < parts_.size(); p++) {
      const Piece &part = parts_[p];
      const int all = static_cast<int>(part.edges.size()) / EDGE;
      for (int k = added ? 0 : part.n_edges; k < (added ? part.n_edges : all); k++) {
        const double *edge = &part.edges[static_cast<std::size_t>(EDGE) * k];
        edges.push_back(place[p][static_cast<int>(edge[0])]);
        edges.insert(edges.end(), edge + 1, edge + EDGE);
        n_edges += added;
      }
    }
  const double n_deleted = static_cast<double>(edges.size() / EDGE) - n_edges;
  packed_.assign({static_cast<double>(owner_.size()), static_cast<double>(n_changed),
                  static_cast<double>(n_edges), n_deleted});
  packed_.insert(packed_.end(), rows.begin(), rows.end());
  packed_.insert(packed_.end(), edges.begin(), edges.end());
  return padded(packed_, settled, cache_rows);
}

}    // namespace mliap_local
