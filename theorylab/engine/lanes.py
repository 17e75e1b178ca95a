"""Which array depends on which axis of a sweep, found exactly, and functions of one lane mapped over many.

A sweep has two levels. *Outer*: the seed and every axis that an array of the problem (or the starting point) depends
on. *Inner*: the axes that touch the method alone; lanes that differ only there share their problem, and their
matrix-vector products become one matrix product.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.custom_batching import custom_vmap
from jaxtyping import Array, PyTree

_CONCRETE = (
    jax.errors.ConcretizationTypeError,
    jax.errors.TracerArrayConversionError,
    jax.errors.TracerIntegerConversionError,
    jax.errors.TracerBoolConversionError,
)


def split(tree: PyTree) -> tuple[list[Array], Callable[[Sequence[Array]], PyTree]]:
    """The array leaves of a pytree, and the function that puts others in their places.

    NumPy arrays and Python floats count as arrays; integers, strings and functions are part of the code.
    """
    arrays, rest = eqx.partition(tree, _is_data)
    leaves, structure = jax.tree.flatten(arrays)
    return [jnp.asarray(leaf) for leaf in leaves], lambda new: eqx.combine(jax.tree.unflatten(structure, new), rest)


def _is_data(leaf: Any) -> bool:
    return isinstance(leaf, jax.Array | np.ndarray | np.generic | float | complex)


def _marker(note: Callable[[int], None]) -> Callable[[Array], Array]:
    """The identity, which tells `note` the size of each `vmap` around it that batches its argument."""

    @custom_vmap
    def identity(x):
        return x

    @identity.def_vmap
    def _(axis_size, in_batched, x):
        if in_batched[0]:
            note(axis_size)
        return x, in_batched[0]

    return identity


def batched(fn: Callable[..., PyTree], in_axes: Any, *args: PyTree) -> list[bool]:
    """For each array leaf of `fn(*args)`, whether it depends on the axis that `in_axes` maps; nothing is computed
    for shapes."""
    seen: set[int] = set()

    def marked(*args):
        leaves = jax.tree.leaves(fn(*args))
        count.append(len(leaves))
        return [_marker(lambda size, i=i: seen.add(i))(leaf) for i, leaf in enumerate(leaves)]

    count: list[int] = []
    jax.eval_shape(jax.vmap(marked, in_axes), *args)
    return [i in seen for i in range(count[-1])]


def first_lane(
    build: Callable[[Mapping[str, Array]], PyTree], axes: Mapping[str, np.ndarray]
) -> tuple[list[Array], Callable[[Sequence[Array]], PyTree]]:
    """`split` of what `build` returns at the first value of every axis, built under `vmap`, so that no value is
    looked at."""
    rebuild: list[Callable] = []

    def one(values):
        leaves, combine = split(build(values))
        rebuild.append(combine)
        return leaves

    leaves = jax.vmap(one)({name: values[:1] for name, values in axes.items()})
    return [lax.squeeze(leaf, (0,)) for leaf in leaves], rebuild[-1]


def lane_shapes(
    build: Callable[[Mapping[str, Array]], PyTree], axes: Mapping[str, np.ndarray]
) -> tuple[list[jax.ShapeDtypeStruct], Callable[[Sequence[Any]], PyTree]]:
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


def dependence(build: Callable[[Mapping[str, Array]], PyTree], axes: Mapping[str, Any]) -> list[set[str]]:
    """For each array leaf of what `build` returns, the axes that it depends on.

    `build` runs under one `vmap` of size 2 for the axis in question and one of size 1 for all others: traced, or, where
    it asks for the value of something, eagerly, so that what no axis touches is concrete.

    **Raises** `TypeError`, naming the axis, when `build` turns a lane's value into a Python number or branches on it.
    """
    found: list[set[str]] = []

    def probe(name, others, value):
        leaves, _ = split(build({**others, name: value}))
        found.extend(set() for _ in leaves[len(found) :])
        if len(leaves) != len(found):
            raise TypeError(f"build: the number of arrays that it returns depends on {name!r}; it must not")

        def note(size, i):
            if size == 2:
                found[i].add(name)

        return [_marker(lambda size, i=i: note(size, i))(leaf) for i, leaf in enumerate(leaves)]

    for name, values in axes.items():
        others = {other: v[:1] for other, v in axes.items() if other != name}
        twice = values[np.asarray([0, 0])]
        inner = jax.vmap(lambda others, value, name=name: probe(name, others, value), (None, 0))
        try:
            _traced_or_run(jax.vmap(inner, (0, None)) if others else inner, others, twice)
        except _CONCRETE as error:
            raise TypeError(
                f"build: it turns a value of the axis {_culprit(build, axes)!r} into a Python number or branches on it,"
                " but all values of an axis run at once. Use jnp.where, or give the axis as"
                " np.array(values, dtype=object) to run its values one after the other."
            ) from error
    return found


def _culprit(build: Callable, axes: Mapping[str, np.ndarray]) -> str:
    """The first axis whose value alone, traced, makes `build` fail."""
    first = {name: values[0] for name, values in axes.items()}
    for name, values in axes.items():
        try:
            jax.vmap(lambda value, name=name: split(build({**first, name: value}))[0])(values[:1])
        except _CONCRETE:
            return name
    return ", ".join(axes)


def product(axes: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The product of several axes as equally long ones, the last axis running fastest."""
    shape = tuple(len(values) for values in axes.values())
    places = np.indices(shape).reshape(len(shape), -1)
    return {name: values[place] for (name, values), place in zip(axes.items(), places, strict=True)}


