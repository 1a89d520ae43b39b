/* What fix_gcmc_mliap_local.h declares. The order of random numbers is that of LAMMPS's fix gcmc with
   full_energy, so that one seed gives one walk. */

#include "fix_gcmc_mliap_local.h"

#include "atom.h"
#include "atom_vec.h"
#include "comm.h"
#include "domain.h"
#include "error.h"
#include "force.h"
#include "group.h"
#include "modify.h"
#include "update.h"
#include "utils.h"

#include <algorithm>
#include <array>
#include <climits>
#include <cmath>
#include <cstring>

using namespace LAMMPS_NS;

/* What LAMMPS's fix takes for the energy of an overlap, and above which it draws no number. */
static constexpr double OVERLAPPING = 1.0e100, NOT_TRIED = 1.0e50;
/* So few rows to fill for a trial are filled when it is its turn; look again so many trials later. */
static constexpr int FEW_ROWS = 2, UNPLANNED = 32;
/* Below this acceptance differences are evaluated ahead: each that is accepted costs one more. It is
   what was seen in so many trials. */
static constexpr double RARE = 0.05, MEMORY = 64.0;
static constexpr int MOST_VALUES = 1 << 17;    // of an atom that changes its process
static constexpr double PI = 3.14159265358979323846;
static constexpr char KEYWORDS[] =
    "mcmoves, region, pressure, fugacity_coeff, full_energy, group, grouptype, tfac_insert, "
    "overlap_cutoff, min, max, ahead";

FixGCMCMLIAPLocal::FixGCMCMLIAPLocal(LAMMPS *lmp, int narg, char **arg)
    : FixMonteCarlo(lmp, narg, arg, "gcmc"), same_(1), own_(1), insertion_(lmp, name_),
      most_(INT_MAX)
{
  if (narg < 11) utils::missing_cmd_args(FLERR, "fix gcmc/mliap_local", error);
  size_vector = COUNTS;
  nevery = whole(arg[3]);
  n_exchanges_ = whole(arg[4]);
  n_moves_ = whole(arg[5]);
  type_ = utils::expand_type_int(FLERR, arg[6], Atom::ATOM, lmp);
  const int seed = whole(arg[7]);
  temperature_ = number(arg[8]);
  mu_ = number(arg[9]);
  displace_ = number(arg[10]);
  if (nevery <= 0 || n_exchanges_ < 0 || n_moves_ < 0 || seed <= 0 || temperature_ <= 0.0 ||
      displace_ < 0.0)
    error->all(FLERR,
               "Fix gcmc/mliap_local: expected N > 0, X >= 0, M >= 0, seed > 0, T > 0 and "
               "displace >= 0, got {} {} {} {} {} {}",
               nevery, n_exchanges_, n_moves_, seed, temperature_, displace_);
  same_.reset(seed);
  own_.reset(seed);
  options(narg, arg);
}

void FixGCMCMLIAPLocal::options(int narg, char **arg)
{
  for (int k = 11; k < narg;) {
    if (keyword(k, narg, arg)) continue;
    const std::string word = arg[k];
    for (const char *other : {"mol", "rigid", "shake", "charge", "maxangle", "intra_energy"})
      if (word == other) left_to_stock(other);
    const int values = word == "full_energy" ? 0
        : word == "mcmoves"                  ? 3
        : word == "grouptype"                ? 2
                                             : 1;
    if ((std::string(" ") + KEYWORDS + ",").find(" " + word + ",") == std::string::npos)
      unknown(arg[k], KEYWORDS);
    if (k + values >= narg) utils::missing_cmd_args(FLERR, "fix gcmc/mliap_local " + word, error);
    const char *value = arg[k + 1];
    if (word == "mcmoves") {
      if (number(value) <= 0.0 || number(arg[k + 2]) != 0.0 || number(arg[k + 3]) != 0.0)
        left_to_stock("mcmoves with moves of molecules");
    } else if (word == "region") {
      insertion_.use_region(value, same_);
    } else if (word == "pressure") {
      pressure_ = number(value);
      by_pressure_ = true;
    } else if (word == "fugacity_coeff") {
      fugacity_ = number(value);
    } else if (word == "group") {
      groups_.emplace_back(value);
    } else if (word == "grouptype") {
      type_groups_.emplace_back(utils::expand_type_int(FLERR, value, Atom::ATOM, lmp), arg[k + 2]);
    } else if (word == "tfac_insert") {
      hotter_ = number(value);
    } else if (word == "overlap_cutoff") {
      close_cutoff_ = number(value);
    } else if (word == "min") {
      least_ = static_cast<int>(number(value));
    } else if (word == "ahead") {
      most_ahead_ = whole(value);
      if (most_ahead_ < 1)
        error->all(FLERR, "Fix gcmc/mliap_local ahead: expected K >= 1 (1: none), got {}", value);
      reach_ = std::min(reach_, most_ahead_);
    } else if (word == "max") {
      most_ = static_cast<int>(number(value));
    }
    k += 1 + values;
  }
}

