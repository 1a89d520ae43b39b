/* What the programs that check cpp_bridge by random walks share: chance, and hashes that stand for
   messages, so that nothing but the right edges gives the right sum. */

#pragma once

#include <cmath>
#include <cstdint>
#include <random>

using Word = std::uint64_t;

static std::mt19937_64 generator(4711);
static int any(int n) { return static_cast<int>(generator() % n); }

static Word mixed(Word word)
{
  word *= 0x9e3779b97f4a7c15u;
  return word ^ (word >> 29);
}

/* On a fine grid vectors are exact but for the rounding of images. */
[[maybe_unused]] static Word message(int sender, const double *r)
{
  Word word = mixed(sender + 1);
  for (int c = 0; c < 3; c++) word = mixed(word ^ static_cast<Word>(std::llround(r[c] * 64)));
  return word;
}
