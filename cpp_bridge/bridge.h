/* The contract between the pair style and Python: plain C, no preprocessor lines, because cffi
   reads this very file to make the embedding library and the C++ compiles against it.

   Every function returns 1 if it is good and 0 if it failed. cffi answers 0 when Python raised.
   The caller owns every array and every text buffer; Python looks at them during the call only.
   On failure `error` holds text: the message; then, where the user cannot be expected to mend it, a
   blank line and the Python traceback.

   Words. An atom's `species` is its place in the list of distinct elements that the pair style
   asked for (0, 1, ...); -1 is an atom that contributes nothing (type mapped to NULL, or hidden
   while fix gcmc tries to delete it). A `row` is an atom's place in the cache, with its embedding,
   the sum of its messages and its energy. An edge is directed: atom i receives, atom j sends, r_ij = x_j - x_i.
   Lengths, energies: the units that LAMMPS runs in, which are the model's own. */

/* What a pair style asks for when it opens a model. */
struct mliap_local_settings {
  const char *model_file;  /* path of the model's zip */
  const char *elements;    /* distinct element symbols, separated by blanks; species 0, 1, ... */
  const char *units;       /* LAMMPS unit system: metal, real, lj, ... */
  const char *device;      /* cpu or gpu */
  int reference_isolated;  /* 1: energies are relative to isolated atoms */
  int node_rank;           /* this process among those of its node: 0, 1, ... */
  int threads;             /* this process's part of the node's cores */
  int graded;              /* 1: grades of extrapolation are wanted */
};

/* What it gets to know about the model. */
struct mliap_local_model {
  int instance;            /* names the opened model in the calls below */
  double cutoff;           /* edges exist below this distance */
  double overlap;          /* distance below which the model should not be asked; 0: no advice */
  int differentiable;      /* 1: forces can be asked for; 0: energies only */
  double half;             /* pairs can do for both of their edges (see mliap_local_rows) and should
                              where rows are so short then, beside those of all edges; 0: never */
  double rounding;         /* part of an atom's energy that rounding may change, generously */
  double *isolated_energy; /* [species], caller's array, filled with energies of isolated atoms */
  double *mass;            /* [species], the same with masses; 0 where the model knows none */
  char *summary;           /* caller's buffer: one line for the log about the model */
  int summary_size;        /* its size in bytes */
};

/* What happens to the cache before a call uses it: 0 nothing; 1 the proposal of the last
   mliap_local_update is settled; -1 all rows are forgotten, none is settled, the energy is 0. */

/* Atoms, each with its neighbours: a full evaluation. All of one process where it is kept, or those
   whose places in the cache are given, which are settled beside what is there.

   Neighbours are asked for a share of the atoms at a time: find(), lay(), and, where gradients are
   wanted, add(), in this order and in one thread. Other threads do the same for other shares
   meanwhile, but add() is called by one at a time, share after share as their atoms follow each
   other. A share's arrays fit the processor's cache and are used again. Each returns 0 if it failed. */