void FixGCMCMLIAPLocal::init()
{
  FixMonteCarlo::init();
  if (type_ <= 0 || type_ > atom->ntypes)
    error->all(FLERR, "Fix gcmc/mliap_local: expected an atom type from 1 to {}, got {}",
               atom->ntypes, type_);
  if (species(type_) < 0)
    error->all(FLERR,
               "Fix gcmc/mliap_local inserts atoms of type {}, which is NULL in its model; "
               "give the element of that type",
               type_);
  insertion_.init();
  const double mass = atom->mass[type_];
  beta_ = 1.0 / (force->boltz * temperature_);
  zz_ = exp(beta_ * mu_);
  if (strcmp(update->unit_style, "lj") != 0) {
    const double lambda = sqrt(force->hplanck * force->hplanck /
                               (2.0 * PI * mass * force->mvv2e * force->boltz * temperature_));
    zz_ = exp(beta_ * mu_) / (pow(lambda, 3.0));
  }
  sigma_ = sqrt(force->boltz * temperature_ * hotter_ / mass / force->mvv2e);
  if (by_pressure_) zz_ = pressure_ * fugacity_ * beta_ / force->nktv2p;

  const auto bit = [&](const std::string &name) {
    const int found = group->find(name);
    if (found < 0)
      error->all(FLERR, "Fix gcmc/mliap_local: expected the ID of a group, got {}", name);
    return group->bitmask[found];
  };
  new_mask_ = 1 | groupbit;
  for (const std::string &name : groups_) new_mask_ |= bit(name);
  for (const auto &[type, name] : type_groups_)
    if (type == type_) new_mask_ |= bit(name);
  if ((groupbit & 1) && comm->me == 0)
    error->warning(FLERR, "Fix gcmc/mliap_local is applied to group all: all atoms are its gas");
}

/* --- the gas ----------------------------------------------------------------------------------- */

bool FixGCMCMLIAPLocal::is_gas(int i) const
{
  return (atom->mask[i] & groupbit) && insertion_.in_region(atom->x[i]);
}

void FixGCMCMLIAPLocal::find_gas()
{
  gas_.own.clear();
  for (int i = 0; i < atom->nlocal; i++)
    if (is_gas(i)) gas_.own.push_back(i);
  count(gas_);
}

/* An own atom, -1 where another process has it, -2 where it is the stranded one. */
int FixGCMCMLIAPLocal::pick()
{
  int which = FixMonteCarlo::pick(gas_, same_);
  if (which < 0) return -1;
  if (stranded_.at == comm->me) {
    const int place = gas_.counts[comm->me] - (stranded_.before_last ? 2 : 1);
    if (which == place) return -2;
    if (which > place) which--;
  }
  return gas_.own[which];
}

/* Two own atoms exchange their places, in LAMMPS, in the stage and among the gas. */
void FixGCMCMLIAPLocal::exchange(int i, int j)
{
  if (i == j) return;
  packed_.resize(MOST_VALUES);
  atom->avec->pack_exchange(i, packed_.data());
  atom->avec->copy(j, i, 1);
  atom->avec->unpack_exchange(packed_.data());
  atom->avec->copy(--atom->nlocal, j, 1);
  stage_.exchange(i, j);
  const bool i_is_gas = std::binary_search(gas_.own.begin(), gas_.own.end(), i);
  if (i_is_gas == std::binary_search(gas_.own.begin(), gas_.own.end(), j)) return;
  gas_.own.erase(std::lower_bound(gas_.own.begin(), gas_.own.end(), i_is_gas ? i : j));
  const int now = i_is_gas ? j : i;
  gas_.own.insert(std::lower_bound(gas_.own.begin(), gas_.own.end(), now), now);
}

