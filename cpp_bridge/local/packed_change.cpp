/* What packed_change.h declares: which row is whose, and records in their order. */

#include "packed_change.h"

#include <algorithm>
#include <utility>

namespace mliap_local {

/* Room behind the records, so that Python need not copy them to pad them: its sizes are 64 rows or
   more, and up to 1.5 times what is needed. */
static constexpr std::size_t LEAST_ROOM = 1024, ROOM_FACTOR = 2;

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
  packed_.resize(std::max(LEAST_ROOM, ROOM_FACTOR * packed_.size()), 0.0);
  return {settled, cache_rows, packed_.data(), static_cast<int>(packed_.size())};
}

}    // namespace mliap_local
