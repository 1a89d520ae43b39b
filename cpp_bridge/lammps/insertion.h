/* Where atoms are inserted: anywhere in the box or in a region, by the random numbers that LAMMPS's
   Monte Carlo fixes would draw. */

#ifndef LMP_MLIAP_LOCAL_INSERTION_H
#define LMP_MLIAP_LOCAL_INSERTION_H

#include "pointers.h"

#include "random_park.h"

#include <string>

namespace LAMMPS_NS {

/* The region of this ID as it is now, or an error in the name of the fix. */
class Region *find_region(class LAMMPS *lmp, const std::string &id, const std::string &fix);

class Insertion : protected Pointers {
 public:
  Insertion(class LAMMPS *lmp, const std::string &fix) : Pointers(lmp), fix_(fix) {}

  /* Measures the region with ten million points, as LAMMPS does, from the sequence that trials go on
     with. */
  void use_region(const char *id, RandomPark &);
  void init();    // is it still there, and inside of the box

  bool in_region(const double *x) const;    // true where there is no region
  bool has_region() const { return region_; }
  double volume() const;
  /* A place, in the box; false if the region has none that is found. */
  bool draw(RandomPark &, double *x) const;

 private:
  std::string fix_, id_;
  class Region *region_ = nullptr;
  double low_[3] = {}, high_[3] = {}, region_volume_ = 0.0;
};

}    // namespace LAMMPS_NS

#endif