/* An own atom to the end, as LAMMPS's exchange does it: the last one takes its place, or, if that is
   still on its way, the one before. */
void FixGCMCMLIAPLocal::to_end(int i, bool last_is_away)
{
  const int last = atom->nlocal - 1;
  if (i == last) return;
  if (last_is_away) exchange(i, last - 1);
  exchange(last_is_away ? last - 1 : i, last);
}

/* The last atom takes the place of one that has left, in LAMMPS, in the stage and among the gas. */
void FixGCMCMLIAPLocal::leave(int i)
{
  const int last = atom->nlocal - 1;
  if (i != last) atom->avec->copy(last, i, 1);
  atom->nlocal--;
  stage_.close_gap(i);
  const bool last_is_gas = !gas_.own.empty() && gas_.own.back() == last;
  const auto at = std::lower_bound(gas_.own.begin(), gas_.own.end(), i);
  const bool was_gas = at != gas_.own.end() && *at == i;
  if (i == last) {
    if (last_is_gas) gas_.own.pop_back();
  } else if (last_is_gas) {
    if (!was_gas) gas_.own.insert(at, i);
    gas_.own.pop_back();
  } else if (was_gas) {
    gas_.own.erase(at);
  }
}

tagint FixGCMCMLIAPLocal::largest_tag() const
{
  tagint largest = 0, all;
  for (int i = 0; i < atom->nlocal; i++) largest = std::max(largest, atom->tag[i]);
  MPI_Allreduce(&largest, &all, 1, MPI_LMP_TAGINT, MPI_MAX, world);
  return all;
}

int FixGCMCMLIAPLocal::process_of(const double *x) const
{
  if (comm->nprocs == 1) return 0;
  int here = is_here(x) ? comm->me : -1, process;
  MPI_Allreduce(&here, &process, 1, MPI_INT, MPI_MAX, world);
  return process;
}

/* --- trials ------------------------------------------------------------------------------------ */

void FixGCMCMLIAPLocal::trials()
{
  volume_ = insertion_.volume();
  find_gas();
  stranded_ = Stranded();
  plan_.clear();
  unplanned_ = 0;
  last_tag_ = largest_tag();
  energy_ = close_pairs() > 0.0 ? OVERLAPPING : 0.0;
  for (int left = n_exchanges_ + n_moves_; left > 0; left--) {
    if (plan_.empty()) plan(left);
    const Drawn drawn = draw();
    Planned planned;
    if (!plan_.empty()) {
      planned = plan_.front();
      plan_.pop_front();
      const bool same = planned.drawn.same(drawn);
      if (!same) {
        planned.known = false;
        plan_.clear();
      }
      if (plan_.empty())
        reach_ = same ? std::min(most_ahead_, 2 * reach_) : std::max(1, reach_ / 2);
    }
    conclude(drawn, planned);
  }
  bring_home();
}

bool FixGCMCMLIAPLocal::Drawn::same(const Drawn &other) const
{
  const auto alike = [](const TrialAtom &a, const TrialAtom &b) {
    return a.species == b.species && std::equal(a.x, a.x + 3, b.x);
  };
  return kind == other.kind && (kind == INSERTIONS || alike(gone, other.gone)) &&
      (kind == DELETIONS || alike(come, other.come)) && tried == other.tried;
}

/* The next trials as they will be if none of them is accepted: their neighbourhoods are evaluated in
   one call, and where acceptance is rare their differences too. A plan is only ever looked at again
   beside what is drawn when it is its turn. */
