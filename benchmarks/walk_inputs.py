"""LAMMPS inputs from seeds: a system, then one command after another, as a reckless user would.

`lines(seed)` gives the input with a place for the pair style. A command is a function of the state
that yields lines, or nothing where LAMMPS would refuse it; it must leave the state as it is after
its lines. Nothing here runs LAMMPS or knows what should come out.

No command may draw random numbers from positions, which differ in their last digits after the first
steps: displace_atoms random, set type/ratio and velocity loop geom do.

Seeds from WIDE on draw a family of potentials too (walk_families.py), and whose Monte Carlo fixes
there are: LAMMPS's own, ours with our pair style, or ours beside the native one; the other side has
LAMMPS's in each case. They read a file in the middle.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from random import Random

from walk_families import FAMILIES, pairs

WIDE = 100_000
CUT = "comm_modify cutoff 13.6\n"  # what fix sgcmc wants: two cutoffs and a skin
MASSES = "mass 1 58.69\nmass 2 20.0"  # native styles set those of their file; hydrogen is too quick
ZBL = "pair_coeff 1 1 zbl 28 28\npair_coeff 1 2 zbl 28 1\npair_coeff 2 2 zbl 1 1"
LJ = "pair_coeff 1 2 lj/cut 0.1 2.0\npair_coeff 2 2 lj/cut 0.1 2.0"
# name -> ours and native; @eam and @fs are two different files, @model of them is ours
PAIRS = {
    "eam": (
        "pair_style mliap_local\npair_coeff * * @eam_model Ni H",
        "pair_style eam/alloy\npair_coeff * * @eam Ni H",
    ),
    "zbl": (
        "pair_style hybrid/overlay mliap_local zbl 1.0 2.5\n"
        f"pair_coeff * * mliap_local @eam_model Ni H\n{ZBL}",
        "pair_style hybrid/overlay eam/alloy zbl 1.0 2.5\n"
        f"pair_coeff * * eam/alloy @eam Ni H\n{ZBL}",
    ),
    "NULL": (
        "pair_style hybrid mliap_local lj/cut 4.0\n"
        f"pair_coeff * * mliap_local @eam_model Ni NULL\n{LJ}",
        f"pair_style hybrid eam/alloy lj/cut 4.0\npair_coeff * * eam/alloy @eam Ni NULL\n{LJ}",
    ),
    "two": (
        "pair_style hybrid/overlay mliap_local mliap_local\n"
        "pair_coeff * * mliap_local 1 @eam_model Ni H\n"
        "pair_coeff * * mliap_local 2 @fs_model Ni H",
        "pair_style hybrid/overlay eam/alloy eam/fs\n"
        "pair_coeff * * eam/alloy @eam Ni H\npair_coeff * * eam/fs @fs Ni H",
    ),
}
THERMO = (
    "step atoms pe ke press pxx pyy pzz pxy pxz pyz lx ly lz xy xz yz xlo ylo zlo "
    "c_forces[1] c_forces[2] c_forces[3] c_places[1] c_places[2] c_places[3]"
)
MONTE_CARLO = ("gcmc", "widom", "swap", "semigrand", "neighbors", "sgcmc", "hmc")
INTEGRATORS = ("nve", "nvt", "npt", "langevin")
LIMIT = 220  # atoms
END = "the walk ends here"
PAIRS |= {name: pairs(name) for name in FAMILIES}


@dataclasses.dataclass
class State:
    """What commands have to know of each other."""

    random: Random
    name: str
    ranks: int
    cells: tuple[int, int, int]
    boundary: str
    triclinic: bool
    large: bool  # four cutoffs wide, as fix sgcmc wants it
    pair: str = "eam"
    tiled: bool = False
    respa: bool = False
    neighbors: str = "neighbor 1.0 bin"
    atoms: int = 0
    fixes: dict[str, str] = dataclasses.field(default_factory=dict)  # ID -> its lines
    columns: dict[str, str] = dataclasses.field(default_factory=dict)  # ID -> what to print of it
    regions: list[str] = dataclasses.field(default_factory=list)  # and computes that fixes ask
    files: int = 0
    lattice: float = 3.52
    wide: bool = False
    own: str = ""  # our own fixes: "with" our pair style, or "beside" the native one

    def one_of(self, *choices):
        return self.random.choice(choices)

    def number(self, low: float, high: float) -> str:
        return f"{self.random.uniform(low, high):.4f}"

    def integer(self) -> int:
        return self.random.randrange(1, 100000)

    def file(self, kind: str) -> str:
        self.files += 1
        return f"{self.name}.{self.files}.{kind}"

    @property
    def periodic(self) -> bool:
        return set(self.boundary) <= set("p ")

    def has(self, *names: str) -> bool:
        return any(name in self.fixes for name in names)

    def add(self, name: str, lines: str, columns: str = "") -> str:
        """Add a fix, and print these columns of it from now on."""
        self.fixes[name] = lines
        if columns:
            self.columns[name] = columns
        return f"{lines}\n{self.thermo()}"

    def drop(self, *names: str) -> str:
        lines = "".join(f"unfix {name}\n" for name in names if self.fixes.pop(name, ""))
        for name in names:
            self.columns.pop(name, None)
        return lines + self.thermo()

    @property
    def pair_line(self) -> str:
        return f"@{'beside' if self.own == 'beside' else 'pair'} {self.pair}"

    def style(self, name: str) -> str:
        """A fix that is ours on our side only."""
        return f"@{name}" if self.own else name

    @property
    def model(self) -> str:
        """What that needs to know."""
        return f" @model {self.pair}" if self.own == "beside" else ""

    def thermo(self) -> str:
        more = " ".join(self.columns.values())
        return (
            f"thermo_style custom {THERMO} {more}\n"
            "thermo_modify line one format float %.15g lost ignore norm no"
        )

    def settings(self) -> str:
        """What no restart file remembers."""
        lines = ["comm_style tiled"] if self.tiled else []
        lines += [CUT.strip()] if self.large else []
        lines += ["run_style respa 2 2 pair 1" if self.respa else "run_style verlet"]
        lines += [self.neighbors, self.pair_line, MASSES]
        lines += ["compute forces all reduce sumsq fx fy fz", "compute places all reduce sum x y z"]
        lines += [
            "compute_modify thermo_temp dynamic/dof yes",
            "thermo 1",
            f"timestep 0.00{self.one_of(1, 2)}",
        ]
        return "\n".join([*lines, *self.regions, self.thermo()])


def begin(seed: int) -> State:
    """The shape of the system of a seed."""
    random = Random(seed)
    ranks = random.choices((1, 2, 3), (8, 2, 1))[0]
    large = random.random() < 0.06
    triclinic = random.random() < 0.3
    shapes = [
        "p p p",
        "p p p",
        "p p s",
        "s s s",
        "p p f",
        "p p m",
        "m p p",
        "s f p",
        "f s m",
        "p s s",
    ]
    boundary = "p p p" if large else random.choice(shapes[:2] if triclinic else shapes)
    if large:
        cells = (7, 7, 7)
    elif set(boundary) <= set("p "):
        cells = tuple(random.choice((2, 2, 3)) for _ in "xyz")
    else:
        cells = tuple(3 if kind == "p" else random.choice((3, 3, 4)) for kind in boundary.split())
    state = State(random, str(seed), ranks, cells, boundary, triclinic, large)
    state.pair = random.choices(("eam", "zbl", "NULL", "two"), (6, 1, 1, 1))[0]
    state.tiled = min(cells) > 2 and random.random() < 0.2
    if seed >= WIDE:
        widen(state, Random(f"wide {seed}"))
    return state


def widen(s: State, random: Random) -> None:
    s.wide = True
    s.own = random.choice(("", "with", "with", "beside"))
    s.tiled = s.tiled and not s.own
    if s.large:
        s.pair = "eam"
    elif s.own or random.random() < 0.8:
        s.pair = random.choice(("eam", *FAMILIES))
    if s.own == "beside" and s.pair in FAMILIES and not FAMILIES[s.pair].native:
        s.own = "with"
    if s.pair in FAMILIES:
        s.lattice = FAMILIES[s.pair].lattice


def system(s: State) -> Iterator[str]:
    x, y, z = s.cells
    shape = f"block 0 {x} 0 {y} 0 {z}"
    if s.triclinic:
        tilts = " ".join(s.number(-0.45, 0.45) for _ in range(3))
        shape = f"prism 0 {x} 0 {y} 0 {z} {tilts}"
    s.atoms = x * y * z * (1 if s.large else 4)
    if s.random.random() < 0.3 and s.ranks > 1:
        yield s.one_of("processors 1 1 *", "processors * 1 1", "processors 1 * 1")
    yield "units metal\natom_style atomic"
    yield f"atom_modify map {s.one_of('array', 'hash')} sort {s.one_of(0, 1, 3, 1000)} 0.0"
    yield f"boundary {s.boundary}"
    yield f"lattice {'sc' if s.large else 'fcc'} {s.lattice}\nregion box {shape}\ncreate_box 2 box"
    yield "create_atoms 1 box\nmass * 1.0\nreset_atoms id sort yes"
    gas = max(2, s.atoms // s.random.randrange(4, 12))
    yield f"set atom 1*{gas} type 2\ngroup gas type 2\ngroup host type 1"
    yield f"displace_atoms all random 0.1 0.1 0.1 {s.integer()}"
    skin, search, every = s.one_of(0.3, 1.0, 2.0), s.one_of("bin", "bin", "nsq"), s.one_of(1, 1, 2)
    every = every if skin == 2.0 else 1  # hot atoms cross a thin one in two steps
    s.neighbors = f"neighbor {skin} {search}\n"
    s.neighbors += f"neigh_modify delay 0 every {every} check {s.one_of('yes', 'no')}"
    if s.large:
        s.neighbors = "neighbor 1.0 bin"
    yield s.settings()
    yield f"velocity all create {s.number(100, 900)} {s.integer()} loop all"
    yield s.add("nve", "fix nve all nve")


# --- what happens at one step --------------------------------------------------------------------


def change_box(s: State) -> Iterator[str]:
    along = [c for c, kind in zip("xyz", s.boundary.split(), strict=True) if kind in "pf"]
    if along:
        yield f"change_box all {s.one_of(*along)} scale {s.number(0.97, 1.03)} remap"
        if s.triclinic:
            tilt = s.one_of("xy", "xz", "yz")
            yield f"change_box all {tilt} final {s.number(-1, 1)} remap units box"


def new_shape(s: State) -> Iterator[str]:
    """From orthogonal to triclinic and back."""
    if s.periodic and not s.large:
        yield s.drop(*s.fixes)
        if s.triclinic:
            yield "change_box all xy final 0 xz final 0 yz final 0 remap\nchange_box all ortho"
        else:
            yield "change_box all triclinic"
        s.triclinic = not s.triclinic
        yield s.add("nve", "fix nve all nve")


def new_boundary(s: State) -> Iterator[str]:
    if not s.triclinic and not s.large:
        yield s.drop(*s.fixes)
        before, s.boundary = s.boundary, s.one_of("p p p", "p p s", "s s s", "p p m", "f p p")
        yield f"change_box all boundary {s.boundary}"
        for axis, old, new in zip("xyz", before.split(), s.boundary.split(), strict=True):
            if old != "p" and new == "p":  # faces that would touch
                yield f"change_box all {axis} scale 1.2"
        yield s.add("nve", "fix nve all nve")


def displace(s: State) -> Iterator[str]:
    """Elsewhere, by a smooth function."""
    a, b, c = s.random.sample("xyz", 3)
    size = s.number(0.01, 0.12)
    # rotations are of unwrapped places, and LAMMPS's refused moves change image flags
    wrapped = "set group all image 0 0 0\n" if s.own else ""
    yield s.one_of(
        f"variable jolt atom {a}+{size}*sin({s.number(2, 9)}*{b}+{s.number(2, 9)}*{c})\n"
        f"set group all {a} v_jolt",
        f"{wrapped}displace_atoms all rotate 5 5 5 "
        f"{b == 'x':d} {b == 'y':d} {b == 'z':d} {size} units box",
        f"displace_atoms gas move {size} -{size} {size} units box",
        f"displace_atoms all move {size} {size} -{size} units box" if s.periodic else "",
        f"displace_atoms gas ramp x 0.0 {size} y 0.0 1.0",
    )


def balance(s: State) -> Iterator[str]:
    axis, style = s.one_of("x", "y", "z"), "rcb" if s.tiled else "shift"
    yield f"balance 1.0 {style}" if s.tiled else f"balance 1.0 shift {axis} 10 1.01"


def new_comm(s: State) -> Iterator[str]:
    if min(s.cells) > 2 and not s.tiled and not s.own:
        s.tiled = True  # LAMMPS refuses the way back after a bisection
        yield "comm_style tiled"
        if s.large:
            yield CUT.strip()


def steady(s: State) -> Iterator[str]:
    """Nothing that LAMMPS refuses to take to another time step."""
    yield s.drop(*(name for name in s.fixes if name not in ("nve", "force")))
    if not s.has("nve"):
        yield s.add("nve", "fix nve all nve")


def reset_timestep(s: State) -> Iterator[str]:
    yield from steady(s)
    yield f"reset_timestep {s.one_of(0, 0, 1, 5, 1000)}"


def minimize(s: State) -> Iterator[str]:
    if s.own:  # LAMMPS's fixes do not act any more after it, and ours do
        yield s.drop(*MONTE_CARLO)
    if not s.respa:
        yield f"min_style {s.one_of('cg', 'sd', 'fire')}\nminimize 0 0 {s.one_of(1, 3, 5)} 20"


def relax_box(s: State) -> Iterator[str]:
    if s.periodic and not s.large and not s.respa and not s.has("deform", "npt"):
        if s.own:
            yield s.drop(*MONTE_CARLO)
        yield f"fix relax all box/relax {s.one_of('iso', 'aniso')} 0.0 vmax 0.001"
        yield "min_style cg\nminimize 0 0 3 20\nunfix relax"


def replicate(s: State) -> Iterator[str]:
    if s.periodic and 2 * s.atoms <= LIMIT:
        s.atoms *= 2
        yield from steady(s)
        yield f"replicate {s.one_of('2 1 1', '1 2 1', '1 1 2')}"


def again(s: State) -> Iterator[str]:
    """The same number of the same step, somewhere else."""
    yield s.one_of(
        f"set atom 1*{s.random.randrange(1, 20)} type {s.one_of(1, 2)}\n"
        "group gas clear\ngroup gas type 2\ngroup host clear\ngroup host type 1",
        f"delete_atoms random count 2 no all NULL {s.integer()} compress no",
        f"velocity all set {s.number(-2, 2)} 1.0 -0.5 sum yes units box",
        "set atom 3 type 2",
        "reset_atoms id",
        f"{s.pair_line}\n{MASSES}",
        "write_data " + s.file("data"),
        "" if s.has("hmc") else "write_restart " + s.file("restart"),
        "neigh_modify once no",
        "atom_modify sort 2 0.0",
    )


def new_pair(s: State) -> Iterator[str]:
    yield s.drop("swap", "semigrand", "neighbors", "sgcmc")
    if not s.wide:
        s.pair = s.one_of("eam", "zbl", "NULL", "two")
    if s.large:
        s.pair = "eam"
    yield f"{s.pair_line}\n{MASSES}"


# --- what ends with another state read -----------------------------------------------------------


def read_dump(s: State) -> Iterator[str]:
    yield from steady(s)
    file = s.file("dump")
    yield f"write_dump all custom {file} id type x y z modify sort id format float %.17g"
    yield "variable at equal $(step)"
    yield from displace(s)
    yield run(s)
    box = s.one_of("yes", "no") if s.periodic else "no"
    yield f"read_dump {file} ${{at}} x y z box {box} {s.one_of('', 'replace no purge yes add yes')}"


def rerun(s: State) -> Iterator[str]:
    yield from steady(s)
    file = s.file("dump")
    yield f"dump record all custom 1 {file} id type x y z"
    yield "dump_modify record sort id format float %.17g"
    yield run(s, 3)
    yield "undump record"
    yield from displace(s)
    yield run(s, 1)
    yield f"rerun {file} dump x y z" + s.one_of("", " box no")


def rerun_here(s: State) -> Iterator[str]:
    """Read the present step again, elsewhere."""
    yield from steady(s)
    file = s.file("dump")
    yield f"write_dump all custom {file} id type x y z modify sort id format float %.17g"
    yield from displace(s)
    yield from change_box(s)
    yield run(s, 0)
    yield f"rerun {file} dump x y z"


def reopen(s: State) -> Iterator[str]:
    """Write a file, forget all, read it."""
    yield s.drop("hmc")  # write_restart of LAMMPS crashes with it
    kind = s.one_of("restart", "data")
    if kind == "restart" and s.own:
        yield s.drop("widom")  # LAMMPS's own never acts again after a restart, ours does
    file = s.file(kind)
    yield f"write_{kind} {file}{' nocoeff' if kind == 'data' else ''}\nclear"
    if kind == "data":
        yield "units metal\natom_style atomic\natom_modify map array"
        yield f"boundary {s.boundary}\nread_data {file}\ngroup gas type 2\ngroup host type 1"
    else:
        yield f"read_restart {file}"
    fixes, columns = dict(s.fixes), dict(s.columns)
    s.fixes, s.columns = {}, {}
    yield s.settings()
    for name, lines in fixes.items():
        yield s.add(name, lines, columns.get(name, ""))
    yield "run 0"


# --- fixes ---------------------------------------------------------------------------------------


def integrator(s: State) -> Iterator[str]:
    yield s.drop(*INTEGRATORS, "hmc", "deform")
    name = s.one_of("nve", "nvt", "npt", "npt", "langevin", "deform")
    if name == "langevin" and s.own:  # LAMMPS's trials let it draw random numbers, ours do not
        name = "nvt"
    if name == "npt" and (not s.periodic or s.large):
        name = "nvt"
    if name == "deform" and (not s.periodic or s.large or s.has("npt")):
        name = "nve"
    if name == "npt":
        kind = s.one_of("iso 0 0 0.5", "aniso 0 0 0.5", *(["tri 0 0 0.5"] if s.triclinic else []))
        yield s.add("npt", f"fix npt all npt temp 600 600 0.1 {kind}")
    elif name == "nvt":
        yield s.add("nvt", "fix nvt all nvt temp 600 600 0.1")
    elif name == "langevin":
        yield s.add("nve", "fix nve all nve")
        yield s.add("langevin", f"fix langevin all langevin 600 600 0.1 {s.integer()}")
    else:
        yield s.add("nve", "fix nve all nve")
    if name == "deform":
        shear = "xy erate 1.5" if s.triclinic else "z erate 1.0"
        yield s.add("deform", f"fix deform all deform {s.one_of(1, 2)} x erate -1 {shear} remap x")


def region(s: State) -> str:
    """A sphere well inside the box: its ID."""
    x, y, z = (s.lattice / 2 * cells for cells in s.cells)
    name = f"r{len(s.regions)}"
    s.regions.append(f"region {name} sphere {x:.3f} {y:.3f} {z:.3f} {s.number(1.5, 2.5)} units box")
    return name


def monte_carlo(s: State) -> Iterator[str]:
    """Another Monte Carlo fix."""
    yield s.drop("hmc", "sgcmc")
    every, seed, hot = s.one_of(1, 2, 3), s.integer(), s.one_of(1500, 3000, 5000)
    names = ["gcmc", "gcmc", "widom", "swap", "semigrand", "neighbors"]
    if "s" in s.boundary:
        names = ["swap", "semigrand"]
    name = s.one_of(*names)
    if s.has(name):
        yield s.drop(name)
    if s.respa and (name == "gcmc" or s.own):
        return  # see run_style; ours refuse it
    if s.has("even") and s.ranks > 1:
        return  # LAMMPS cuts the box anew before the trials, and their ghosts are of the old parts
    if s.pair == "snap" and name == "gcmc":
        return  # LAMMPS counts the own energy of an atom that it tries to delete
    if s.pair == "NULL" and name in ("swap", "semigrand", "neighbors"):
        return  # only types of one sub-style can be swapped
    where = ""
    if name in ("gcmc", "widom") and (not s.periodic or s.random.random() < 0.3):
        where = f" region {region(s)}"
        yield s.regions[-1]
    if name == "gcmc":
        kind, group = s.one_of((2, "gas"), (2, "gas"), (1, "host"))
        mu = s.number(-2.4, -1.6) if kind == 2 else s.number(-4.5, -3.5)
        trials = f"{s.one_of(5, 10)} {s.one_of(0, 5)}"
        if s.own and s.ranks > 1:
            trials = trials[:-1] + "0"  # after refused moves LAMMPS takes the wrong atom there
        line = f"fix gcmc {group} {s.style('gcmc')} {every} {trials} {kind} {seed} {hot} {mu} 0.4"
        line += f" full_energy group {group}{where}{s.model}\nfix_modify gcmc dynamic/dof yes"
        yield s.add(name, line, " ".join(f"f_gcmc[{k}]" for k in range(1, 9)))
        yield "run 0"  # LAMMPS cannot unfix what has not run
    elif name == "widom":
        line = f"fix widom gas {s.style('widom')} {every} 8 2 {seed} {hot} full_energy"
        line += where + s.model
        yield s.add(name, line, "f_widom[1] f_widom[2]")
        yield "run 0"
    elif name == "neighbors":
        voronoi = "compute voronoi all voronoi/atom neighbors yes"
        if voronoi not in s.regions:
            s.regions.append(voronoi)
            yield voronoi
        line = f"fix neighbors all neighbor/swap {every} 8 {seed} {hot} 3.0 voronoi ke no diff 2"
        yield s.add(name, line, "f_neighbors[1] f_neighbors[2]")
    else:
        words = "semi-grand yes mu 0 0.5" if name == "semigrand" else ""
        line = f"fix {name} all {s.style('atom/swap')} {every} 8 {seed} {hot}"
        line += f" ke no types 1 2 {words}{s.model}"
        yield s.add(name, line, f"f_{name}[1] f_{name}[2]")


def sgcmc(s: State) -> Iterator[str]:
    if s.large and not s.triclinic and not s.has("sgcmc") and not s.respa and s.pair == "eam":
        yield s.drop(*MONTE_CARLO)
        words = s.one_of("", " variance 10 0.2")
        line = f"fix sgcmc all sgcmc {s.one_of(1, 2)} 0.05 600 -1.0{words} atomic/energy yes"
        yield s.add("sgcmc", line, " ".join(f"f_sgcmc[{k}]" for k in (1, 2, 3, 4)))


def hmc(s: State) -> Iterator[str]:
    # on several ranks it leaves an atom with the force of a ghost where it refuses a move
    if not s.respa and s.ranks == 1:
        yield s.drop(*s.fixes)
        yield s.add("nve", "fix nve all nve")
        yield s.add("hmc", f"fix hmc all hmc 3 {s.integer()} 600", "f_hmc[1] f_hmc[2]")


def others(s: State) -> Iterator[str]:
    name = s.one_of("force", "deposit", "evaporate", "even", "virial", "recenter", "move", "shares")
    if s.has(name) or s.has("hmc", "sgcmc"):
        return
    if name == "shares" and s.pair in ("sw", "adp", "snap"):
        return  # which give parts of a triplet to atoms in another way
    if name == "force":
        yield s.add(name, "fix force gas setforce NULL 0.0 NULL")
    elif name == "deposit" and not s.respa and "s" not in s.boundary and not s.has("neighbors"):
        line = f"fix deposit gas deposit 3 2 1 {s.integer()} region {region(s)} near 1.2"
        yield s.regions[-1]
        yield s.add(name, line)
    elif name == "evaporate":
        line = f"fix evaporate gas evaporate 2 1 {region(s)} {s.integer()}"
        yield s.regions[-1]
        yield s.add(name, line, "f_evaporate")
    elif name == "even":
        style = "rcb" if s.tiled else "shift xyz 10 1.01"
        yield s.add(name, f"fix even all balance {s.one_of(1, 2)} 1.0 {style}")
    elif name == "virial" and s.periodic and not s.large:
        yield s.add(name, "fix virial all numdiff/virial 2 1e-4")
    elif name == "recenter" and s.periodic:
        yield s.add(name, "fix recenter all recenter INIT INIT INIT")
    elif name == "shares":
        yield s.add(
            name,
            "fix shares all store/state 0 x\n"
            f"compute energies{s.files} all pe/atom\n"
            f"compute stresses{s.files} all stress/atom NULL\n"
            f"compute shares{s.files} all reduce sumsq c_energies{s.files} c_stresses{s.files}[*]",
            f"c_shares{s.files}[*]",
        )
        s.files += 1


def unfix(s: State) -> Iterator[str]:
    names = [name for name in s.fixes if name not in INTEGRATORS]
    if names:
        yield s.drop(s.one_of(*names))


def run_style(s: State) -> Iterator[str]:
    """LAMMPS's rRESPA moves new atoms by forces that nobody has set: none may come."""
    if not s.has("hmc", "sgcmc", "even", "gcmc", "deposit") and not (s.own and s.has(*MONTE_CARLO)):
        s.respa = not s.respa
        yield "run_style respa 2 2 pair 1" if s.respa else "run_style verlet"


