"""A scan that keeps its lanes in the last axis under `vmap`, where products with shared matrices want them."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jax.core import eval_jaxpr
from jax.custom_batching import custom_vmap
from jaxtyping import Array, PyTree

from .arrays import check_kept


def lane_scan(body: Callable, carry: PyTree[Array], xs: PyTree[Array]) -> PyTree[Array]:
    r"""The carry after $c \leftarrow \mathrm{body}(c, x)$ for each x of `xs` in turn.

    `lax.scan` without outputs. Under `vmap` a scan puts the lanes of its carry first, so that every product of a shared
    matrix with the vectors of all lanes turns them around twice; here vectors and numbers keep their lanes last through
    the whole loop, those of nested `vmap`s side by side. Differentiable, forward and reverse, then as a plain scan.

    **Arguments**: `body`, a function `(carry, x) -> carry` that may close over arrays; `carry` and `xs`, pytrees of
    arrays, those of `xs` of one length >= 1.

    **Returns** a pytree like `carry`.

    **Raises** `TypeError` for a body that changes the carry's structure, shapes or dtypes.

    **Source**: derived here; checked against `lax.scan`, plain, under nested vmap, jvp and vjp; speed by
    `python benchmarks/run.py games`.

        >>> import jax.numpy as jnp, theorylab as tl
        >>> float(tl.numerics.lane_scan(lambda c, x: 2 * c + x, jnp.asarray(1.0), jnp.arange(3.0)))
        12.0
    """
    leaves, structure = jax.tree.flatten(carry)
    xs, table = jax.tree.flatten(xs)

    def flat(leaves, x):
        given = jax.tree.unflatten(structure, leaves)
        new = body(given, jax.tree.unflatten(table, x))
        check_kept("body", given, new)
        return jax.tree.leaves(new)

    # what the body closes over becomes an argument: neither vmap nor jvp could see it inside a rule
    closed = jax.make_jaxpr(flat)(leaves, [x[0] for x in xs])

    def step(consts, leaves, x):
        return eval_jaxpr(closed.jaxpr, consts, *leaves, *x)

    @jax.custom_jvp
    def run(consts, leaves, xs):
        return _lanes(step, None)(consts, leaves, xs)

    @run.defjvp
    def _(primals, tangents):
        return jax.jvp(lambda consts, leaves, xs: _scan(step, consts, leaves, xs), primals, tangents)

    return jax.tree.unflatten(structure, run(list(closed.consts), leaves, xs))


def _scan(step, consts, leaves, xs):
    return lax.scan(lambda leaves, x: (step(consts, leaves, x), None), leaves, xs)[0]


def _lanes(step: Callable, width: int | None, own: tuple[bool, ...] = ()) -> Any:
    """The scan over `width` lanes at once (None: one run without a lane axis): all of the carry has them, and what
    `own` marks of the constants."""

    def plain(consts, leaves, xs):
        if width is None:
            return _scan(step, consts, leaves, xs)
        axes = [_axis(x.ndim - 1) for x in leaves]
        given = [_axis(x.ndim - 1) if o else None for x, o in zip(consts, own, strict=True)]
        return _scan(jax.vmap(step, (given, axes, None), axes), consts, leaves, xs)

    run = custom_vmap(plain)

    @run.def_vmap
    def _(size, batched, consts, leaves, xs):
        had = own if width is not None else (False,) * len(consts)
        gets, moves, draws = batched
        ranks = [x.ndim - h - g for x, h, g in zip(consts, had, gets, strict=True)]
        if any(draws) or any(g and rank > 1 for g, rank in zip(gets, ranks, strict=True)):
            # lanes of their own order or with matrices of their own have nothing to share
            axes = jax.tree.map(lambda b: 0 if b else None, batched)
            return jax.vmap(plain, tuple(axes))(consts, leaves, xs), [True] * len(leaves)
        either = tuple(h or g for h, g in zip(had, gets, strict=True))
        joined = [_join(x, g, h, size, width) if h or g else x for x, g, h in zip(consts, gets, had, strict=True)]
        leaves = [_join(x, m, width is not None, size, width) for x, m in zip(leaves, moves, strict=True)]
        out = _lanes(step, size * (width or 1), either)(joined, leaves, xs)
        return [_part(x, size, width) for x in out], [True] * len(out)

    return run


def _axis(rank: int) -> int:
    """Where lanes stand in an array of some rank: last in numbers and vectors, first in what is larger."""
    return rank if rank <= 1 else 0


def _join(x, gets, had, size, width):
    """New lanes (on the first axis, if an array `gets` them) and old ones (if it `had` some) as one axis."""
    rank = x.ndim - gets - had
    x = x if gets else jnp.broadcast_to(x[None], (size, *x.shape))
    if width is not None:
        x = jnp.moveaxis(x, 1 + _axis(rank), 1) if had else jnp.broadcast_to(x[:, None], (size, width, *x.shape[1:]))
        x = x.reshape(size * width, *x.shape[2:])
    return jnp.moveaxis(x, 0, _axis(rank))


def _part(x, size, width):
    """What `_join` joined, apart again: new lanes first."""
    rank = x.ndim - 1
    x = jnp.moveaxis(x, _axis(rank), 0)
    return x if width is None else jnp.moveaxis(x.reshape(size, width, *x.shape[1:]), 1, 1 + _axis(rank))
