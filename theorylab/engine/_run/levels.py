"""Functions of one lane mapped over many, on two levels, and which of their results differ between lanes.

*Outer* lanes have a problem each; *inner* lanes share the one of their outer lane, and their matrix-vector products
become one matrix product.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import jax
from jax import lax
from jax.custom_batching import custom_vmap
from jaxtyping import Array, PyTree

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
                function = jax.vmap(function, (axes,), out) if self.inner == "vmap" else one_by_one(function, axes)
            if self.outer == "inside":
                axes = [self.place(kind, i, "outer") for kind, i in leaves]
                function = jax.vmap(function, (axes,))
            out = function(flat)
            return jax.tree.unflatten(trees[-1], out)

        return mapped


def one_by_one(function: Callable[[list], list], axes: list[int | None]) -> Callable[[list], list]:
    def mapped(flat):
        def one(moving):
            moving = iter(moving)
            return function([x if axis is None else next(moving) for x, axis in zip(flat, axes, strict=True)])

        return lax.map(one, [x for x, axis in zip(flat, axes, strict=True) if axis is not None])

    return mapped


def marker(note: Callable[[int], None]) -> Callable[[Array], Array]:
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
        return [marker(lambda size, i=i: seen.add(i))(leaf) for i, leaf in enumerate(leaves)]

    count: list[int] = []
    jax.eval_shape(jax.vmap(marked, in_axes), *args)
    return [i in seen for i in range(count[-1])]