void FixGCMCMLIAPLocal::plan(int left)
{
  const bool evaluate = acceptance_ < RARE && close_cutoff_ == 0.0;
  if (left < 2 || reach_ < 2 || stranded_.at >= 0 || (!evaluate && unplanned_-- > 0)) {
    reach_ = std::min(std::max(reach_, 2), most_ahead_);
    return;
  }
  const RandomPark same = same_, own = own_;
  std::vector<mliap_local::Stage::Trial> trials;
  std::vector<std::size_t> which;
  for (int k = 0; k < std::min(left, reach_); k++) {
    plan_.emplace_back();
    Drawn &drawn = plan_.back().drawn;
    drawn = draw();
    if (!drawn.tried) continue;
    if (drawn.leaves_box) break;
    trials.push_back({gone_of(drawn), come_of(drawn)});
    which.push_back(plan_.size() - 1);
    if (drawn.home != drawn.to && drawn.kind == MOVES) break;    // a refusal changes an order
    same_.uniform();
  }
  same_ = same;
  own_ = own;
  if (!evaluate) {
    double filled = -static_cast<double>(stage_.filled());
    prepare(trials);
    filled += static_cast<double>(stage_.filled());
    sum(&filled, 1);    // all processes plan, or none
    /* Where little is unknown, looking for it costs more than it is worth. */
    unplanned_ = filled < FEW_ROWS * static_cast<double>(trials.size()) ? UNPLANNED : 0;
    return;
  }
  const std::vector<double> energies = differences(trials);
  for (std::size_t t = 0; t < which.size(); t++) {
    plan_[which[t]].known = true;
    plan_[which[t]].difference = energies[t];
  }
}

/* What was planned near to an accepted trial has another energy now. */
void FixGCMCMLIAPLocal::forget_near(const Drawn &accepted)
{
  const double reach = 2.0 * model_.cutoff;
  const auto near = [&](const TrialAtom &a, const TrialAtom &b) {
    double d[3] = {a.x[0] - b.x[0], a.x[1] - b.x[1], a.x[2] - b.x[2]};
    domain->minimum_image(FLERR, d);
    return d[0] * d[0] + d[1] * d[1] + d[2] * d[2] < reach * reach;
  };
  for (Planned &planned : plan_)
    for (const bool from : {true, false})
      for (const bool to : {true, false}) {
        if (accepted.kind == (from ? INSERTIONS : DELETIONS)) continue;
        if (planned.drawn.kind == (to ? INSERTIONS : DELETIONS)) continue;
        if (near(from ? accepted.gone : accepted.come,
                 to ? planned.drawn.gone : planned.drawn.come))
          planned.known = false;
      }
}

FixGCMCMLIAPLocal::Drawn FixGCMCMLIAPLocal::draw()
{
  const int cycles = n_exchanges_ + n_moves_;
  const int which = static_cast<int>(same_.uniform() * cycles) + 1;
  const double kind = same_.uniform();
  Drawn drawn;
  drawn.kind = which <= n_moves_ ? MOVES : kind < 0.5 ? DELETIONS : INSERTIONS;
  if (drawn.kind == MOVES)
    draw_move(drawn);
  else if (drawn.kind == DELETIONS)
    draw_deletion(drawn);
  else
    draw_insertion(drawn);
  return drawn;
}

void FixGCMCMLIAPLocal::conclude(const Drawn &drawn, const Planned &planned)
{
  counted_[drawn.kind]++;
  if (!drawn.tried) return;
  if (drawn.leaves_box)
    error->all(FLERR,
               "Fix gcmc/mliap_local moved an atom out of the box, to {:.8g} {:.8g} {:.8g}; "
               "use a region, or boundary p p p",
               drawn.come.x[0], drawn.come.x[1], drawn.come.x[2]);
  double after = energy_ >= NOT_TRIED ? 0.0 : energy_;
  after += planned.known ? planned.difference : difference_of(drawn);
  if (planned.known && planned.difference < NOT_TRIED)    // what was true then may not be now
    verify(planned.difference, gone_of(drawn), come_of(drawn));
  /* LAMMPS looks for overlaps at one that it tries to delete, too. */
  if ((drawn.kind == DELETIONS ? close_pairs() : proposed_close_pairs()) > 0.0) after = OVERLAPPING;
  double most = 1.0;    // of the random number, without the energy
  if (drawn.kind == DELETIONS) most = gas_.all / (zz_ * volume_);
  if (drawn.kind == INSERTIONS) most = zz_ * volume_ / (gas_.all + 1);
  const bool decided = drawn.kind == DELETIONS || after < NOT_TRIED;
  const bool accepted = decided && same_.uniform() < most * exp(beta_ * (energy_ - after));
  acceptance_ += ((accepted ? 1.0 : 0.0) - acceptance_) / MEMORY;
  if (!accepted) {
    if (drawn.kind == MOVES && drawn.home != drawn.to) strand(drawn);
    return;
  }
  if (planned.known) difference_of(drawn);    // a proposal, to be settled
  energy_ = after;
  forget_near(drawn);
  accept();
  counted_[drawn.kind + 1]++;
  if (drawn.kind == MOVES)
    move(drawn);
  else if (drawn.kind == DELETIONS)
    remove(drawn);
  else
    insert(drawn);
}

