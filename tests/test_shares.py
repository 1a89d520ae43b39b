"""Full evaluations share by share: whatever the shares and threads, they are those of all pairs."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from shown_rows import ShownRows

from mliap_local.core import padding
from mliap_local.lammps.session import Session

N = 89


def gas(widths) -> ShownRows:
    """Atoms with so many neighbours each, at random distances."""
    draw = np.random.default_rng(5)
    widths = np.asarray(widths)
    there = np.arange(max(1, widths.max())) < widths[:, None]
    directions = draw.normal(size=(*there.shape, 3))
    directions /= np.linalg.norm(directions, axis=-1, keepdims=True)
    r_ij = directions * draw.uniform(0.9, 2.4, there.shape)[..., None]
    species = np.zeros(len(widths), np.int32)
    species[3] = -1  # hidden
    return ShownRows(species, np.where(there, 0, -1).astype(np.int8), r_ij)


def lennard_jones(shown: ShownRows) -> tuple[np.ndarray, np.ndarray]:
    """Energies of atoms and dE/dr_ij by the formula; epsilon = sigma = 1, cutoff 2.5."""
    square = np.sum(shown.r_ij**2, axis=-1)
    there = (shown.neighbour_species >= 0) & (shown.species >= 0)[:, None]
    inverse = np.where(there, 1 / square, 0) ** 3
    slope = there * (-12 * inverse**2 + 6 * inverse) * 4 / square
    energies = np.sum(2 * (inverse**2 - inverse), axis=1)
    return energies, 0.5 * slope[..., None] * shown.r_ij


@pytest.fixture
def opened(model, monkeypatch):
    def open_with(threads: int, edges: int) -> Session:
        monkeypatch.setattr(padding, "SHARE_EDGES", {"cpu": edges, "gpu": edges})
        monkeypatch.setattr(padding, "BLOCK_EDGES", {"cpu": 8, "gpu": 8})
        return Session(model("lj"), ["Ar"], "lj", threads=threads)

    return open_with


WIDTHS = {
    "alike": [20] * N,
    "none": [0] * N,
    "one atom has 200": [2] * 80 + [200] + [2] * (N - 81),
    "slab and gas": [60] * 40 + [1, 0] * 24 + [2],
}


@pytest.mark.parametrize("widths", WIDTHS.values(), ids=WIDTHS)
@pytest.mark.parametrize("threads", [1, 2, 5])
def test_any_shares_are_the_same(opened, widths, threads):
    """One atom each, some, a last one of one atom, more threads than shares, all at once."""
    expected, slopes = lennard_jones(gas(widths))
    found = []
    for edges in (1, 80, 12 * max(widths), 10**6):
        session, shown, energies = opened(threads, edges), gas(widths), np.full(N, np.nan)
        for keep in (True, False):  # the second knows the width
            shown.gradient[:], shown.added = 0, []
            energy, squares = session.full(shown, keep, True, energies)
            np.testing.assert_allclose(energies, expected, rtol=1e-12, atol=1e-15)
            np.testing.assert_allclose(shown.gradient, slopes, rtol=1e-11, atol=1e-13)
            assert energy == pytest.approx(expected.sum(), rel=1e-12, abs=1e-15)
            assert squares == pytest.approx(np.sum(expected**2), rel=1e-12, abs=1e-15)
            assert shown.added == sorted(shown.added)
        found.append(len(shown.added))
        alone, _ = session.full(shown, keep=True)  # without forces: another way to write
        assert alone == pytest.approx(energy, rel=1e-13, abs=1e-15)
        settled, *_ = session.update(0, N, np.zeros(4))
        assert settled == pytest.approx(energy, rel=1e-13, abs=1e-15)
    assert found[0] > 3 and found[-1] <= threads and len(set(found)) > 1


def test_threads_do_not_change_a_digit(opened):
    """Neither the sum of energies nor the order in which forces are added."""
    found = set()
    for threads, _ in itertools.product((1, 2, 4), range(5)):
        session, shown = opened(threads, 80), gas(WIDTHS["slab and gas"])
        energy, squares = session.full(shown, True, True)
        found.add((energy, squares, shown.gradient.tobytes()))
    assert len(found) == 1


@pytest.mark.parametrize("threads", [1, 3])
@pytest.mark.parametrize("where", ["find", "lay", "add"])
def test_a_failure_in_the_third_share(opened, threads, where):
    """It is told once, nobody waits for ever, and what was settled is forgotten."""
    session, shown = opened(threads, 80), gas(WIDTHS["alike"])
    session.full(shown, True, True)
    calls, function = itertools.count(), getattr(shown, where)

    def failing(*arguments):
        if next(calls) == 2:
            raise MemoryError("the third")
        return function(*arguments)

    setattr(shown, where, failing)
    with pytest.raises(RuntimeError, match="the third"):
        session.full(shown, True, True)
    with pytest.raises(RuntimeError, match="call full first"):
        session.update(0, N, np.zeros(4))
    setattr(shown, where, function)
    energy, _ = session.full(shown, True, True)
    assert energy == pytest.approx(lennard_jones(shown)[0].sum(), rel=1e-12)
    assert session.update(0, N, np.zeros(4))[0] == pytest.approx(energy, rel=1e-13)


def test_no_atoms(opened):
    session = opened(2, 80)
    shown = ShownRows(np.zeros(0, np.int32), np.zeros((0, 1), np.int8), np.zeros((0, 1, 3)))
    assert session.full(shown, True, True) == (0.0, 0.0)
    assert session.update(0, 4, np.zeros(4))[0] == 0.0


def test_rows_filled_in_any_shares(opened):
    """Places of the cache, some of them again, with threads and without."""
    shown = gas(WIDTHS["slab and gas"])
    expected, _ = lennard_jones(shown)
    for threads, edges in ((1, 10**6), (1, 40), (3, 40)):
        session = opened(threads, edges)
        places = np.random.default_rng(2).permutation(128)[:N].astype(np.int32)
        energy, squares = session.fill(shown, places, -1, 128)
        assert energy == pytest.approx(expected.sum(), rel=1e-12)
        few = ShownRows(shown.species[:5], shown.neighbour_species[:5], shown.r_ij[:5])
        again, squares = session.fill(few, places[[9, 8, 7, 6, 5]], 0, 128)
        left = np.delete(expected, [5, 6, 7, 8, 9]).sum() + expected[:5].sum()
        assert again == pytest.approx(left, rel=1e-12)
        assert squares == pytest.approx(np.sum(expected[:5] ** 2), rel=1e-12)


@pytest.mark.parametrize("what", ["write", "fill"])
def test_written_in_place(opened, monkeypatch, what):
    """What writes a few rows into a large cache needs no memory of the cache's size."""
    session, calls = opened(1, 10**6), []
    kernels, function = session._kernels, getattr(session._kernels, what)
    monkeypatch.setattr(kernels, what, lambda *a: calls.append(a[1:]) or function(*a))
    session.full(gas(WIDTHS["alike"]), keep=True, forces=what == "write")
    (arguments,) = calls
    cache = kernels.empty(None, 2**20)
    compiled = function.lower(cache, *arguments).compile()
    assert compiled.memory_analysis().temp_size_in_bytes < cache.energies.nbytes / 4
