"""Which array depends on which dimension of a sweep, found exactly, and the arrays of many lanes.

A sweep has two levels. *Outer*: the seed and every dimension that an array of the problem (or the starting point)
depends on. *Inner*: the dimensions that touch the method alone; lanes that differ only there share their problem, and
their matrix-vector products become one matrix product.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, PyTree

from .._run.levels import marker
from .._run.system import Rebuild, split

_CONCRETE = (
    jax.errors.ConcretizationTypeError,
    jax.errors.TracerArrayConversionError,
    jax.errors.TracerIntegerConversionError,
    jax.errors.TracerBoolConversionError,
)


@dataclass(frozen=True)
class Axis:
    """What one keyword of `build` receives: arrays whose leading axes are dimensions of the sweep, and what of them no
    dimension touches."""

    dims: tuple[str, ...]
    values: PyTree
    rest: PyTree = None

    def at(self, places: Mapping[str, Any]) -> PyTree:
        """The arrays at places of each dimension, whose shapes broadcast; on the host, which compiles nothing."""
        index = tuple(places[dim] for dim in self.dims)
        return jax.tree.map(lambda x: x[index], self.values)

    def fixed(self, places: Mapping[str, int]) -> "Axis":
        """The axis over what is left of its dimensions at one place of some."""
        left = tuple(dim for dim in self.dims if dim not in places)
        return Axis(left, self.at({dim: slice(None) for dim in left} | dict(places)), self.rest)

    def whole(self, values: PyTree) -> PyTree:
        """The values of a lane with what all lanes share."""
        return values if self.rest is None else eqx.combine(values, self.rest)

    @property
    def sizes(self) -> dict[str, int]:
        return dict(zip(self.dims, jax.tree.leaves(self.values)[0].shape, strict=False))


def sizes(axes: Mapping[str, Axis]) -> dict[str, int]:
    """The dimensions of several axes, in order of first appearance."""
    found: dict[str, int] = {}
    for axis in axes.values():
        found |= axis.sizes
    return found


Places = Mapping[str, np.ndarray]  # of equally many lanes, by dimension


def _over(
    fn: Callable[[Mapping[str, PyTree]], PyTree],
    axes: Mapping[str, Axis],
    outer: Places,
    inner: Places,
    results: tuple[Any, Any] = (0, 0),
) -> tuple[Callable[[Mapping[str, PyTree]], PyTree], dict[str, PyTree]]:
    """`fn` of the values of one lane over the lanes at these places, inner ones within outer ones, and the values to
    give it; what has no such dimension is shared, at its first place."""
    first = {dim: 0 for axis in axes.values() for dim in axis.dims}
    places, own = {**first, **inner, **outer}, {}
    for name, axis in axes.items():
        levels = [any(dim in level for dim in axis.dims) for level in (outer, inner)]
        at = {d: np.expand_dims(places[d], 1) if d in outer and levels[1] else places[d] for d in axis.dims}
        own[name] = axis.at(at), levels
    for level in (1, 0):
        if (outer, inner)[level]:
            fn = jax.vmap(
                fn, ({name: 0 if levels[level] else None for name, (_, levels) in own.items()},), results[level]
            )
    return fn, {name: value for name, (value, _) in own.items()}


def first_lane(
    build: Callable[[Mapping[str, PyTree]], PyTree], axes: Mapping[str, Axis]
) -> tuple[list[Array], Rebuild]:
    """`split` of what `build` returns at the first place of every dimension, built under `vmap`, so that no value is
    looked at."""
    rebuild: list[Callable] = []

    def one(values):
        leaves, combine = split(build(values))
        rebuild.append(combine)
        return leaves

    mapped, values = _over(one, axes, {dim: np.zeros(1, int) for dim in sizes(axes)}, {})
    return [lax.squeeze(leaf, (0,)) for leaf in mapped(values)], rebuild[-1]


def lane_shapes(
    build: Callable[[Mapping[str, PyTree]], PyTree], axes: Mapping[str, Axis]
) -> tuple[list[jax.ShapeDtypeStruct], Rebuild]:
    """The shapes of `first_lane`, and its function that rebuilds."""
    rebuild: list[Callable] = []

    def one():
        leaves, combine = first_lane(build, axes)
        rebuild.append(combine)
        return leaves

    leaves = _traced_or_run(one)
    return [jax.ShapeDtypeStruct(x.shape, x.dtype, weak_type=_weak(x)) for x in leaves], rebuild[-1]


def _weak(x: Any) -> bool:
    return x.weak_type if isinstance(x, jax.ShapeDtypeStruct) else jax.typeof(x).weak_type


def _traced_or_run(fn: Callable, *args: Any) -> Any:
    """`fn` for its shapes and side effects: traced, which compiles nothing, or run where it asks for a number."""
    try:
        return jax.eval_shape(fn, *args)
    except _CONCRETE:
        return fn(*args)


def dependence(build: Callable[[Mapping[str, PyTree]], PyTree], axes: Mapping[str, Any]) -> list[set[str]]:
    """For each array leaf of what `build` returns, the dimensions that it depends on; an array that is no `Axis` has
    one dimension, of its own name.

    `build` runs under one `vmap` of size 2 for the dimension in question and one of size 1 for all others: traced, or,
    where it asks for the value of something, eagerly, so that what no axis touches is concrete.

    **Raises** `TypeError`, naming the axis, when `build` turns a lane's value into a Python number or branches on it.
    """
    axes = {name: axis if isinstance(axis, Axis) else Axis((name,), axis) for name, axis in axes.items()}
    found: list[set[str]] = []

    def probe(dim, values):
        leaves, _ = split(build(values))
        found.extend(set() for _ in leaves[len(found) :])
        if len(leaves) != len(found):
            raise TypeError(f"build: the number of arrays that it returns depends on {dim!r}; it must not")

        def note(size, i):
            if size == 2:
                found[i].add(dim)

        return [marker(lambda size, i=i: note(size, i))(leaf) for i, leaf in enumerate(leaves)]

    dims = sizes(axes)
    for dim in dims:
        others = {other: np.zeros(1, int) for other in dims if other != dim}
        mapped, values = _over(partial(probe, dim), axes, others, {dim: np.zeros(2, int)})
        try:
            _traced_or_run(mapped, values)
        except _CONCRETE as error:
            raise TypeError(
                f"build: it turns a value of the axis {_culprit(build, axes)!r} into a Python number or branches on it,"
                " but all values of an axis run at once. Use jnp.where, or give the axis as"
                " np.array(values, dtype=object) to run its values one after the other."
            ) from error
    return found


def _culprit(build: Callable, axes: Mapping[str, Axis]) -> str:
    """The first axis whose value alone, traced, makes `build` fail."""
    first = {name: axis.at(dict.fromkeys(axis.dims, 0)) for name, axis in axes.items()}
    for name, axis in axes.items():
        lane = {name: Axis(axis.dims[:1], jax.tree.map(lambda x: x[None], first[name]))} if axis.dims else {}
        mapped, values = _over(
            lambda own: split(build({**first, **own}))[0], lane, {}, dict.fromkeys(axis.dims[:1], np.zeros(1, int))
        )
        try:
            mapped(values)
        except _CONCRETE:
            return name
    return ", ".join(axes)


def product(counts: Mapping[str, int]) -> dict[str, np.ndarray]:
    """The places of all lanes over some dimensions, the last one running fastest."""
    shape = tuple(counts.values())
    return dict(zip(counts, np.indices(shape).reshape(len(shape), -1), strict=True))


def build_lanes(
    build: Callable[[Mapping[str, PyTree]], PyTree],
    axes: Mapping[str, Axis],
    outer: Places,
    inner: Places,
    depends: Sequence[tuple[bool, bool]],
) -> tuple[list[Array], Rebuild]:
    """The arrays of all lanes, each with just the levels it depends on (outer first), and the function that rebuilds
    one lane."""
    rebuild: list[Callable] = []

    def arrays(values):
        leaves, combine = split(build(values))
        rebuild.append(combine)
        return leaves

    results = [0 if o else None for o, _ in depends], [0 if i else None for _, i in depends]
    mapped, values = _over(arrays, axes, outer, inner, results)
    return [jnp.asarray(leaf) for leaf in mapped(values)], rebuild[-1]
