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

  int size() const { return static_cast<int>(species_.size()); }    // places, in use or not
  int added() const { return size() - n_sorted_; }
  const double *x(int place) const { return x_.data() + 3 * static_cast<std::size_t>(place); }
  int species(int place) const { return species_[place]; }

  /* Adds the places of all that contribute and are closer than the cutoff. */
  void find_near(const double *at, double cutoff, std::vector<int> &near) const;

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

}    // namespace mliap_local
