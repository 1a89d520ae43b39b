/* What model.h declares: opened by all processes or by none. */

#include "model.h"

#include "comm.h"
#include "error.h"
#include "update.h"
#include "utils.h"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstring>
#include <sched.h>
#include <thread>

using namespace LAMMPS_NS;

static constexpr int TEXT_SIZE = 65536;
/* Sums of energies in float64, over atoms and over updates, are good to this part. */
static constexpr double SUM_ROUNDING = 1.0e-12;

/* Rounding, ten times what was seen, that users should hear of: 1e-5 eV in some eV an atom. */
static constexpr double POOR = 5.0e-5;

Model::Model(LAMMPS *lmp) : Pointers(lmp), text_(TEXT_SIZE) {}

/* This process's part of the cores of its node. Launchers bind each process to cores of its own, or
   let all use all: a core counts for what it is to each of those that may use it. */
static int part_of_cores(MPI_Comm node)
{
  std::vector<int> own(CPU_SETSIZE), users(CPU_SETSIZE);
  cpu_set_t cores;
  CPU_ZERO(&cores);
  sched_getaffinity(0, sizeof(cores), &cores);
  for (int k = 0; k < CPU_SETSIZE; k++) own[k] = CPU_ISSET(k, &cores) ? 1 : 0;
  MPI_Allreduce(own.data(), users.data(), CPU_SETSIZE, MPI_INT, MPI_SUM, node);
  double part = 1.0e-6;
  for (int k = 0; k < CPU_SETSIZE; k++)
    if (own[k]) part += 1.0 / users[k];
  return std::max(1, static_cast<int>(part));
}

void Model::open(const char *file, const std::vector<std::string> &elements,
                 const std::string &device, bool relative, bool graded)
{
  close();
  told_ = false;
  std::string names;
  for (const std::string &element : elements) names += (names.empty() ? "" : " ") + element;
  isolated_energy.assign(elements.size(), 0.0);
  mass.assign(elements.size(), 0.0);

  MPI_Comm node;
  int node_rank;
  MPI_Comm_split_type(world, MPI_COMM_TYPE_SHARED, 0, MPI_INFO_NULL, &node);
  MPI_Comm_rank(node, &node_rank);
  const int threads = part_of_cores(node);
  MPI_Comm_free(&node);

  char summary[512] = "";
  char *text = text_.data();
  text[0] = '\0';
  mliap_local_settings settings{file,           names.c_str(), update->unit_style,
                                device.c_str(), relative,      node_rank,
                                threads,        graded};
  mliap_local_model model{};
  model.isolated_energy = isolated_energy.data();
  model.mass = mass.data();
  model.summary = summary;
  model.summary_size = sizeof(summary);
  bridge_ = mliap_local::open_bridge(text, TEXT_SIZE);
  const bool good = bridge_ && bridge_->open(&settings, &model, text, TEXT_SIZE);

  /* All processes stop with the words of the first that could not open the model. */
  int failed_rank = good ? comm->nprocs : comm->me, first_failed;
  MPI_Allreduce(&failed_rank, &first_failed, 1, MPI_INT, MPI_MIN, world);
  if (good) instance_ = model.instance;
  if (first_failed < comm->nprocs) {
    close();    // no run without a model
    MPI_Bcast(text, TEXT_SIZE, MPI_CHAR, first_failed, world);
    char *traceback = strstr(text, "\n\n");
    if (traceback) {
      *traceback = '\0';
      if (comm->me == 0) utils::logmesg(lmp, std::string(traceback + 2) + "\n");
    }
    error->all(FLERR, std::string(text));
  }
  cutoff = model.cutoff;
  overlap = model.overlap;
  differentiable = model.differentiable;
  half = model.half;
  rounding = model.rounding;
  if (comm->me == 0) utils::logmesg(lmp, std::string("mliap_local: ") + summary + "\n");
}

void Model::close()
{
  if (instance_ >= 0) bridge_->close(instance_, text_.data(), TEXT_SIZE);
  instance_ = -1;
}

double Model::tolerance(double squares, double largest) const
{
  return rounding * std::sqrt(squares) + SUM_ROUNDING * largest;
}

int Model::evaluate(const mliap_local_rows &rows, mliap_local_result &result)
{
  const int good = bridge_->full(instance_, &rows, &result, text_.data(), TEXT_SIZE);
  if (!good) return good;
  rounding = result.rounding;
  if (rounding > POOR && !told_) {
    told_ = true;
    error->warning(FLERR,
                   "mliap_local: rounding changes the energies of atoms by about {:.1g} of "
                   "themselves in this model; use one in 64bit",
                   0.1 * rounding);
  }
  return good;
}

int Model::evaluate(const mliap_local_change &change, mliap_local_result &result)
{
  return bridge_->update(instance_, &change, &result, text_.data(), TEXT_SIZE);
}

/* The first line is the error; what follows a blank line is Python's traceback, for the log. */
void Model::failed()
{
  const std::string all = text_.data();
  const std::size_t blank = all.find("\n\n");
  if (blank != std::string::npos) utils::logmesg(lmp, all.substr(blank + 2) + "\n");
  stop(all.substr(0, blank));
}

/* What the others' launcher has not passed on when it aborts is lost, so a process that does not
   write the log says its words early. */
void Model::stop(const std::string &text)
{
  if (comm->me != 0) {
    fputs(fmt::format("ERROR on proc {}: {}\n", comm->me, text).c_str(), stderr);
    std::this_thread::sleep_for(std::chrono::milliseconds(300));
  }
  error->one(FLERR, text);
}