double FixGCMCMLIAPLocal::difference_of(const Drawn &drawn)
{
  return difference(gone_of(drawn), come_of(drawn));
}

std::vector<FixGCMCMLIAPLocal::TrialAtom> FixGCMCMLIAPLocal::gone_of(const Drawn &drawn)
{
  if (drawn.kind == INSERTIONS) return {};
  return {drawn.gone};
}

std::vector<FixGCMCMLIAPLocal::TrialAtom> FixGCMCMLIAPLocal::come_of(const Drawn &drawn)
{
  if (drawn.kind == DELETIONS) return {};
  return {drawn.come};
}

/* The stranded atom goes back: last of its own process's atoms, as LAMMPS's exchange leaves it. There
   it is already. */
void FixGCMCMLIAPLocal::bring_home()
{
  if (stranded_.at < 0) return;
  gas_.counts[stranded_.at]--;
  gas_.counts[stranded_.home]++;
  stranded_ = Stranded();
}

void FixGCMCMLIAPLocal::displaced(int i, double *coord)
{
  const double *from = i >= 0 ? atom->x[i] : stranded_.x;
  do {
    double step[3], square;
    do {
      square = 0.0;
      for (double &s : step) {
        s = 2 * own_.uniform() - 1.0;
        square += s * s;
      }
    } while (square > 1.0);
    for (int c = 0; c < 3; c++) coord[c] = from[c] + displace_ * step[c];
  } while (!insertion_.in_region(coord));
}

void FixGCMCMLIAPLocal::draw_move(Drawn &drawn)
{
  if (gas_.all == 0) return;
  drawn.tried = true;
  int i = pick();
  /* Whoever has picked it tells all: where it is, where it goes, what it is. */
  double told[9] = {};
  if (i != -1) {
    std::copy_n(i >= 0 ? atom->x[i] : stranded_.x, 3, told);
    displaced(i, told + 3);
    if (i >= 0) told[6] = species(atom->type[i]);
    told[7] = i >= 0 ? comm->me : stranded_.home;
  }
  if (i >= 0 && i == atom->nlocal - 1) told[8] = 1.0;
  const Stranded was = stranded_;
  const bool was_stranded = was.at >= 0;
  bring_home();
  sum(told, 9);
  drawn.home = static_cast<int>(told[7]);
  if (comm->me != drawn.home) i = -1;
  if (was_stranded && comm->me == drawn.home && i < 0) {    // its last one, picked elsewhere
    i = gas_.own.back();
    told[6] = species(atom->type[i]);
  }
  drawn.image = i >= 0 ? atom->image[i] : 0;
  domain->remap(told + 3, drawn.image);
  if (was_stranded) MPI_Bcast(told + 6, 1, MPI_DOUBLE, drawn.home, world);
  const int kind = static_cast<int>(told[6]);
  if (kind < 0) refuse_null();
  drawn.leaves_box = !domain->inside_nonperiodic(told + 3);
  drawn.to = drawn.leaves_box ? drawn.home : process_of(told + 3);
  if (was_stranded) order(was, told[8] > 0.0, drawn);
  drawn.gone = {{told[0], told[1], told[2]}, kind, i};
  drawn.come = {{told[3], told[4], told[5]}, kind, -1};
  if (comm->me == drawn.to) drawn.come.own = drawn.home == drawn.to ? i : atom->nlocal;
}

