"""LAMMPS's side: what LAMMPS shows, evaluated with the kernels of `mliap_local.local`.

`bridge` is the contract with C, `session` the one mutable object, `kernels` a compiled model,
`rows` the layouts of edges that LAMMPS hands over. Must not import anything: the embedded
interpreter comes here first, and sets JAX's environment.
"""
