/* What a full evaluation asks of its caller, share by share, in the words of the contract: finding
   neighbours, laying them out, adding what their gradient says. Python's threads call it; each has
   rows of its own. Knows neither LAMMPS nor Python. */

#pragma once

#include "interpreter.h"
#include "neighbours.h"

#include <functional>
#include <utility>

namespace mliap_local {

class Shares {
 public:
  /* Fills the rows of atoms [begin, end); from several threads at once. */
  using Find = std::function<void(int begin, int end, Rows &rows)>;

  Shares(int n_rows, Find find) : n_rows_(n_rows), find_(std::move(find)) {}
  /* Pairs may do for both of their edges, and are found like this. */
  void halve(Find find) { find_half_ = std::move(find); }
  Shares(const Shares &) = delete;
  Shares &operator=(const Shares &) = delete;

  /* Gradients are wanted, and go there. */
  void add_to(const Sums &sums) { sums_ = sums; }
  /* Forces of points may come instead, which tell no stress of atoms. */
  void show(const Points &points) { points_ = points; }
  /* An evaluation that leaves the cache as it is; good as long as this object. */
  mliap_local_rows wanted();

 private:
  static int find(void *, int begin, int end, int *width);
  static int find_half(void *, int begin, int end, int *width, int *n_rows, int *n_others);
  static int lay(void *, int capacity, int width, int real_bytes, int *species, signed char *kinds,
                 void *r_ij, int *others, int *other);
  static int add(void *, int capacity, int width, int real_bytes, const void *gradient);
  static int lay_points(void *, int capacity, int width, int *point, int *neighbour);
  static int add_points(void *, const double *force);

  int n_rows_;
  Find find_, find_half_;
  Sums sums_{};
  Points points_{};
};

}    // namespace mliap_local
