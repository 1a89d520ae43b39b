/* Points as they were, in LAMMPS's order: to be compared with, and searched for neighbours.

   Points that follow each other are mostly neighbours in space, so every run of them has a box
   around it, and a search looks into few runs. Knows nothing of LAMMPS, trials or rows' meaning. */

#pragma once

#include <vector>

namespace mliap_local {

struct Point {
  double x[3];
  int species;    // -1: contributes nothing
  int row;        // of the cache, own atoms only
};

class PointList {
 public:
  static constexpr int RUN = 64;

  int size() const { return static_cast<int>(species_.size()); }
  const double *x(int place) const { return x_.data() + 3 * static_cast<std::size_t>(place); }
  const int *species(int place) const { return species_.data() + place; }
  int row(int place) const { return row_[place]; }
  Point at(int place) const;

  /* Rows: none. */
  void assign(const double *x, const int *species, int n);
  /* New places hold a point that contributes nothing. */
  void resize(int n);
  void set(int place, const Point &point);
  void set_row(int place, int row) { row_[place] = row; }

  /* Places with |x - at| < cutoff that contribute, in order. */
  void find_near(const double *at, double cutoff, std::vector<int> &near) const;

 private:
  struct Box {
    double low[3], high[3];
    Box();
    void include(const double *x);
    double square_distance(const double *at) const;
  };

  std::vector<double> x_;
  std::vector<int> species_, row_;
  std::vector<Box> boxes_;    // of each run; never too small
};

}    // namespace mliap_local
