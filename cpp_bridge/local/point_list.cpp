/* What point_list.h declares: arrays kept with the boxes around their runs. */

#include "point_list.h"

#include "neighbours.h"

#include <algorithm>
#include <limits>

namespace mliap_local {

PointList::Box::Box()
{
  std::fill(low, low + 3, std::numeric_limits<double>::infinity());
  std::fill(high, high + 3, -std::numeric_limits<double>::infinity());
}

void PointList::Box::include(const double *x)
{
  for (int c = 0; c < 3; c++) {
    low[c] = std::min(low[c], x[c]);
    high[c] = std::max(high[c], x[c]);
  }
}

double PointList::Box::square_distance(const double *at) const
{
  double square = 0.0;
  for (int c = 0; c < 3; c++) {
    const double d = std::max({low[c] - at[c], at[c] - high[c], 0.0});
    square += d * d;
  }
  return square;
}

Point PointList::at(int place) const
{
  const double *p = x(place);
  return {{p[0], p[1], p[2]}, species_[place], row_[place]};
}

void PointList::assign(const double *x, const int *species, int n)
{
  x_.assign(x, x + 3 * static_cast<std::size_t>(n));
  species_.assign(species, species + n);
  row_.assign(n, -1);
  boxes_.assign((n + RUN - 1) / RUN, Box());
  for (int k = 0; k < n; k++) boxes_[k / RUN].include(x + 3 * k);
}

void PointList::resize(int n)
{
  x_.resize(3 * static_cast<std::size_t>(n), 0.0);
  species_.resize(n, -1);
  row_.resize(n, -1);
  boxes_.resize((n + RUN - 1) / RUN);
}

void PointList::set(int place, const Point &point)
{
  std::copy(point.x, point.x + 3, x_.begin() + 3 * static_cast<std::size_t>(place));
  species_[place] = point.species;
  row_[place] = point.row;
  if (point.species >= 0) boxes_[place / RUN].include(point.x);
}

void PointList::find_near(const double *at, double cutoff, std::vector<int> &near) const
{
  near.clear();
  for (std::size_t run = 0; run < boxes_.size(); run++)
    if (boxes_[run].square_distance(at) < cutoff * cutoff) {
      const int begin = static_cast<int>(run) * RUN;
      mliap_local::find_near(x_.data(), species_.data(), begin, std::min(begin + RUN, size()), at,
                             cutoff, near);
    }
}

}    // namespace mliap_local
