/* What shares.h declares. No exception may pass into C. */

#include "shares.h"

namespace mliap_local {

/* find, lay and add of one share are called by one thread, one after another. */
static thread_local Rows rows;

mliap_local_rows Shares::wanted()
{
  mliap_local_rows rows{};
  rows.n_rows = n_rows_;
  rows.caller = this;
  rows.find = find;
  if (find_half_) rows.find_half = find_half;
  rows.lay = lay;
  if (sums_.f) rows.add = add;
  if (!sums_.f || sums_.vatom || sums_.cvatom) return rows;
  rows.points = points_.x;
  rows.point_species = points_.species;
  rows.n_points = points_.n_all;
  rows.lay_points = lay_points;
  rows.add_points = add_points;
  return rows;
}

int Shares::find(void *self, int begin, int end, int *width)
{
  try {
    static_cast<Shares *>(self)->find_(begin, end, rows);
    *width = rows.width();
    return 1;
  } catch (...) {
    return 0;
  }
}

int Shares::find_half(void *self, int begin, int end, int *width, int *n_rows, int *n_others)
{
  try {
    static_cast<Shares *>(self)->find_half_(begin, end, rows);
    *width = rows.width();
    *n_rows = rows.n_rows();
    *n_others = static_cast<int>(rows.others.size());
    return 1;
  } catch (...) {
    return 0;
  }
}

int Shares::lay(void *, int capacity, int width, int real_bytes, int *species, signed char *kinds,
                void *r_ij, int *others, int *other)
{
  if (capacity < rows.n_rows() || width < rows.width()) return 0;
  if (real_bytes == sizeof(float))
    lay_rows(rows, capacity, width, species, kinds, static_cast<float *>(r_ij));
  else
    lay_rows(rows, capacity, width, species, kinds, static_cast<double *>(r_ij));
  if (other) lay_others(rows, capacity, width, others, other);
  return 1;
}

int Shares::add(void *self, int capacity, int width, int real_bytes, const void *gradient)
{
  const Sums &sums = static_cast<Shares *>(self)->sums_;
  if (real_bytes == sizeof(float))
    add_forces(rows, capacity, width, static_cast<const float *>(gradient), sums);
  else
    add_forces(rows, capacity, width, static_cast<const double *>(gradient), sums);
  return 1;
}

int Shares::lay_points(void *self, int capacity, int width, int *point, int *neighbour)
{
  if (capacity < rows.n_rows() || width < rows.width()) return 0;
  const int none = static_cast<Shares *>(self)->points_.n_all;
  mliap_local::lay_points(rows, capacity, width, none, point, neighbour);
  return 1;
}

int Shares::add_points(void *self, const double *force)
{
  const Shares &shares = *static_cast<Shares *>(self);
  add_point_forces(shares.points_, force, shares.sums_);
  return 1;
}

}    // namespace mliap_local
