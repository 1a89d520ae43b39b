/* What cells.h declares: points sorted by cell, and few that came later. */

#include "cells.h"

#include <algorithm>
#include <cmath>
#include <limits>

namespace mliap_local {

/* Lengths of a cell, in cutoffs. Places of cells that follow each other along x do so too, and are
   looked at together: short there, and few rows of them. */
static constexpr double CELL[3] = {0.25, 1.0, 1.0};
/* Cells for each point, at most: an almost empty box has larger cells. */
static constexpr double MOST_CELLS = 1.0;

void Cells::assign(const double *x, const int *species, int n, double cutoff)
{
  double high[3];
  for (int c = 0; c < 3; c++) {
    low_[c] = std::numeric_limits<double>::infinity();
    high[c] = -low_[c];
  }
  for (int k = 0; k < n; k++)
    for (int c = 0; c < 3; c++) {
      low_[c] = std::min(low_[c], x[3 * static_cast<std::size_t>(k) + c]);
      high[c] = std::max(high[c], x[3 * static_cast<std::size_t>(k) + c]);
    }
  double wider = 1.0;
  for (bool fits = false; !fits; wider *= 1.3) {
    double cells = 1.0;
    for (int c = 0; c < 3; c++) {
      const double length = n > 0 ? high[c] - low_[c] : 0.0, width = wider * CELL[c] * cutoff;
      n_cells_[c] = static_cast<int>(std::min(1.0e6, std::floor(length / width))) + 1;
      per_length_[c] = 1.0 / width;
      cells *= n_cells_[c];
    }
    fits = cells <= std::max(64.0, MOST_CELLS * n);
  }
  const int n_cells = n_cells_[0] * n_cells_[1] * n_cells_[2];
  first_.assign(n_cells + 2, 0);
  place_.resize(n);
  for (int k = 0; k < n; k++) {
    place_[k] = cell_of(x + 3 * static_cast<std::size_t>(k));
    first_[place_[k] + 2]++;
  }
  for (int cell = 2; cell <= n_cells + 1; cell++) first_[cell] += first_[cell - 1];
  x_.resize(3 * static_cast<std::size_t>(n));
  species_.resize(n);
  for (int k = 0; k < n; k++) {
    const int place = first_[place_[k] + 1]++;
    place_[k] = place;
    for (int c = 0; c < 3; c++)
      x_[3 * static_cast<std::size_t>(place) + c] = x[3 * static_cast<std::size_t>(k) + c];
    species_[place] = species[k];
  }
  first_.pop_back();
  n_sorted_ = n;
  added_.assign(n_cells, -1);
  before_.clear();
}

int Cells::index(int c, double x) const
{
  const double at = (x - low_[c]) * per_length_[c];
  if (!(at > 0.0)) return 0;
  return at >= n_cells_[c] ? n_cells_[c] - 1 : static_cast<int>(at);
}

void Cells::find_near(const double *at, double cutoff, std::vector<int> &near) const
{
  int begin[3], end[3];
  for (int c = 0; c < 3; c++) {
    begin[c] = index(c, at[c] - cutoff);
    end[c] = index(c, at[c] + cutoff);
  }
  for (int k = begin[2]; k <= end[2]; k++)
    for (int j = begin[1]; j <= end[1]; j++) {
      const int row = (k * n_cells_[1] + j) * n_cells_[0];
      mliap_local::find_near(x_.data(), species_.data(), first_[row + begin[0]],
                             first_[row + end[0] + 1], at, cutoff, near);
      if (added() == 0) continue;
      for (int cell = row + begin[0]; cell <= row + end[0]; cell++)
        for (int place = added_[cell]; place >= 0; place = before_[place - n_sorted_])
          if (species_[place] >= 0 && square_distance(at, x(place)) < cutoff * cutoff)
            near.push_back(place);
    }
}

int Cells::cell_of(const double *x) const
{
  return (index(2, x[2]) * n_cells_[1] + index(1, x[1])) * n_cells_[0] + index(0, x[0]);
}

int Cells::add(const double *x, int species)
{
  const int place = size(), cell = cell_of(x);
  x_.insert(x_.end(), x, x + 3);
  species_.push_back(species);
  before_.push_back(added_[cell]);
  added_[cell] = place;
  return place;
}

void Cells::remove(int place)
{
  species_[place] = NOTHING;
}

}    // namespace mliap_local
