"""The free energy of a vacancy in tantalum, from one site that `fix gcmc` empties and fills.

Converts the SNAP potential that LAMMPS brings, with its ZBL, and runs in.vacancies_in_tantalum.
Over the chemical potential mu the site is filled like a two-level system,

    ln(filled / empty) = (mu - middle) / kT

so that -middle is the free energy of taking an atom from its site to where mu is zero: the ideal
gas at one atom per cubed thermal wavelength. A crystal whose own chemical potential is mu has
exp((middle - mu) / kT) vacancies a site. The slope is no parameter: it measures kT, and with that
whether insertions and deletions balance. Everything goes to the folder `demo`, the picture as
vacancy.png.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import NamedTuple

import numpy as np
from running import HERE, Table, convert, lmp, mean, options, plotting, potentials, save, thermo

SCRIPT = HERE / "in.vacancies_in_tantalum"
SHOWN = re.compile("^mu |^at rest|^mliap_local: Ta|^ERROR|^WARNING")
BOLTZMANN, TEMPERATURE = 8.617333e-5, 1000.0  # eV/K, K
SHORT = {"first": -6.6, "spacing": 0.2, "points": 2, "settle": 100, "steps": 600}


class Point(NamedTuple):
    """What one chemical potential gave."""

    mu: float
    filled: float  #: fraction of the time
    error: float
    insertions: float  #: accepted, of those tried
    deletions: float


def main() -> None:
    arguments = options(__doc__).parse_args()
    folder = arguments.folder
    folder.mkdir(parents=True, exist_ok=True)
    files = [potentials() / f"Ta06A.snap{kind}" for kind in ("coeff", "param")]
    zbl = ["--zbl", 4, 4.8, "Ta=73"]  # as Ta06A.snap says
    convert(folder, "Ta.zip", "snap", *files, "Ta", *zbl)
    print("\n54 Ta at 1000 K, 100 trials at one site every 10 steps", flush=True)
    log = lmp(folder, SCRIPT, "log.vacancy", SHOWN, **(SHORT if arguments.short else {}))
    points = [average(table) for table in thermo(log) if "v_filled" in table]
    report(points)
    (middle, its_error), (temperature, error) = fit(points)
    print(
        f"\nfree energy of taking an atom away: {-middle:.3f} +- {its_error:.3f} eV at "
        f"{TEMPERATURE:.0f} K\nthe slope's temperature: {temperature:.0f} +- {error:.0f} K"
    )
    draw(points, middle, folder / "vacancy.png")


def average(table: Table) -> Point:
    """One run without its first row, which is the last of the run before."""
    filled, error = mean(table["v_filled"][1:])
    last = {k: table[f"f_gas[{k}]"][-1] for k in (3, 4, 5, 6)}
    return Point(table["v_mu"][0], filled, error, last[4] / last[3], last[6] / last[5])


def fit(points: list[Point]) -> tuple[tuple[float, float], tuple[float, float]]:
    """Middle in eV and temperature in K, each with its error, from ln(filled / empty) over mu.

    A count of n independent states has the variance 1 / (n filled empty) in that logarithm. n is
    taken as the same for all points, from their errors together: one by one they are too rough.
    """
    partly = [point[:3] for point in points if 0 < point.filled < 1]
    if len(partly) < 2:
        raise SystemExit("expected two points that are filled part of the time: run longer")
    mu, filled, error = np.array(partly).T
    spread = filled * (1 - filled)
    weights = np.sqrt(spread * spread.mean() / np.mean(error**2))
    values = np.log(filled / (1 - filled))
    (slope, centre), covariance = np.polyfit(mu - mu.mean(), values, 1, w=weights, cov="unscaled")
    slope_error, centre_error = np.sqrt(np.diag(covariance))
    temperature = 1 / (BOLTZMANN * slope)
    return (
        (mu.mean() - centre / slope, centre_error / slope),
        (temperature, temperature * slope_error / slope),
    )


def report(points: list[Point]) -> None:
    print("\n   mu, eV   filled    error     accepted: insertions   deletions")
    for p in points:
        print(f"{p.mu:9.2f}{p.filled:9.3f}{p.error:9.3f}{p.insertions:24.2%}{p.deletions:12.2%}")


def draw(points: list[Point], middle: float, path: Path) -> None:
    """Fraction of the time that the site is filled, over mu, with the law of two levels."""
    if (pyplot := plotting()) is None:
        return
    figure, axes = pyplot.subplots(figsize=(6, 4))
    mu, filled, error, *_ = np.array(points).T
    line = np.linspace(mu.min() - 0.1, mu.max() + 0.1, 200)
    law = 1 / (1 + np.exp((middle - line) / (BOLTZMANN * TEMPERATURE)))
    axes.plot(line, law, color="tab:gray", label=f"two levels at {TEMPERATURE:.0f} K")
    axes.errorbar(mu, filled, error, fmt="o", capsize=3, label="fix gcmc with mliap_local")
    axes.axvline(middle, color="tab:gray", linewidth=0.8, linestyle=":")
    axes.set_xlabel("chemical potential of Ta, eV")
    axes.set_ylabel("fraction of the time that the site is filled")
    axes.set_title(f"A site of tantalum: {-middle:.2f} eV to take its atom away")
    axes.legend(frameon=False)
    save(figure, path)


if __name__ == "__main__":
    main()