struct mliap_local_rows {
  int n_rows;                   /* atoms; row k of the cache becomes atom k */
  void *caller;                 /* handed to the functions */
  /* Finds the neighbours of atoms [begin, end); the largest number of any goes to width. */
  int (*find)(void *caller, int begin, int end, int *width);
  /* NULL; or the same, but of two of these atoms that are of one species only one has the other
     as a neighbour, and that edge stands for the opposite one too. How many atoms are at the other
     ends of such edges goes to n_others. Few atoms have many more neighbours than the others then:
     their rows go on behind those of the share's atoms; how many there are goes to n_rows. */
  int (*find_half)(void *caller, int begin, int end, int *width, int *n_rows, int *n_others);
  /* Writes what was found into arrays of at least so many rows and so much width: species
     [capacity], -1 beyond the share; neighbour_species [capacity][width], -1 where there is no
     neighbour; r_ij [3][capacity][width], anything there. Numbers of r_ij have 4 or 8 bytes.
     After find_half also others [n_others], rows of those atoms, each once, and behind them those of
     the atoms whose rows go on [n_rows - (end - begin)]; and other [capacity][width], the place among
     the first of an edge's other end, n_others where it stands for itself alone or there is none. */
  int (*lay)(void *caller, int capacity, int width, int real_bytes, int *species,
             signed char *neighbour_species, void *r_ij, int *others, int *other);
  /* Takes dE/dr_ij, laid out alike; places without a neighbour are not defined. NULL: not wanted. */
  int (*add)(void *caller, int capacity, int width, int real_bytes, const void *gradient);
  /* NULL; or all points, own atoms and images, [n_points][3], and their species. Then a device may
     find r_ij for itself and say what the force on each point is: nothing of an edge goes there but
     its ends, and nothing comes back. lay_points() takes the place of lay(): it writes the point of
     each row, [capacity], and of each neighbour, [capacity][width], n_points where there is none.
     add_points() takes that of add(): called once, with the forces [n_points][3]. */
  const double *points;
  const int *point_species;
  int n_points;
  int (*lay_points)(void *caller, int capacity, int width, int *point, int *neighbour);
  int (*add_points)(void *caller, const double *force);
  int keep;                     /* 1: this becomes the settled state; 0: the cache stays as it is */
  const int *row;               /* NULL; or [n_rows] places in the cache, each named once, that are
                                   written, and nothing else: energy is then that of all rows */
  int settled;                  /* with row only: see above */
  int cache_rows;               /* with row only: rows of the cache that are needed */
};

/* The difference between the settled state and a proposed one: an incremental evaluation. */
struct mliap_local_change {
  int settled;          /* what happens to the cache first: see above */
  int cache_rows;       /* rows of the cache that the proposed state needs; may be more than so far */
  const double *packed; /* [room] everything else, one record after another; integers as doubles:
    n_rows, n_changed, n_edges, n_edges_deleted
    for each row whose energy may differ, each named once: its place in the cache, and its species
      in the proposed state (-1 leaves the row empty). The first n_changed hold an atom that is new,
      moved, retyped or gone; their message sums start from nothing
    for each edge: the receiver's place among these rows, the sender's species, r_ij. First the
      n_edges of the proposed state that touch a changed atom, none twice; then n_edges_deleted of
      the settled state that a row not changed received from a changed atom */
  int room;             /* values that may be read there; those behind the records are 0 */
};

/* What comes back. Arrays that are NULL are not wanted. */
struct mliap_local_result {
  double energy;         /* of all rows of this process, summed in float64 */
  double squares;        /* sum of the squared energies of atoms that were added, and in updates
                            taken away: rounding errors add up like its root */
  double *atom_energy;   /* [n_rows]; an update that is asked for it is no proposal: the last one
                            stays, nothing of the change may be settled later, and rows may be
                            named more than once */
  double rounding;       /* as in mliap_local_model, or what full evaluations have seen, if larger */
  double *settled_energy; /* [n_rows] what the cache holds for these rows; with atom_energy only */
  double grade;          /* where grades are wanted, the largest of the atoms of an update, or of a
                            full evaluation that is kept: above 1 the model was not trained on such
                            neighbours */
  double *atom_grade;    /* [n_rows] of these rows; with atom_energy only */
  int compilations;      /* of this instance since it was opened */
  int sound;             /* updates: 0 if so large messages were taken away that digits are lost;
                            evaluate in full instead, and never settle this proposal */
};

int mliap_local_open(const struct mliap_local_settings *settings, struct mliap_local_model *model,
                     char *error, int error_size);
int mliap_local_full(int instance, const struct mliap_local_rows *rows,
                     struct mliap_local_result *result, char *error, int error_size);
int mliap_local_update(int instance, const struct mliap_local_change *change,
                       struct mliap_local_result *result, char *error, int error_size);
int mliap_local_close(int instance, char *error, int error_size);