def run(s: State, steps: int | None = None) -> str:
    if steps is None:
        steps = s.random.choices((0, 1, 2, 3, 5), (5, 2, 2, 2, 1))[0]
    return f"run {steps}"


def run_on(s: State) -> Iterator[str]:
    if s.respa:
        return  # which cannot go on without a setup
    yield run(s)
    yield s.one_of(
        "run 2 pre no",
        "run 1 pre no post no\nrun 1",
        "run 2 pre no\nrun 0",
        'run 2 every 1 "set atom 3 vx 0.1"',
    )


COMMANDS: dict[Callable[[State], Iterator[str]], int] = {
    change_box: 4, displace: 4, balance: 2, new_comm: 1, reset_timestep: 2, minimize: 2,
    relax_box: 1, replicate: 1, again: 5, new_pair: 1, new_shape: 1, new_boundary: 1,
    read_dump: 2, rerun: 1, rerun_here: 2, reopen: 2,
    integrator: 3, monte_carlo: 8, sgcmc: 3, hmc: 1, others: 4, unfix: 2, run_style: 1, run_on: 1,
}  # fmt: skip


def lines(seed: int) -> tuple[int, str]:
    """How many ranks, and the input with `@pair NAME` lines where the pair style goes."""
    state = begin(seed)
    parts = [*system(state), run(state)]
    count = state.random.randrange(5, 13)
    for k in range(count):
        command = state.random.choices(list(COMMANDS), list(COMMANDS.values()))[0]
        if state.wide and k == count // 2:
            command = reopen
        parts += [f"# {command.__name__}", *command(state)]
        if state.random.random() < 0.75:
            parts.append(run(state))
    parts += ["# end", run(state, 2), f'print "{END}"']
    return state.ranks, "\n".join(part for part in parts if part.strip()) + "\n"