def build_lanes(
    build: Callable[[Mapping[str, Array]], PyTree],
    outer: Mapping[str, np.ndarray],
    inner: Mapping[str, np.ndarray],
    depends: Sequence[tuple[bool, bool]],
) -> tuple[list[Array], Callable[[Sequence[Array]], PyTree]]:
    """The arrays of all lanes, each with just the levels it depends on (outer first), and the function that rebuilds
    one lane."""
    rebuild: list[Callable] = []

    def arrays(outer_values, inner_values):
        leaves, combine = split(build({**outer_values, **inner_values}))
        rebuild.append(combine)
        return leaves

    if inner:
        arrays = jax.vmap(arrays, (None, 0), [0 if i else None for _, i in depends])
    if outer:
        arrays = jax.vmap(arrays, (0, None), [0 if o else None for o, _ in depends])
    leaves = arrays(dict(outer), dict(inner))
    return [jnp.asarray(leaf) for leaf in leaves], rebuild[-1]


Kind = Literal["system", "state", "lane", "key", "shared"]


@dataclass(frozen=True)
class Levels:
    """How functions of one lane are mapped: over the inner level, and over the outer one where it lies inside the loop.

    Each argument has a kind: `system` (the arrays of method, problem, ...: each leaf by its own dependence), `state`
    (always per outer lane, each leaf by its own inner dependence), `lane` (per lane), `key` and `shared`.
    """

    system: tuple[tuple[bool, bool], ...] = ()
    state: tuple[bool, ...] = ()
    inner: Literal["none", "vmap", "map"] = "none"
    outer: Literal["none", "inside", "around"] = "none"
    own_keys: bool = False

    def place(self, kind: Kind, leaf: int, level: Literal["outer", "inner"]) -> int | None:
        """The axis of a level in a leaf as it is stored, None where it has none."""
        outer, inner = self._has(kind, leaf)
        outer, inner = outer and self.outer != "none", inner and self.inner != "none"
        if level == "outer":
            return 0 if outer else None
        return int(outer) if inner else None

    def _has(self, kind: Kind, leaf: int) -> tuple[bool, bool]:
        match kind:
            case "system":
                return self.system[leaf] if self.system else (False, False)
            case "state":
                return True, bool(self.state) and self.state[leaf]
            case "lane":
                return True, True
            case "key":
                return True, self.own_keys
            case "shared":
                return False, False

    def buffer_place(self, level: Literal["outer", "inner"]) -> int | None:
        """The axis of a level in a record's buffer, whose rows stand inside the outer level if that lies around the
        loop."""
        if level == "outer":
            return {"none": None, "around": 0, "inside": 1}[self.outer]
        return None if self.inner == "none" else 1 + (self.outer != "none")

    def each(self, fn: Callable[..., PyTree], *kinds: Kind, result: Literal["lane", "state"] = "lane") -> Callable:
        """`fn` of one lane as a function of all lanes inside the loop; the kinds are those of its arguments."""

        def mapped(*args):
            flat, structure = jax.tree.flatten(args)
            leaves: list[tuple[Kind, int]] = [
                (kind, i) for kind, arg in zip(kinds, args, strict=True) for i in range(len(jax.tree.leaves(arg)))
            ]
            trees = []

            def one(flat):
                out, tree = jax.tree.flatten(fn(*jax.tree.unflatten(structure, flat)))
                trees.append(tree)
                return out

            function: Callable = one
            if self.inner != "none":
                # the outer level is mapped first, so that an inner axis stands first in what is left
                axes = [None if self.place(kind, i, "inner") is None else 0 for kind, i in leaves]
                out = [0 if own else None for own in self.state] if result == "state" else 0
                function = jax.vmap(function, (axes,), out) if self.inner == "vmap" else _one_by_one(function, axes)
            if self.outer == "inside":
                axes = [self.place(kind, i, "outer") for kind, i in leaves]
                function = jax.vmap(function, (axes,))
            out = function(flat)
            return jax.tree.unflatten(trees[-1], out)

        return mapped


def _one_by_one(function: Callable[[list], list], axes: list[int | None]) -> Callable[[list], list]:
    def mapped(flat):
        def one(moving):
            moving = iter(moving)
            return function([x if axis is None else next(moving) for x, axis in zip(flat, axes, strict=True)])

        return lax.map(one, [x for x, axis in zip(flat, axes, strict=True) if axis is not None])

    return mapped
