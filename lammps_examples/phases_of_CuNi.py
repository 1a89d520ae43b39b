"""The phase diagram of an alloy: where copper and nickel do not mix.

Converts the Cu-Ni potential that LAMMPS brings and runs in.phases_of_CuNi at several temperatures.
The ensemble multiplies the weight of N atoms, N c of them Ni, by exp(-2 kappa N (c - wanted)^2), so
where it settles

    mu(c) = mu - 4 kappa kT (c - wanted)

is the difference of chemical potentials, which the input file's mu does not shift. Ideal mixing and
a polynomial are fitted to it and integrated to a free energy; the two phases are where its common
tangent touches. LAMMPS's own eam/alloy and fix atom/swap, which know neither our energies nor this
ensemble, give two compositions above the gap to compare with. Everything goes to the folder `demo`,
the picture as phases.png.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import NamedTuple

import numpy as np
from running import HERE, convert, lmp, mean, options, plotting, potentials, save, thermo

SCRIPT = HERE / "in.phases_of_CuNi"
SHOWN = re.compile("^ERROR|^WARNING")
BOLTZMANN = 8.617333e-5  # eV/K
TEMPERATURES = (400, 500, 600, 700, 1000)
MU, KAPPA = -0.89, 5  # as in the input file
GRID = np.linspace(1e-4, 1 - 1e-4, 4000)

# semi-grand without variance, all of it LAMMPS's own
NATIVE = """
units metal
lattice fcc 3.58
region box block 0 3 0 3 0 3
create_box 2 box
create_atoms 1 box
set group all type/fraction 2 0.5 4711
pair_style eam/alloy
pair_coeff * * {file} Cu Ni
mass 1 63.55
mass 2 58.69
velocity all create {hot} 4711
timestep 0.002
fix relax all npt temp {temperature} {temperature} 0.2 iso 0 0 2
fix swap all atom/swap 10 54 4711 {temperature} semi-grand yes types 1 2 mu 0 {mu}
variable nickel atom type==2
compute nickel all reduce ave v_nickel
thermo_style custom step c_nickel
thermo 10
run {settle}
run {steps}
"""


class Point(NamedTuple):
    """A composition, and the chemical potential that belongs to it."""

    nickel: float  #: fraction of Ni
    error: float  #: standard error of what is measured: mu, or of LAMMPS's own the fraction
    mu: float  #: eV, of Ni beyond that of Cu


def main() -> None:
    arguments = options(__doc__).parse_args()
    folder, short = arguments.folder, arguments.short
    folder.mkdir(parents=True, exist_ok=True)
    file = potentials() / "CuNi.eam.alloy"
    convert(folder, "CuNi.zip", "eam", file)
    print("\n108 atoms, 54 trials every 10 steps\n\n   T, K   Ni in the two phases", flush=True)
    curves, gaps = {}, {}
    for temperature in (500, 1000) if short else TEMPERATURES:
        curves[temperature] = points(folder, temperature, short)
        gaps[temperature] = gap(curves[temperature], temperature)
        low, high = gaps[temperature] or (np.nan, np.nan)
        text = f"{low:8.3f}{high:8.3f}" if gaps[temperature] else "   one phase"
        print(f"{temperature:7d}{text}", flush=True)
    hottest = max(curves)
    native = [compare(folder, file, hottest, p, short) for p in curves[hottest][1::4]]
    draw(curves, gaps, native, folder / "phases.png")


def points(folder: Path, temperature: int, short: bool) -> list[Point]:
    """One run of the input file: each second table is an average."""
    less = {"points": 5, "settle": 60, "steps": 200} if short else {}
    log = lmp(folder, SCRIPT, f"log.{temperature}", SHOWN, temperature=temperature, **less)
    found = []
    for table in thermo(log)[1::2]:
        nickel, error = mean(table["f_swap[4]"][1:])
        slope = 4 * KAPPA * BOLTZMANN * temperature
        mu = MU - slope * (nickel - table["v_wanted"][0])
        found.append(Point(nickel, slope * error, mu))
    return found


def excess(curve: list[Point], temperature: int) -> np.ndarray:
    """What mu(c) is beyond ideal mixing: a polynomial of third degree in c."""
    nickel, error, mu = (np.array(column) for column in zip(*curve, strict=True))
    inside = (nickel > 0) & (nickel < 1)
    nickel, mu, weight = nickel[inside], mu[inside], 1 / (error[inside] + 1e-3)
    ideal = BOLTZMANN * temperature * np.log(nickel / (1 - nickel))
    return np.polyfit(nickel, mu - ideal, min(3, len(mu) - 1), w=weight)


def gap(curve: list[Point], temperature: int) -> tuple[float, float] | None:
    """Where the common tangent touches the free energy: the longest edge of its lower hull."""
    mixing = GRID * np.log(GRID) + (1 - GRID) * np.log(1 - GRID)
    energy = np.polyval(np.polyint(excess(curve, temperature)), GRID)
    energy = energy + BOLTZMANN * temperature * mixing
    hull: list[int] = []
    for k in range(len(GRID)):
        while len(hull) > 1:
            a, b = hull[-2:]
            left = (GRID[b] - GRID[a]) * (energy[k] - energy[a])
            if left > (energy[b] - energy[a]) * (GRID[k] - GRID[a]):
                break
            hull.pop()
        hull.append(k)
    ends = GRID[hull]
    longest = int(np.argmax(np.diff(ends)))
    low, high = float(ends[longest]), float(ends[longest + 1])
    return (low, high) if high - low > 0.02 else None


def compare(folder: Path, file: Path, temperature: int, point: Point, short: bool) -> Point:
    """LAMMPS's own composition at the chemical potential of one of our points."""
    settle, steps = (200, 400) if short else (500, 2000)
    words = {"file": file, "temperature": temperature, "hot": 2 * temperature, "mu": point.mu}
    (folder / "in.native").write_text(NATIVE.format(**words, settle=settle, steps=steps))
    *_, table = thermo(lmp(folder, "in.native", "none", re.compile("^ERROR")))
    nickel, error = mean(table["c_nickel"][1:])
    print(
        f"mu {point.mu:.3f} eV at {temperature} K: Ni {point.nickel:.3f}, "
        f"of LAMMPS's eam/alloy {nickel:.3f} +- {error:.3f}",
        flush=True,
    )
    return Point(nickel, error, point.mu)