/* In one exchange of LAMMPS, which sends atoms one dimension after another, a stranded atom goes home
   and the tried one to another process. In which order they leave and come decides who is last. */
void FixGCMCMLIAPLocal::order(const Stranded &was, bool tried_is_last, Drawn &drawn) const
{
  if (drawn.home == drawn.to || (drawn.home != was.home && drawn.to != was.home)) return;
  using Place = std::array<int, 3>;
  const auto place = [&](int process) {
    Place p{};
    for (p[0] = 0; p[0] < comm->procgrid[0]; p[0]++)
      for (p[1] = 0; p[1] < comm->procgrid[1]; p[1]++)
        for (p[2] = 0; p[2] < comm->procgrid[2]; p[2]++)
          if (comm->grid2proc[p[0]][p[1]][p[2]] == process) return p;
    return Place{};
  };
  const Place at = place(was.at), home = place(was.home), from = place(drawn.home),
              to = place(drawn.to);
  if (drawn.home == was.home) {
    int first = 0, last = 2;
    while (first < 2 && from[first] == to[first]) first++;
    while (last > 0 && at[last] == home[last]) last--;
    drawn.leaves_before = first <= last;
    return;
  }
  for (int d = 2; d >= 0; d--) {
    const bool tried = from[d] != to[d], stranded = at[d] != home[d];
    drawn.comes_before = stranded;
    if (tried != stranded) return;
    drawn.comes_before = from[d] == (to[d] + 1) % comm->procgrid[d];    // these are unpacked first
    if (tried && from[d] != at[d]) return;
  }
  drawn.comes_before = !(was.before_last && tried_is_last);
}

void FixGCMCMLIAPLocal::refuse_null()
{
  error->all(FLERR,
             "Fix gcmc/mliap_local tries an atom of a type that is NULL in its model; give "
             "the element of that type, or leave the atom out of group {}",
             group->names[igroup]);
}

void FixGCMCMLIAPLocal::move(const Drawn &drawn)
{
  const int i = drawn.gone.own;
  if (i >= 0) {
    std::copy_n(drawn.come.x, 3, atom->x[i]);
    atom->image[i] = drawn.image;
    /* Wrapped, it may be where the region is not. */
    if (!is_gas(i)) gas_.own.erase(std::lower_bound(gas_.own.begin(), gas_.own.end(), i));
  }
  if (drawn.home != drawn.to) send(drawn);
  if (insertion_.has_region() || drawn.home != drawn.to) count(gas_);
}

/* LAMMPS has moved it to another process and lets it come back: there and then it is the last one of
   its own. */
void FixGCMCMLIAPLocal::strand(const Drawn &drawn)
{
  if (drawn.gone.own >= 0) to_end(drawn.gone.own, drawn.leaves_before);
  stranded_.at = drawn.to;
  stranded_.home = drawn.home;
  stranded_.before_last = drawn.comes_before;
  std::copy_n(drawn.gone.x, 3, stranded_.x);
  gas_.counts[drawn.home]--;
  gas_.counts[drawn.to]++;
}

/* An atom that was accepted at a place of another process goes there. */
void FixGCMCMLIAPLocal::send(const Drawn &drawn)
{
  constexpr int TAG = 0;
  packed_.resize(MOST_VALUES);
  if (comm->me == drawn.home) {
    to_end(drawn.gone.own, drawn.leaves_before);
    const int last = atom->nlocal - 1, n = atom->avec->pack_exchange(last, packed_.data());
    MPI_Send(packed_.data(), n, MPI_DOUBLE, drawn.to, TAG, world);
    leave(last);
  }
  if (comm->me == drawn.to) {
    MPI_Recv(packed_.data(), MOST_VALUES, MPI_DOUBLE, drawn.home, TAG, world, MPI_STATUS_IGNORE);
    atom->avec->unpack_exchange(packed_.data());
    const int last = atom->nlocal - 1;
    if (is_gas(last)) gas_.own.push_back(last);
    if (drawn.comes_before) exchange(last - 1, last);
  }
}

