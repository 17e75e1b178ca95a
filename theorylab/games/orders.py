"""The orders in which an epoch visits the n components: tables of indices, drawn before the epoch's loop."""

import difflib
from typing import Literal, get_args

import jax
import jax.numpy as jnp
from jaxtyping import Array, Int

from ..numerics.checked import Key

Order = Literal["independent", "reshuffle", "once", "cyclic", "flipflop", "repeat"]
ORDERS: tuple[Order, ...] = get_args(Order)
"""`"independent"`: n uniform draws with replacement; `"reshuffle"`: a new permutation each epoch; `"once"`: one
permutation, drawn at the start and kept; `"cyclic"`: 0, 1, ..., n-1 always; `"flipflop"`: a new permutation and then
the same one backwards, 2n indices an epoch; `"repeat"`: one uniformly random component, n times, which a released code
takes for reshuffling (`theorylab show seg_rr`)."""


def check(order: str) -> Order:
    """Give the order itself, when it is one.

    **Arguments**: `order`, one of `ORDERS`.

    **Returns** `order`.

    **Raises** `ValueError` for any other string, with the valid ones and the nearest.

    **Source**: derived here.

        >>> import theorylab as tl
        >>> tl.games.orders.check("reshuffel")
        Traceback (most recent call last):
        ValueError: order = 'reshuffel' is not one of 'independent', 'reshuffle', ...: did you mean 'reshuffle'?
    """
    for known in ORDERS:
        if order == known:
            return known
    near = difflib.get_close_matches(str(order), ORDERS, n=1, cutoff=0.5)
    hint = f": did you mean {near[0]!r}?" if near else ": choose one of them"
    raise ValueError(f"order = {order!r} is not one of {', '.join(map(repr, ORDERS))}{hint}")


def fixed(order: Order, key: Key, n: int) -> Int[Array, " n"] | None:
    """Draw what an order keeps for the whole run: the permutation of `"once"`, nothing for the others.

    **Arguments**: `order`, one of `ORDERS`; `key`; `n`, the number of components.

    **Returns** a permutation of 0, ..., n-1 (n,), int32, or None.

    **Source**: Emmanouilidis, Vidal, Loizou (2024), arXiv 2403.07148.

        >>> import jax, theorylab as tl
        >>> sorted(tl.games.orders.fixed("once", jax.random.key(0), 3).tolist())
        [0, 1, 2]
    """
    return _permutation(key, n) if order == "once" else None


def table(order: Order, key: Key, n: int, kept: Int[Array, " n"] | None = None) -> Int[Array, " m"]:
    """Draw the indices of one epoch, from the key alone, so that runs that share it share the draws.

    **Arguments**: `order`, one of `ORDERS`; `key` of the epoch, which `"once"` and `"cyclic"` do not use; `n`, the
    number of components; `kept` (n,), what `fixed` gave.

    **Returns** (n,), or (2n,) for `"flipflop"`, int32 (in either precision the same draws).

    **Raises** `ValueError` for `"once"` without its permutation.

    **Source**: Emmanouilidis, Vidal, Loizou (2024), arXiv 2403.07148; flip-flop: Rajput, Lee, Papailiopoulos (2022),
    arXiv 2102.09718.

        >>> import jax, theorylab as tl
        >>> tl.games.orders.table("cyclic", jax.random.key(0), 4).tolist()
        [0, 1, 2, 3]
        >>> there = tl.games.orders.table("flipflop", jax.random.key(0), 4).tolist()
        >>> there[:4] == there[:3:-1]
        True
    """
    forward = _pass(order, key, n, kept)
    return jnp.concatenate([forward, forward[::-1]]) if order == "flipflop" else forward


def groups(
    order: Order,
    key: Key,
    n: int,
    kept: Int[Array, " n"] | None = None,
    *,
    batch_size: int = 1,
    samples: int = 1,
) -> tuple[Int[Array, "updates group"], ...]:
    """Draw the epoch's indices, cut into one group for each update.

    The sequence is as many passes of the order as an update has samples, one after the other. A group holds the
    next `samples * batch_size` of its indices, half of them for each of two samples; where that does not divide its
    length, the last group is smaller. Flip-flop goes through the groups forwards and then backwards.

    **Arguments**: `order`, `key`, `n`, `kept` as in `table`; `batch_size` from 1 to n; `samples`, 1 or 2.

    **Returns** blocks (updates, group) of int32, in the order of the updates; one block where all groups are equal.

    **Raises** `ValueError` as `table` does.

    **Source**: derived here; with batch_size 1 and one sample it is `table`, index by index.

        >>> import jax, theorylab as tl
        >>> [block.tolist() for block in tl.games.orders.groups("cyclic", jax.random.key(0), 5, batch_size=2)]
        [[[0, 1], [2, 3]], [[4]]]
    """
    if not 1 <= batch_size <= n:
        raise ValueError(f"batch_size = {batch_size} must be an integer from 1 to n = {n}")
    keys = [key] if samples == 1 else list(jax.random.split(key, samples))
    sequence = jnp.concatenate([_pass(order, one, n, kept) for one in keys])
    size = samples * batch_size
    whole = sequence.size // size * size
    blocks = [sequence[:whole].reshape(-1, size)]
    if whole < sequence.size:
        blocks.append(sequence[None, whole:])
    if order != "flipflop":
        return tuple(blocks)
    back = [block[::-1] for block in reversed(blocks)]
    middle = jnp.concatenate([blocks[-1], back[0]])
    return (*blocks[:-1], middle, *back[1:])


def _pass(order, key, n, kept):
    match order:
        case "independent":
            return jax.random.randint(key, (n,), 0, n, dtype=jnp.int32)
        case "reshuffle" | "flipflop":
            return _permutation(key, n)
        case "cyclic":
            return jnp.arange(n, dtype=jnp.int32)
        case "repeat":
            return jnp.full((n,), jax.random.randint(key, (), 0, n, dtype=jnp.int32))
    if kept is None:
        raise ValueError("order = 'once' needs kept, its permutation: draw it with fixed('once', key, n)")
    return kept


def _permutation(key, n):
    return jax.random.permutation(key, jnp.arange(n, dtype=jnp.int32))
