/* What insertion.h declares: draws in LAMMPS's order. */

#include "insertion.h"

#include "domain.h"
#include "error.h"
#include "region.h"

#include <algorithm>

using namespace LAMMPS_NS;

static constexpr int ATTEMPTS = 1000, POINTS = 10000000;

Region *LAMMPS_NS::find_region(LAMMPS *lmp, const std::string &id, const std::string &fix)
{
  Region *region = lmp->domain->get_region_by_id(id);
  if (!region)
    lmp->error->all(FLERR,
                    "Fix {} region: expected the ID of a region, got {}; define it before the fix",
                    fix, id);
  return region;
}

void Insertion::use_region(const char *id, RandomPark &random)
{
  id_ = id;
  region_ = find_region(lmp, id_, fix_);
  if (region_->dynamic_check())
    error->all(FLERR, "Fix {} region {}: expected one that does not move", fix_, id_);
  if (!region_->bboxflag)
    error->all(FLERR, "Fix {} region {}: expected one with a bounding box", fix_, id_);
  const double low[3] = {region_->extent_xlo, region_->extent_ylo, region_->extent_zlo};
  const double high[3] = {region_->extent_xhi, region_->extent_yhi, region_->extent_zhi};
  std::copy(low, low + 3, low_);
  std::copy(high, high + 3, high_);
  int inside = 0;
  double x[3];
  for (int k = 0; k < POINTS; k++) {
    for (int c = 0; c < 3; c++) x[c] = low[c] + random.uniform() * (high[c] - low[c]);
    inside += region_->match(x[0], x[1], x[2]) != 0;
  }
  region_volume_ = (high[0] - low[0]) * (high[1] - low[1]) * (high[2] - low[2]) *
      (inside / static_cast<double>(POINTS));
}

void Insertion::init()
{
  if (id_.empty()) return;
  region_ = find_region(lmp, id_, fix_);
  const double *low = domain->triclinic ? domain->boxlo_bound : domain->boxlo;
  const double *high = domain->triclinic ? domain->boxhi_bound : domain->boxhi;
  for (int c = 0; c < 3; c++)
    if (low_[c] < low[c] || high_[c] > high[c])
      error->all(FLERR,
                 "Fix {} region {}: expected it inside of the simulation box; make it smaller",
                 fix_, id_);
}

bool Insertion::in_region(const double *x) const
{
  return !region_ || region_->match(x[0], x[1], x[2]) == 1;
}

double Insertion::volume() const
{
  return region_ ? region_volume_ : domain->xprd * domain->yprd * domain->zprd;
}

bool Insertion::draw(RandomPark &random, double *x) const
{
  const auto uniform = [&](const double *low, const double *high) {
    for (int c = 0; c < 3; c++) x[c] = low[c] + random.uniform() * (high[c] - low[c]);
  };
  if (region_) {
    uniform(low_, high_);
    for (int attempt = 1; region_->match(x[0], x[1], x[2]) == 0; attempt++) {
      uniform(low_, high_);
      if (attempt >= ATTEMPTS) return false;
    }
  } else if (domain->triclinic) {
    double lamda[3];
    for (double &l : lamda) {
      l = random.uniform();
      if (l == 1.0) l = 0.0;
    }
    domain->lamda2x(lamda, x);
    return true;
  } else {
    uniform(domain->boxlo, domain->boxhi);
  }
  domain->remap(x);
  return true;
}