void FixGCMCMLIAPLocal::draw_deletion(Drawn &drawn)
{
  if (gas_.all == 0 || gas_.all <= least_) return;
  drawn.tried = true;
  int i = pick();
  /* The stranded one is deleted where it is at home, as last of the gas there. */
  if (stranded_.at >= 0) {
    double picked = i == -2;
    sum(&picked, 1);
    if (picked > 0.0) i = comm->me == stranded_.home ? gas_.own.back() : -1;
    bring_home();
  }
  double told[6] = {};
  if (i >= 0) {
    std::copy_n(atom->x[i], 3, told);
    told[3] = species(atom->type[i]);
    told[4] = comm->me;
    told[5] = static_cast<double>(atom->tag[i]);
  }
  sum(told, 6);
  drawn.gone = {{told[0], told[1], told[2]}, static_cast<int>(told[3]), i};
  drawn.home = static_cast<int>(told[4]);
  drawn.tag = static_cast<tagint>(told[5]);
  if (drawn.gone.species < 0) refuse_null();
}

void FixGCMCMLIAPLocal::remove(const Drawn &drawn)
{
  if (drawn.gone.own >= 0) leave(drawn.gone.own);
  gas_.counts[drawn.home]--;
  gas_.all--;
  atom->natoms--;
  if (drawn.tag == last_tag_) last_tag_ = largest_tag();
}

void FixGCMCMLIAPLocal::draw_insertion(Drawn &drawn)
{
  double *x = drawn.come.x;
  if (gas_.all >= most_ || !insertion_.draw(same_, x)) return;
  drawn.tried = true;
  drawn.to = process_of(x);
  if (comm->me == drawn.to)
    for (double &component : drawn.v) component = own_.gaussian() * sigma_;
  drawn.comes_before = stranded_.at >= 0 && stranded_.home == drawn.to;
  bring_home();
  drawn.come.species = species(type_);
  drawn.come.own = comm->me == drawn.to ? atom->nlocal : -1;
}

void FixGCMCMLIAPLocal::insert(const Drawn &drawn)
{
  last_tag_++;
  atom->natoms++;
  if (comm->me == drawn.to) {
    double x[3] = {drawn.come.x[0], drawn.come.x[1], drawn.come.x[2]};
    atom->avec->create_atom(type_, x);
    const int i = atom->nlocal - 1;
    atom->mask[i] = new_mask_;
    atom->tag[i] = last_tag_;
    std::copy_n(drawn.v, 3, atom->v[i]);
    modify->create_attribute(i);
    if (is_gas(i)) gas_.own.push_back(i);
    if (drawn.comes_before) exchange(i - 1, i);
  }
  if (insertion_.has_region()) {
    count(gas_);
  } else {
    gas_.counts[drawn.to]++;
    gas_.all++;
  }
}

/* --- what others ask --------------------------------------------------------------------------- */

double FixGCMCMLIAPLocal::compute_vector(int n)
{
  return counted_[n];
}

void FixGCMCMLIAPLocal::write_restart(FILE *file)
{
  write(file,
        {static_cast<double>(same_.state()), static_cast<double>(own_.state()),
         ubuf(next_reneighbor).d, counted_[MOVES], counted_[MOVED], counted_[ROTATIONS],
         counted_[ROTATED], counted_[DELETIONS], counted_[DELETED], counted_[INSERTIONS],
         counted_[INSERTED], ubuf(update->ntimestep).d});
}

void FixGCMCMLIAPLocal::restart(char *buffer)
{
  const auto *list = reinterpret_cast<const double *>(buffer);
  same_.reset(static_cast<int>(list[0]));
  own_.reset(static_cast<int>(list[1]));
  next_reneighbor = (bigint) ubuf(list[2]).i;
  const int order[] = {MOVES, MOVED, ROTATIONS, ROTATED, DELETIONS, DELETED, INSERTIONS, INSERTED};
  for (int k = 0; k < COUNTS; k++) counted_[order[k]] = list[3 + k];
  if ((bigint) ubuf(list[11]).i != update->ntimestep)
    error->all(FLERR, "Must not reset timestep when restarting fix gcmc/mliap_local");
}
