/* The generator of LAMMPS's Monte Carlo fixes: the same numbers in the same order are the same walk.
   Park and Miller, Comm. ACM 31, 1192 (1988); normal deviates by the polar method. */

#ifndef LMP_MLIAP_LOCAL_RANDOM_PARK_H
#define LMP_MLIAP_LOCAL_RANDOM_PARK_H

#include <cmath>

namespace LAMMPS_NS {

class RandomPark {
 public:
  explicit RandomPark(int seed) : state_(seed) {}
  int state() const { return state_; }
  void reset(int state)
  {
    state_ = state;
    kept_ = false;
  }

  double uniform()
  {
    constexpr int FACTOR = 16807, MODULUS = 2147483647;
    state_ = static_cast<int>(static_cast<long long>(FACTOR) * state_ % MODULUS);
    return (1.0 / MODULUS) * state_;
  }

  double gaussian()
  {
    kept_ = !kept_;
    if (!kept_) return second_;
    double a, b, square;
    do {
      a = 2.0 * uniform() - 1.0;
      b = 2.0 * uniform() - 1.0;
      square = a * a + b * b;
    } while (square >= 1.0 || square == 0.0);
    const double scale = std::sqrt(-2.0 * std::log(square) / square);
    second_ = a * scale;
    return b * scale;
  }

 private:
  int state_;
  bool kept_ = false;
  double second_ = 0.0;
};

}    // namespace LAMMPS_NS

#endif
