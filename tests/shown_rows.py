"""Atoms with their neighbours in arrays, as a session asks for them; keeps the gradient."""

import threading

import numpy as np


class ShownRows:
    """species (n,), neighbour_species (n, w), r_ij (n, w, 3); -1 where no neighbour is.

    A share is as wide as its own atoms need. gradient: as r_ij, what add() was given.
    """

    def __init__(self, species: np.ndarray, neighbour_species: np.ndarray, r_ij: np.ndarray):
        self.species, self.neighbour_species, self.r_ij = species, neighbour_species, r_ij
        self.n_rows, self.half, self.points = len(species), False, None
        self.gradient = np.zeros_like(r_ij)
        self.added: list[int] = []  # first atoms of the shares, in the order of add()
        self._thread = threading.local()

    def find(self, begin: int, end: int) -> int:
        self._thread.share = slice(begin, end)
        there = self.neighbour_species[begin:end] >= 0
        self._thread.width = int(there.sum(axis=1).max(initial=0))
        return self._thread.width

    def lay(self, species: np.ndarray, neighbour_species: np.ndarray, r_ij: np.ndarray) -> None:
        share, width = self._thread.share, self._thread.width
        n = share.stop - share.start
        species[:], neighbour_species[:] = -1, -1
        species[:n] = self.species[share]
        neighbour_species[:n, :width] = self.neighbour_species[share, :width]
        r_ij[:] = np.nan  # what is no neighbour may be anything
        r_ij[:, :n, :width] = np.moveaxis(self.r_ij[share, :width], 2, 0)

    def add(self, gradient: np.ndarray) -> None:
        share, width = self._thread.share, self._thread.width
        n = share.stop - share.start
        self.added.append(share.start)
        self.gradient[share, :width] += np.moveaxis(gradient[:, :n, :width], 0, 2)
