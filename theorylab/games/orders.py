"""The orders in which an epoch visits the n components: tables of indices, drawn before the epoch's loop."""

import difflib

import jax
import jax.numpy as jnp
from jaxtyping import Array, Int, PRNGKeyArray

ORDERS = ("independent", "reshuffle", "once", "cyclic")
"""`"independent"`: n uniform draws with replacement; `"reshuffle"`: a new permutation each epoch; `"once"`: one
permutation, drawn at the start and kept; `"cyclic"`: 0, 1, ..., n-1 always."""


def check(order: str) -> str:
    """The order itself, when it is one.

    **Arguments**: `order`, one of `ORDERS`.

    **Returns** `order`.

    **Raises** `ValueError` for any other string, with the valid ones and the nearest.

    **Source**: derived here.

        >>> import theorylab as tl
        >>> tl.games.orders.check("reshuffel")
        Traceback (most recent call last):
        ValueError: order = 'reshuffel' is not one of 'independent', 'reshuffle', 'once', 'cyclic': did you mean ...?
    """
    if order in ORDERS:
        return order
    near = difflib.get_close_matches(str(order), ORDERS, n=1, cutoff=0.5)
    hint = f": did you mean {near[0]!r}?" if near else ": choose one of them"
    raise ValueError(f"order = {order!r} is not one of {', '.join(map(repr, ORDERS))}{hint}")


def fixed(order: str, key: PRNGKeyArray, n: int) -> Int[Array, " n"] | None:
    """What an order keeps for the whole run: the permutation of `"once"`, nothing for the others.

    **Arguments**: `order`, one of `ORDERS`; `key`; `n`, the number of components.

    **Returns** a permutation of 0, ..., n-1 (n,), int32, or None.

    **Source**: Emmanouilidis, Vidal, Loizou (2024), arXiv 2403.07148.

        >>> import jax, theorylab as tl
        >>> sorted(tl.games.orders.fixed("once", jax.random.key(0), 3).tolist())
        [0, 1, 2]
    """
    return _permutation(key, n) if order == "once" else None


def table(order: str, key: PRNGKeyArray, n: int, kept: Int[Array, " n"] | None = None) -> Int[Array, " n"]:
    """The n indices of one epoch. They depend on the key alone, so that runs that share it share the draws.

    **Arguments**: `order`, one of `ORDERS`; `key` of the epoch, used by `"independent"` and `"reshuffle"`; `n`, the
    number of components; `kept` (n,), what `fixed` gave.

    **Returns** (n,), int32 (in either precision the same draws).

    **Raises** `ValueError` for an unknown order, and for `"once"` without its permutation.

    **Source**: Emmanouilidis, Vidal, Loizou (2024), arXiv 2403.07148.

        >>> import jax, theorylab as tl
        >>> tl.games.orders.table("cyclic", jax.random.key(0), 4).tolist()
        [0, 1, 2, 3]
    """
    match check(order):
        case "independent":
            return jax.random.randint(key, (n,), 0, n, dtype=jnp.int32)
        case "reshuffle":
            return _permutation(key, n)
        case "cyclic":
            return jnp.arange(n, dtype=jnp.int32)
    if kept is None:
        raise ValueError("order = 'once' needs kept, its permutation: draw it with fixed('once', key, n)")
    return kept


def _permutation(key, n):
    return jax.random.permutation(key, jnp.arange(n, dtype=jnp.int32))
