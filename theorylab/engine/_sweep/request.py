"""What a sweep is asked, looked over, but for where it runs."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, PRNGKeyArray

from .._run.drive import Compaction
from .._run.system import Timetable
from ..keys import as_key, build_key, seed_key, stream
from ..record import Record, as_records
from ..until import Stop, as_stops
from .axes import Axes, axes_of


@dataclass(frozen=True)
class Request:
    """Values that travel to another process: no key of JAX's own is among them."""

    build: Callable[..., tuple]
    axes: Axes
    key: tuple[str, np.ndarray]  # implementation and data
    timetable: Timetable
    stops: tuple[Stop, ...]
    lanes: Literal["auto", "vmap", "map"] = "auto"
    chunk: int | None = None
    compact: Compaction = "auto"
    coupling: Literal["seed", "all", "independent"] = "seed"

    @classmethod
    def of(
        cls,
        build: Callable[..., tuple],
        over: Mapping[str, Any],
        seeds: int | Sequence[int],
        key: Any,
        steps: int,
        record: Record | Sequence[Record] | None = None,
        until: Any = None,
        **how: Any,
    ) -> "Request":
        """**Raises** `TypeError` and `ValueError` for what cannot be asked."""
        key = as_key(key)
        data = str(jax.random.key_impl(key)), np.asarray(jax.random.key_data(key))
        timetable = Timetable.of(as_records(record), steps)
        return cls(build, axes_of(build, over, seeds), data, timetable, as_stops(until), **how)

    @property
    def draws(self) -> "Draws":
        impl, data = self.key
        return Draws(jax.random.wrap_key_data(jnp.asarray(data), impl=impl), self.axes.seeds)


class Draws:
    """The keys of the seeds, as data on the host: taking some out of an array of keys would compile each time."""

    def __init__(self, key: PRNGKeyArray, seeds: np.ndarray):
        self.seeds, self._impl = seeds, jax.random.key_impl(key)
        self.own, self.build, self.steps = (np.asarray(data) for data in _seed_data(key, seeds))

    def wrap(self, data: Any) -> Array:
        return jax.random.wrap_key_data(data, impl=self._impl)

    def lanes(self, data: np.ndarray, outer: np.ndarray, inner: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Keys and step streams of (outer, inner) lanes of their own, from their seeds' keys and their index' parts."""
        own, steps = _lane_data(self.wrap(data), outer, inner)
        return np.asarray(own), np.asarray(steps)


@jax.jit
def _seed_data(key, seeds):
    own = jax.vmap(lambda s: seed_key(key, s))(seeds)
    return tuple(jax.random.key_data(keys) for keys in (own, jax.vmap(build_key)(own), _streams(own)))


@jax.jit
def _lane_data(keys, outer, inner):
    def draw(k, o):
        return jax.vmap(lambda i: jax.random.fold_in(stream(k, "lane"), o + i))(inner)

    own = jax.vmap(draw)(keys, outer)
    return jax.random.key_data(own), jax.random.key_data(jax.vmap(_streams)(own))


def _streams(keys):
    return jax.vmap(lambda k: stream(k, "step"))(keys)
