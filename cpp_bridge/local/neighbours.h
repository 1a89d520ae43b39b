/* Atoms to edges: rows of neighbours from a LAMMPS list, or the points around one among some.
   Knows neither Python nor models; the only LAMMPS it knows is the shape
   of its arrays. */

#pragma once

#include <utility>
#include <vector>

namespace mliap_local {

/* What one process sees: its own atoms first, then ghosts. Views, valid during a call. */
struct Points {
  int n_own, n_all;
  const double *x;    /* [n_all * 3] */
  const int *species; /* [n_all], -1: contributes nothing */
};

inline double square_distance(const double *a, const double *b)
{
  const double d[3] = {b[0] - a[0], b[1] - a[1], b[2] - a[2]};
  return d[0] * d[0] + d[1] * d[1] + d[2] * d[2];
}

/* Species of n points: that of their type, or -1 where their mask has a hidden bit. */
void find_species(const int *type, const int *mask, int hidden, const int *species_of_type, int n,
                  int *species);

/* A LAMMPS neighbour list: NeighList's arrays. Row ii belongs to atom ilist[ii]. */
struct NeighbourList {
  int inum;
  const int *ilist, *numneigh;
  int *const *firstneigh;
  int mask; /* clears the bits of j that LAMMPS uses for special bonds */
};

/* Atoms with their neighbours within the cutoff, side by side: see mliap_local_rows. */
struct Rows {
  int width = 0;
  std::vector<int> senders; /* [n_rows * width] place among the points, -1: none */
  std::vector<int> neighbour_species;
  std::vector<double> r_ij;
};

/* Adds to `row` the neighbours of atom i within the cutoff, in the order of the list. */
void find_row(const Points &points, const NeighbourList &list, double cutoff, int i,
              std::vector<int> &row);

/* Fills rows: row k belongs to atoms[k], and is empty where that is -1. */
void collect_rows(const Points &points, const NeighbourList &list, double cutoff,
                  const std::vector<int> &atoms, Rows &rows);

/* Fills rows: row k belongs to own atom k. Own atoms that the list leaves out get none. */
void collect_rows(const Points &points, const NeighbourList &list, double cutoff, Rows &rows);

/* The same rows by looking at all pairs of points: slow, and shares nothing with lists, boxes and
   their users, because it is what they are checked against. */
void search_rows(const Points &points, double cutoff, Rows &rows);

/* The two points that contribute and are closest, at least one of them own; -1, -1: no two. */
std::pair<int, int> closest_pair(const Points &points);

/* Where forces and virials are added; NULL: not wanted. Virials are those of -r_ij dE/dr_ij. */
struct Sums {
  double *f;          /* [n_all * 3] */
  double *virial;     /* [6] xx yy zz xy xz yz */
  double **vatom;     /* [n_all][6], half to either end of an edge */
  double **cvatom;    /* [n_all][9], then yx zx zy; all to the sender, as heat flux wants it */
};

/* Adds what dE/dr_ij of all edges says. */
void add_forces(const Rows &rows, const double *edge_gradient, int n_own, const Sums &sums);

/* Adds to `near` the places p of [begin, end) with |x_p - at| < cutoff that contribute, in order. */
void find_near(const double *x, const int *species, int begin, int end, const double *at,
               double cutoff, std::vector<int> &near);

}    // namespace mliap_local
