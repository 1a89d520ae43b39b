"""Tables of embedded atoms: eam, eam/he against LAMMPS, and files of all formats that are wrong.

eam/alloy and eam/fs are in test_models.py.
"""

import argparse
import re
import shutil

import jax
import numpy as np
import oracle_eam
import pytest
from conftest import potentials
from oracle_native import Row, densities, structures, walk
from small_tables import made_up, small_table

jax.config.update("jax_enable_x64", True)

import jax.numpy as jnp  # noqa: E402

from mliap_local.cli import main  # noqa: E402
from mliap_local.model_file import read_model  # noqa: E402
from mliap_local.models import eam  # noqa: E402
from mliap_local.models.setfl import FORMATS, read_table  # noqa: E402
from mliap_local.models.text import PotentialFileError  # noqa: E402


def test_agrees_with_native():
    rows = list(oracle_eam.rows())
    assert len(rows) == 3 and all(isinstance(row, Row) for row in rows)
    assert max(max(row[2:]) for row in rows) < 1e-10, rows


def test_agrees_with_native_in_float32():
    row = next(oracle_eam.rows(real=jnp.float32))
    assert isinstance(row, Row) and 1e-10 < max(row[2:]) < 1e-5, row


def test_densities_beyond_both_ends(tmp_path):
    """In eam/he too the energy goes on as a line, below its table and above."""
    path = made_up(tmp_path / "made.eam.he", "he", ("Pd", "He"), largest_rho=1.0, smallest_rho=-1.0)
    row = oracle_eam.row([path])
    assert max(row[2:]) < 1e-10, row
    made = eam.convert(argparse.Namespace(file=[str(path)], format=None))
    rho = np.concatenate([densities(made, s) for s in structures(2, 2.3)])
    assert rho.min() < -1 and rho.max() > 1 and np.any(abs(rho) < 1)


def test_mixture_is_on_the_coarsest_grid():
    names = ("Al_jnp.eam", "Cu_smf7.eam")
    tables = [read_table(potentials() / name) for name in names]
    mixed = eam.mixed(tables)
    assert mixed.elements == ("Al", "Cu") and mixed.masses == (26.982, 63.55)
    assert mixed.delta_r == tables[0].delta_r > tables[1].delta_r
    assert mixed.delta_rho == tables[1].delta_rho > tables[0].delta_rho
    assert mixed.cutoff == 6.0 and mixed.density.shape == (2, 2, 499)
    with pytest.raises(ValueError, match="'Al' is named twice"):
        eam.mixed([tables[0]] * 2)
    with pytest.raises(ValueError, match="one system of units"):
        eam.mixed([tables[0], tables[1]._replace(units="real")])


def convert(*files, file_format=None):
    return eam.convert(argparse.Namespace(file=[str(f) for f in files], format=file_format))


REAL = {
    "CuNi.eam.alloy": "alloy",
    "AlFe_mm.eam.fs": "fs",
    "PdHHe.eam.he": "he",
    "AlCu.adp": "adp",
    "Cu_u3.eam": "funcfl",
}


@pytest.mark.parametrize("name", REAL)
def test_formats_are_told_by_content(tmp_path, name):
    nameless = tmp_path / "table.txt"
    shutil.copy(potentials() / name, nameless)
    table = read_table(nameless)
    assert getattr(table, "file_format", "funcfl") == REAL[name]
    for other in set(FORMATS) - {REAL[name]}:
        with pytest.raises(PotentialFileError, match="expected the layout of") as caught:
            read_table(nameless, other)
        assert f"found that of {FORMATS[REAL[name]]};" in str(caught.value)
        assert "leave --format away" in str(caught.value)
    wrong = tmp_path / ("table.eam.alloy" if REAL[name] != "alloy" else "table.eam.fs")
    nameless.rename(wrong)
    with pytest.raises(PotentialFileError, match=f"name it, --format {REAL[name]}"):
        read_table(wrong)
    read_table(wrong, REAL[name])


