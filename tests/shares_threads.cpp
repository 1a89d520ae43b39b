/* Shares of a full evaluation from several threads at once, for ThreadSanitizer: `shares_threads N`.
   Each of N rounds must give, to the last bit, what one thread gives, which is what all pairs give.
   Prints how many shares were finished by a thread other than the one before, and all of them. */

#include "shares.h"
#include "walk.h"

#include <atomic>
#include <condition_variable>
#include <cstdio>
#include <cstdlib>
#include <mutex>
#include <set>
#include <thread>
#include <vector>

using namespace mliap_local;

static constexpr int N = 90;
static constexpr double CUTOFF = 3.0;

struct Evaluation {
  std::vector<double> f = std::vector<double>(3 * N), virial = std::vector<double>(6);
  std::vector<int> species = std::vector<int>(N);
};

static std::atomic<int> split{0};    // rows that go on with others

/* A share as Python asks for it; the gradient is r_ij times the kind of the sender, twice where an
   edge stands for two. */
template <typename Real> struct Share {
  int rows, width = 0, capacity = 0;
  std::vector<int> species;
  std::vector<signed char> kinds;
  std::vector<Real> r_ij;
  std::vector<int> others, other;

  Share(const mliap_local_rows &wanted, int begin, int end) : rows(end - begin)
  {
    int n_others = 0, n_rows = rows;
    if (!(wanted.find_half ? wanted.find_half(wanted.caller, begin, end, &width, &n_rows, &n_others)
                           : wanted.find(wanted.caller, begin, end, &width)))
      std::exit(2);
    width += 1;
    capacity = n_rows + 2;
    split += n_rows - rows;
    others.assign(n_others + n_rows - rows, -1);
    species.resize(capacity);
    kinds.assign(static_cast<std::size_t>(capacity) * width, 7);    // left by another share
    r_ij.resize(3 * kinds.size());
    other.assign(kinds.size(), -7);
    if (!wanted.lay(wanted.caller, capacity, width, sizeof(Real), species.data(), kinds.data(),
                    r_ij.data(), others.data(), wanted.find_half ? other.data() : nullptr))
      std::exit(3);
    for (int k = n_others; k < static_cast<int>(others.size()); k++)
      if (others[k] < begin || others[k] >= end) std::exit(20);
    others.resize(n_others);
    if (std::set<int>(others.begin(), others.end()).size() != others.size()) std::exit(9);
    for (std::size_t k = static_cast<std::size_t>(n_rows) * width; k < kinds.size(); k++)
      if (kinds[k] != -1) std::exit(8);
    for (std::size_t k = 0; k < r_ij.size(); k++) r_ij[k] *= kinds[k % kinds.size()] + 1;
    for (std::size_t k = 0; k < r_ij.size() && wanted.find_half; k++) {
      const int to = other[k % kinds.size()];
      if (to < 0 || to > n_others) std::exit(10);
      if (to < n_others) r_ij[k] *= 2;
    }
  }
};

template <typename Real>
static Evaluation evaluate(const Points &points, int size, int n_threads, int *handed_over,
                           const HalfList *half = nullptr)
{
  Evaluation sums;
  Shares shares(N, [&](int begin, int end, Rows &rows) {
    search_rows(points, CUTOFF, begin, end, rows);
  });
  if (half)
    shares.halve([&](int begin, int end, Rows &rows) {
      half->find_rows(points, CUTOFF, begin, end, rows);
    });
  shares.add_to({sums.f.data(), sums.virial.data(), nullptr, nullptr});
  const mliap_local_rows wanted = shares.wanted();
  std::atomic<int> next{0};
  std::mutex mutex;
  std::condition_variable turn;
  int finished = 0, last = -1;
  const auto work = [&](int self) {
    for (int begin; (begin = next.fetch_add(size)) < N;) {
      const int end = std::min(N, begin + size);
      const Share<Real> share(wanted, begin, end);
      std::copy_n(share.species.data(), share.rows, sums.species.data() + begin);
      std::unique_lock<std::mutex> lock(mutex);
      turn.wait(lock, [&] { return finished == begin; });
      if (!wanted.add(wanted.caller, share.capacity, share.width, sizeof(Real), share.r_ij.data()))
        std::exit(4);
      finished = end;
      *handed_over += last >= 0 && last != self;
      last = self;
      turn.notify_all();
    }
  };
  std::vector<std::thread> threads;
  for (int t = 0; t < n_threads; t++) threads.emplace_back(work, t);
  for (std::thread &thread : threads) thread.join();
  return sums;
}

