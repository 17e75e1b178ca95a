"""What runs: a method on a problem from a start, watched by records and rules, and its arrays apart from its code."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Int32, PyTree

from ..method import Method
from ..record import Record
from ..until import Stop

NEVER = np.iinfo(np.int32).max


class System(NamedTuple):
    """What runs, of one lane or of many; its arrays are the arguments of compiled programs."""

    method: Method
    problem: Any
    x0: PyTree = None
    records: tuple[Record, ...] = ()
    stops: tuple[Stop, ...] = ()


Rebuild = Callable[[Sequence[Any]], Any]


def split(tree: PyTree) -> tuple[list[Array], Rebuild]:
    """The array leaves of a pytree, and the function that puts others in their places.

    NumPy arrays and Python floats count as arrays; integers, strings and functions are part of the code.
    """
    arrays, rest = eqx.partition(tree, _is_data)
    leaves, structure = jax.tree.flatten(arrays)
    return [jnp.asarray(leaf) for leaf in leaves], lambda new: eqx.combine(jax.tree.unflatten(structure, new), rest)


def _is_data(leaf: Any) -> bool:
    return isinstance(leaf, jax.Array | np.ndarray | np.generic | float | complex)


class Tables(NamedTuple):
    """Run-time arguments that say when: the step counts of each record (then `NEVER`), and the last step."""

    times: tuple[Int32[Array | np.ndarray, " n"], ...]
    steps: Int32[Array | np.ndarray, ""]


def tables(times: Sequence[np.ndarray], steps: int) -> Tables:
    """The run-time tables of a run, each schedule closed by `NEVER`; in NumPy, which costs a call least."""
    return Tables(tuple(np.append(t, NEVER).astype(np.int32) for t in times), np.asarray(steps, np.int32))


class Timetable(NamedTuple):
    """The records of a run, the step counts of each, and the last step."""

    records: tuple[Record, ...]
    times: tuple[np.ndarray, ...]
    steps: int

    @classmethod
    def of(cls, records: tuple[Record, ...], steps: int, begun: int = 0) -> "Timetable":
        """The times within the steps that are left, where some were taken before."""
        times = [record.when.times(steps) for record in records]
        return cls(records, tuple(t[t > begun] if begun else t for t in times), steps)

    @property
    def tables(self) -> Tables:
        return tables(self.times, self.steps)