@pytest.mark.parametrize("file_format", FORMATS)
def test_small_table_is_read(tmp_path, file_format):
    table = read_table(small_table(tmp_path / "a.txt", file_format))
    assert table.cutoff == 2.5 and table.units == "metal"
    if file_format == "funcfl":
        assert table.element == "Ni" and table.mass == 58.7
        assert table.charge.tolist() == [6, 5, 4, 3, 2, 1]
        assert table.density.tolist() == [5, 4, 3, 2, 1, 0]
        return
    assert table.elements == ("Ni", "Cu") and table.masses == (58.7, 58.7)
    assert table.comment == "UNITS: metal second third"
    assert table.embedding.tolist() == [[0, 1, 2, 3, 4]] * 2
    assert table.density[1, 0].tolist() == [5, 4, 3, 2, 1, 0]
    assert table.pair[0, 1].tolist() == [6, 5, 4, 3, 2, 1]
    smallest = -0.2 if file_format == "he" else 0.0
    largest = np.inf if file_format == "adp" else smallest + 0.4
    assert table.rho_range == pytest.approx((smallest, largest))
    assert (table.dipole is not None) == (file_format == "adp")


def test_one_element_is_the_same_as_alloy_and_fs(tmp_path):
    def one(lines):
        del lines[8:13], lines[-4:]

    tables = [
        read_table(small_table(tmp_path / f"a.eam.{k}", "alloy", "1 Ni", change=one))
        for k in ("alloy", "fs")
    ]
    assert [table.file_format for table in tables] == ["alloy", "fs"]
    assert np.array_equal(tables[0].pair, tables[1].pair)


OTHERS = {
    "FeCr.cdeam": "eam/cd",
    "Ni.meam": "meam",
    "library.meam": "meam",
    "Ti.meam.spline": "meam/spline",
    "Si.b.meam.sw.spline": "meam/sw/spline",
    "ffield.eim": "eim",
    "CuTa_eam.poly": "polymorphic",
}


@pytest.mark.parametrize("name", OTHERS)
def test_what_is_not_read_is_refused_by_its_name(tmp_path, name):
    with pytest.raises(PotentialFileError, match=f"found one of {OTHERS[name]}, which cannot"):
        convert(potentials() / name)
    shutil.copy(potentials() / name, tmp_path / "table.txt")
    with pytest.raises(PotentialFileError, match=r"table\.txt: ") as caught:
        convert(tmp_path / "table.txt")
    if name == "FeCr.cdeam":
        assert "found one of eam/cd" in str(caught.value)


def test_several_files_must_be_of_one_element_each(tmp_path):
    files = [potentials() / "CuNi.eam.alloy", potentials() / "Al_jnp.eam"]
    with pytest.raises(PotentialFileError, match="the others bring their mixtures"):
        convert(*files)
    with pytest.raises(PotentialFileError, match="use `mliap-local convert adp`"):
        convert(potentials() / "Ni.adp")
    path = small_table(tmp_path / "a.eam.he", "he", change=line(5, "5 0.1 6 0.5 2.5"))
    with pytest.raises(PotentialFileError, match="found that of eam/fs"):  # no sixth number
        convert(path)


def line(number, text):
    return lambda lines: lines.__setitem__(number - 1, text)


def cut(number):
    return lambda lines: lines.__delitem__(slice(number - 1, None))


