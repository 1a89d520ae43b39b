/* Points in cells: who is near a place costs its neighbours, however many points there are.

   Points are given a place when they come and keep it until the next assign(); places that were
   there from the start follow each other as the cells do, so that a search reads few pages. Knows
   no box: images are points like others. */

#pragma once

#include "neighbours.h"

#include <vector>

namespace mliap_local {

class Cells {
 public:
  /* All points anew. `cutoff`: what will be asked for. Point k gets place places()[k]. */
  void assign(const double *x, const int *species, int n, double cutoff);
  const std::vector<int> &places() const { return place_; }

  int add(const double *x, int species);
  void remove(int place);
  void retype(int place, int species) { species_[place] = species; }

  int size() const { return static_cast<int>(species_.size()); }    // places, in use or not
  int added() const { return size() - n_sorted_; }
  const double *x(int place) const { return x_.data() + 3 * static_cast<std::size_t>(place); }
  int species(int place) const { return species_[place]; }

  /* visit(place, square of the distance) for all that contribute, closer than the cutoff. */
  template <class Visit> void near(const double *at, double cutoff, Visit &&visit) const;

 private:
  static constexpr int NOTHING = -2;    // species of a place that is no longer in use
  int cell_of(const double *x) const;
  int index(int c, double x) const;

  double low_[3], per_length_[3];
  int n_cells_[3];
  std::vector<int> first_;     // of each cell's places, and one more
  std::vector<int> place_;     // of point k
  int n_sorted_ = 0;           // places below it are in the order of cells
  std::vector<int> added_;     // of each cell: the last place that was added, or -1
  std::vector<int> before_;    // of each place that was added: the one added before it
  std::vector<double> x_;
  std::vector<int> species_;
};

inline int Cells::index(int c, double x) const
{
  const double at = (x - low_[c]) * per_length_[c];
  if (!(at > 0.0)) return 0;
  return at >= n_cells_[c] ? n_cells_[c] - 1 : static_cast<int>(at);
}

template <class Visit> void Cells::near(const double *at, double cutoff, Visit &&visit) const
{
  const double cutoff2 = cutoff * cutoff;
  int begin[3], end[3];
  for (int c = 0; c < 3; c++) {
    begin[c] = index(c, at[c] - cutoff);
    end[c] = index(c, at[c] + cutoff);
  }
  const auto look = [&](int place) {
    const double square = square_distance(at, x(place));
    if (square < cutoff2 && species_[place] >= 0) visit(place, square);
  };
  for (int k = begin[2]; k <= end[2]; k++)
    for (int j = begin[1]; j <= end[1]; j++) {
      const int row = (k * n_cells_[1] + j) * n_cells_[0];
      for (int place = first_[row + begin[0]]; place < first_[row + end[0] + 1]; place++)
        look(place);
      if (added() > 0)
        for (int cell = row + begin[0]; cell <= row + end[0]; cell++)
          for (int place = added_[cell]; place >= 0; place = before_[place - n_sorted_])
            look(place);
    }
}

}    // namespace mliap_local