/* The same forces and virial from a device that finds r_ij for itself. */
static Evaluation on_points(const Points &points, int size)
{
  Evaluation sums;
  Shares shares(N, [&](int begin, int end, Rows &rows) {
    search_rows(points, CUTOFF, begin, end, rows);
  });
  shares.add_to({sums.f.data(), sums.virial.data(), nullptr, nullptr});
  shares.show(points);
  const mliap_local_rows wanted = shares.wanted();
  if (wanted.n_points != N || wanted.points != points.x) std::exit(14);
  std::vector<double> force(3 * N);
  for (int begin = 0; begin < N; begin += size) {
    const int end = std::min(N, begin + size), capacity = end - begin + 2;
    int width = 0;
    if (!wanted.find(wanted.caller, begin, end, &width)) std::exit(15);
    width += 1;
    std::vector<int> point(capacity, -7), neighbour(static_cast<std::size_t>(capacity) * width, -7);
    if (!wanted.lay_points(wanted.caller, capacity, width, point.data(), neighbour.data()))
      std::exit(16);
    for (std::size_t k = 0; k < neighbour.size(); k++) {
      const int i = point[k / width], j = neighbour[k];
      if (i < 0 || i > N || j < 0 || j > N || (i == N && j < N)) std::exit(17);
      for (int c = 0; c < 3 && j < N; c++) {
        const double g = (points.x[3 * j + c] - points.x[3 * i + c]) * (points.species[j] + 1);
        force[3 * i + c] += g;
        force[3 * j + c] -= g;
      }
    }
    std::copy_n(points.species + begin, end - begin, sums.species.data() + begin);
  }
  if (!wanted.add_points(wanted.caller, force.data())) std::exit(18);
  return sums;
}

/* Of all points. */
static HalfList half_list(const Points &points)
{
  std::vector<int> all(N), number(N, N - 1);
  std::vector<std::vector<int>> rows(N);
  std::vector<int *> first(N);
  for (int i = 0; i < N; i++) {
    all[i] = i;
    for (int j = 0; j < N; j++)
      if (j != i) rows[i].push_back(j);
    first[i] = rows[i].data();
  }
  HalfList half;
  for (int i = 0; i < N; i++) {
    half.ends.owner.push_back(i);
    half.ends.depth.push_back(std::llround(points.x[3 * i] * 2));    // many are level
  }
  half.make(points, {N, all.data(), number.data(), first.data(), -1});
  if (!half.is_of(points)) std::exit(11);
  return half;
}

/* Newton's third law pair by pair, without rows. */
static std::vector<double> all_pairs(const Points &points)
{
  std::vector<double> f(3 * N);
  for (int i = 0; i < N; i++)
    for (int j = 0; j < N; j++) {
      if (i == j || points.species[i] < 0 || points.species[j] < 0) continue;
      if (square_distance(points.x + 3 * i, points.x + 3 * j) >= CUTOFF * CUTOFF) continue;
      for (int c = 0; c < 3; c++) {
        const double g = (points.x[3 * j + c] - points.x[3 * i + c]) * (points.species[j] + 1);
        f[3 * i + c] += g;
        f[3 * j + c] -= g;
      }
    }
  return f;
}

int main(int, char **arguments)
{
  int handed_over = 0, shares = 0, alone = 0;
  for (int round = 0; round < std::atoi(arguments[1]); round++) {
    std::vector<double> x(3 * N);
    std::vector<int> species(N);
    for (double &value : x) value = any(384) / 64.0;
    // few are unlike most: their rows are long where one edge stands for two
    for (int &kind : species) kind = any(8) ? 0 : any(3) - 1;
    const Points points{N, N, x.data(), species.data()};
    const int size = 1 + any(20), n_threads = 2 + any(4);
    const auto one = evaluate<double>(points, size, 1, &alone);
    const auto many = evaluate<double>(points, size, n_threads, &handed_over);
    const auto single = evaluate<float>(points, size, n_threads, &handed_over);
    const HalfList list = half_list(points);
    const auto halves = evaluate<double>(points, size, n_threads, &handed_over, &list);
    if (list.room() > 1.0 || halves.f != one.f || halves.virial != one.virial) return 12;
    shares += 3 * ((N + size - 1) / size);
    const Evaluation gathered = on_points(points, size);
    if (gathered.f != one.f || gathered.virial != one.virial) return 19;
    // on the grid every sum is exact, in both precisions
    if (one.f != many.f || one.virial != many.virial || one.species != species) return 5;
    if (many.f != all_pairs(points) || single.f != one.f || many.species != species) return 6;
    species[any(N)] += 5;
    if (list.is_of(points)) return 13;
  }
  if (alone != 0 || split < 100) return 7;
  printf("%d %d\n", handed_over, shares);
}