def mutilations(file_format):
    """Twenty ways to break a table, and what must be said of each."""
    funcfl = file_format == "funcfl"
    element, grid, first = (2, 3, 4) if funcfl else (6, 5, 7)
    broken = {
        "empty": (cut(1), "found 'the end of the file'"),
        "comments only": (cut(2 if funcfl else 4), "found 'the end of the file'"),
        "no grid": (cut(grid), "found '"),
        "short grid": (line(grid, "5 0.1 6 0.5"), f":{grid}: expected n_rho"),
        "negative grid": (
            line(grid, "5 0.1 6 -0.5 2.5" + " 0.2" * (file_format == "he")),
            "positive",
        ),
        "grid of text": (
            line(grid, "5 0.1 6 0.5 far" + " 0.2" * (file_format == "he")),
            "a number, found 'far'",
        ),
        "few values": (line(grid, "4 0.1 6 0.5 2.5" + " 0.2" * (file_format == "he")), "found '4'"),
        "many values": (
            line(grid, "5 0.1 99999999 0.5 2.5" + " 0.2" * (file_format == "he")),
            "found '99999999'",
        ),
        "half a value": (
            line(grid, "5.5 0.1 6 0.5 2.5" + " 0.2" * (file_format == "he")),
            "found '5.5'",
        ),
        "element line": (line(element, "28"), f":{element}: expected an atomic number and a mass"),
        "mass of text": (line(element, "28 heavy 3.5 fcc"), "a number, found 'heavy'"),
        "no mass": (line(element, "28 0.0 3.5 fcc"), "a positive mass"),
        "text in a table": (line(first, "0 one 2"), f":{first}: expected a number, found 'one'"),
        "nan in a table": (line(first, "0 nan 2"), f":{first}: expected a finite number"),
        "infinity": (line(first, "0 -inf 2"), f":{first}: expected a finite number"),
        "a comma": (line(first, "0 1,5 2"), f":{first}: expected a number, found '1,5'"),
        "a long word": (line(first, "0 " + "1" * 5000 + " 2"), f":{first}: expected a number"),
        "overfull line": (line(first + 1, "3 4 5"), f":{first + 1}: expected 5 embedding energies"),
        "a line less": (lambda lines: lines.pop(first - 1), "expected"),
        "cut off": (lambda lines: lines.__delitem__(slice(-2, None)), "found 'the end"),
        "left over": (lambda lines: lines.append("7"), "expected the end of the file"),
    }
    if funcfl:
        broken["no such element"] = (line(2, "119 58.7 3.5 fcc"), ":2: expected an atomic number")
        broken["half an element"] = (line(2, "28.5 58.7 3.5 fcc"), ":2: expected an atomic number")
    else:
        broken |= {
            "element count": (line(4, "3 Ni Cu"), ":4: expected the number of elements"),
            "unknown element": (line(4, "2 Ni Zz"), "unknown element 'Zz'"),
            "element twice": (line(4, "2 Ni Ni"), "named twice"),
            "digits for a count": (line(4, "2" * 6000), ":4: expected the number of elements"),
        }
    return broken


@pytest.mark.parametrize("file_format", FORMATS)
def test_mutilated_tables_are_refused(tmp_path, file_format):
    ending = "eam" if file_format == "funcfl" else file_format
    path = small_table(tmp_path / f"good.{ending}", file_format)
    read_table(path)
    broken = mutilations(file_format)
    assert len(broken) >= 20
    for case, (change, message) in broken.items():
        path = small_table(tmp_path / f"bad.{ending}", file_format, change=change)
        with pytest.raises(PotentialFileError) as caught:
            read_table(path)
            pytest.fail(f"{case}: read")
        said = str(caught.value)
        assert re.search(rf"bad\.{ending}:\d+: expected", said) and message in said, (case, said)


@pytest.mark.parametrize("line_length", [1 << 20, 80, 1])
def test_digits_are_refused(tmp_path, line_length):
    text = "\n".join(["7" * line_length] * ((1 << 20) // line_length))
    for name in ("digits.txt", "digits.eam.fs", "digits.eam"):
        (tmp_path / name).write_text(text)
        with pytest.raises(PotentialFileError, match=re.escape(name)):
            read_table(tmp_path / name)


def test_helium_walks_as_native(runner, tmp_path, capsys):
    """Hydrogen and helium in palladium change places: 1000 trials, each as native has it.

    Swaps, for isolated atoms have energies in this potential, which LAMMPS counts when it deletes.
    """
    target = tmp_path / "PdHHe.zip"
    file = potentials() / "PdHHe.eam.he"
    assert main(["convert", "eam", str(file), "-o", str(target)]) == 0
    assert "Pd H He, cutoff 7, units metal" in capsys.readouterr().out
    metadata = read_model(target).metadata
    assert metadata.isolated_energies and abs(metadata.isolated_energies["H"]) > 1e-3
    assert "Sills" in (metadata.source or "")
    system = (
        "units metal\natom_style atomic\natom_modify map array\nlattice fcc 3.9\n"
        "region box block 0 3 0 3 0 3\ncreate_box 3 box\ncreate_atoms 1 box\n"
        "mass 1 106\nmass 2 1\nmass 3 4\nset atom 1*25 type 2\nset atom 26*50 type 3\n"
        "displace_atoms all random 0.3 0.3 0.3 4711\n"
    )
    fix = "fix g all atom/swap 1 40 4711 3000 ke no types 2 3"
    walks = [
        walk(runner, system, pair, fix, 26, 2)
        for pair in (
            f"pair_style eam/he\npair_coeff * * {file} Pd H He\n",
            f"pair_style mliap_local\npair_coeff * * {target} Pd H He\n",
        )
    ]
    assert walks[0] == walks[1]
    attempts, successes, _ = walks[0][-1]
    assert attempts > 1000 and 20 < successes < attempts - 100
    assert runner.vector()[1] > 800