def draw(curves: dict, gaps: dict, native: list[Point], path: Path) -> None:
    """Chemical potential over composition, and the phase diagram."""
    if (pyplot := plotting()) is None:
        return
    figure, (left, right) = pyplot.subplots(1, 2, figsize=(10, 4.2))
    for place, (temperature, curve) in enumerate(curves.items()):
        colour = pyplot.get_cmap("plasma")(place / len(curves))
        nickel, error, mu = zip(*curve, strict=True)
        left.errorbar(nickel, mu, error, fmt="o", ms=4, color=colour, label=f"{temperature} K")
        inner = GRID[(GRID > 0.02) & (GRID < 0.98)]
        ideal = BOLTZMANN * temperature * np.log(inner / (1 - inner))
        fitted = np.polyval(excess(curve, temperature), inner) + ideal
        left.plot(inner, fitted, lw=1, color=colour)
        if gaps[temperature]:
            right.plot(gaps[temperature], [temperature] * 2, "o-", color=colour)
        else:
            right.plot(nickel, [temperature] * len(nickel), "|", color=colour)
    nickel, error, mu = zip(*native, strict=True)
    left.errorbar(
        nickel, mu, xerr=error, fmt="s", ms=9, mfc="none", color="black", label="LAMMPS eam/alloy"
    )
    left.set(xlabel="fraction of Ni", ylabel="mu(Ni) - mu(Cu), eV", title="Cu-Ni, semi-grand")
    left.legend(frameon=False, fontsize=8)
    right.set(xlabel="fraction of Ni", ylabel="temperature, K", xlim=(0, 1))
    right.set_ylim(min(curves) - 50, max(curves) + 50)
    right.set_title("two phases (lines), one phase (marks)")
    save(figure, path)


if __name__ == "__main__":
    main()
