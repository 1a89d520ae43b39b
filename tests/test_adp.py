"""The angular-dependent potential against LAMMPS's `pair_style adp`: energies and walks.

What is wrong with its files is in test_eam.py, with the other tables.
"""

import jax
import numpy as np
import oracle_adp
import pytest
from conftest import potentials
from oracle_native import Row, all_derivatives, walk
from small_tables import made_up, small_table

jax.config.update("jax_enable_x64", True)

import jax.numpy as jnp  # noqa: E402

from mliap_local.cli import main  # noqa: E402
from mliap_local.model_file import read_model  # noqa: E402
from mliap_local.models.adp import adp  # noqa: E402
from mliap_local.models.setfl import read_table  # noqa: E402
from mliap_local.models.text import PotentialFileError  # noqa: E402


def test_agrees_with_native():
    rows = list(oracle_adp.rows())
    assert len(rows) == 2 and all(isinstance(row, Row) for row in rows)
    assert max(max(row[2:]) for row in rows) < 1e-10, rows


def test_agrees_with_native_in_float32():
    row = next(oracle_adp.rows(real=jnp.float32))
    assert isinstance(row, Row) and 1e-10 < max(row[2:]) < 1e-5, row


def test_densities_beyond_the_table(tmp_path):
    """Three made-up elements; where densities end below the atoms', energies stay native."""
    elements = ("Al", "Cu", "Ni")
    row = oracle_adp.row(made_up(tmp_path / "a.adp", "adp", elements, largest_rho=20.0))
    assert max(row[2:]) < 1e-10, row
    row = oracle_adp.row(made_up(tmp_path / "b.adp", "adp", elements, largest_rho=5.0))
    assert row.energy < 1e-10 and row.forces > 1e-3, row


def test_padding_and_foreign_elements_make_nothing():
    table = read_table(potentials() / "AlCu.adp")
    functions = adp(table)
    h = functions.node_init(np.array([13, 29, 0, 1, 118, -3, 4000]))
    i, j, length = (k.ravel() for k in np.meshgrid(range(7), range(7), [0.0, 3.0]))
    messages, *derivatives = all_derivatives(
        functions.edge, h[i], h[j], length[:, None] * np.array([[0.6, 0.8, 0.0]])
    )
    nothing = (i > 1) | (j > 1) | (length == 0)
    assert np.all(messages[nothing] == 0) and np.all(messages[~nothing, :2] != 0)
    assert all(np.all(np.isfinite(values)) for values in derivatives)
    assert np.all(derivatives[0][nothing] == 0) and np.all(derivatives[0][~nothing, 0] != 0)
    energies = np.asarray(functions.readout(h, np.full((7, 11), 0.3)))
    assert np.all(energies[:2] != 0) and np.all(energies[2:] == 0)


def test_other_tables_are_refused(tmp_path):
    with pytest.raises(PotentialFileError, match="found that of eam/alloy"):
        read_table(small_table(tmp_path / "a.txt", "alloy"), "adp")
    with pytest.raises(PotentialFileError, match="found that of adp"):
        read_table(small_table(tmp_path / "a.txt", "adp"), "fs")


def test_converted_and_walks_as_native(runner, tmp_path, capsys):
    """Aluminium comes, goes and moves in copper for 1000 trials."""
    target = tmp_path / "AlCu.zip"
    file = potentials() / "AlCu.adp"
    assert main(["convert", "adp", str(file), "-o", str(target)]) == 0
    assert "Al Cu, cutoff 6.28721, units metal" in capsys.readouterr().out
    metadata = read_model(target).metadata
    isolated = metadata.isolated_energies
    assert isolated and abs(isolated["Al"]) < 1e-8 < abs(isolated["Cu"])  # F(0) of the file
    assert "Apostol and Mishin" in (metadata.source or "")
    system = (
        "units metal\natom_style atomic\natom_modify map array\nlattice fcc 4.05\n"
        "region box block 0 3 0 3 0 3\ncreate_box 2 box\ncreate_atoms 2 box\nmass * 1\n"
        "set atom 1*20 type 1\ndisplace_atoms all random 0.2 0.2 0.2 4711\ngroup gas type 1\n"
    )
    masses = "mass 1 27\nmass 2 64\n"  # after the native style, which sets those of its file
    fix = "fix g gas gcmc 1 20 20 1 4711 6000 -5.0 0.4 full_energy"
    walks = [
        walk(runner, system, pair, fix, 30, 8)
        for pair in (
            f"pair_style adp\npair_coeff * * {file} Al Cu\n{masses}",
            f"pair_style mliap_local\npair_coeff * * {target} Al Cu\n{masses}",
        )
    ]
    assert walks[0] == walks[1]
    moves, inserted, deleted = (walks[0][-1][k : k + 2] for k in (0, 2, 4))
    assert sum(pair[0] for pair in (moves, inserted, deleted)) > 1000
    assert all(0 < pair[1] < pair[0] for pair in (moves, inserted, deleted)), walks[0][-1]
    assert runner.vector()[1] > 800
