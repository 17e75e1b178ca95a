"""Extragradient in an ordinary training loop: an Optax optimiser that looks ahead, and epochs of reshuffled batches."""

from collections.abc import Iterator
from typing import Any, NamedTuple

import equinox as eqx
import jax
import numpy as np
import optax
from jaxtyping import Array, Int, PyTree

from ..engine import keys
from ..numerics.checked import Key
from . import orders


class ExtragradientState(NamedTuple):
    """The states of the optimiser and of the look-ahead's own, None where they are one and the same.

    **Arguments**: `optimiser` and `lookahead`, Optax states.

    **Source**: derived here.

        >>> from theorylab.games.lookahead import ExtragradientState
        >>> ExtragradientState(optimiser=(), lookahead=None).lookahead is None
        True
    """

    optimiser: PyTree[Array]
    lookahead: PyTree[Array] | None


def extragradient_optimiser(
    optimiser: optax.GradientTransformation, lookahead: optax.GradientTransformation | None = None
) -> optax.GradientTransformationExtraArgs:
    r"""Give an Optax optimiser its extragradient form: the update from an operator one step ahead.

    With the optimiser's update written $U(F)$: $\bar x = x + U_2(F(x))$, $x^+ = x + U_1(F(\bar x))$. `init(params)` and
    `update(grads, state, params, operator=operator)` are Optax's, with `grads` $= F(x)$ and `operator` the function
    `params -> grads` on the very sample that `grads` came from. On a game all players are one `params`, such as a pair
    of models; the players' own rates are `optax.multi_transform` inside. What `params` hold beside floating-point
    arrays (functions, shapes, as Equinox modules do) reaches `operator` as it is. What clips or averages gradients
    belongs inside `optimiser`, where both operator values pass through it.

    **Arguments**: `optimiser`, which makes the update; `lookahead`, which makes the step ahead, with a state of its
    own; None for the optimiser itself, whose state (moments, counts, so a schedule too) then advances twice in each
    update, as in ExtraAdam. Neither can be one that takes more than gradients and parameters and means it, such as a
    line search.

    **Returns** an `optax.GradientTransformationExtraArgs`.

    **Raises** `ValueError` by `update`, before anything is compiled, when `params` or `operator` is missing, and when
    `operator` gives another structure than `grads`.

    **Source**: Gidel, Berard, Vignoud, Vincent, Lacoste-Julien (2019), arXiv 1802.10551, algorithm 4 for Adam, with one
    sample for both operator values as in Emmanouilidis, Vidal, Loizou (2024), arXiv 2403.07148. With
    `optax.sgd` twice it is `Extragradient`: tested to rounding.

        >>> import jax.numpy as jnp, optax, theorylab as tl
        >>> operator = tl.games.descent_ascent(lambda u, v: u * v)
        >>> optimiser = tl.games.extragradient_optimiser(optax.sgd(0.25), lookahead=optax.sgd(1.0))
        >>> x = (jnp.asarray(4.0), jnp.asarray(0.0))
        >>> updates, _ = optimiser.update(operator(x), optimiser.init(x), x, operator=operator)
        >>> [float(leaf) for leaf in optax.apply_updates(x, updates)]
        [3.0, 1.0]
    """
    base = optax.with_extra_args_support(optimiser)
    ahead = None if lookahead is None else optax.with_extra_args_support(lookahead)

    def init(params: Any) -> Any:
        arrays = eqx.filter(params, eqx.is_inexact_array)
        return ExtragradientState(base.init(arrays), None if ahead is None else ahead.init(arrays))

    def update(updates: Any, state: Any, params: Any = None, *, operator: Any = None, **extra_args: Any) -> Any:
        _check(params, operator)
        arrays, rest = eqx.partition(params, eqx.is_inexact_array)
        if ahead is None:
            step, first = base.update(updates, state.optimiser, arrays, **extra_args)
            own = None
        else:
            step, own = ahead.update(updates, state.lookahead, arrays, **extra_args)
            first = state.optimiser
        there = operator(eqx.combine(optax.apply_updates(arrays, step), rest))
        if jax.tree.structure(there) != jax.tree.structure(updates):
            raise ValueError(
                f"operator gives {jax.tree.structure(there)} and grads are {jax.tree.structure(updates)}: both are "
                "operator(params), at two points"
            )
        found, last = base.update(there, first, arrays, **extra_args)
        return found, ExtragradientState(last, own)

    return optax.GradientTransformationExtraArgs(init, update)


def batches(
    key: Key, n: int, batch_size: int = 1, *, order: orders.Order = "reshuffle", epoch: int
) -> Iterator[Int[np.ndarray, " b"]]:
    """Draw the batches of indices of one epoch, for a Python training loop.

    They are the draws that `tl.solve` makes for a method of this order under the same key, epoch by epoch: a loop
    begun again at any epoch repeats them.

    **Arguments**: `key` of the run; `n`, the number of samples; `batch_size` b, from 1 to n; `order`, one of
    `orders.ORDERS`; `epoch`, 0, 1, ....

    **Returns** an iterator over int32 arrays (b,), on the host; where b does not divide n, the last one is smaller (a
    compiled step is then compiled twice).

    **Raises** `ValueError` for a batch size out of range.

    **Source**: Emmanouilidis, Vidal, Loizou (2024), arXiv 2403.07148; tested against `tl.solve`.

        >>> import jax, theorylab as tl
        >>> [index.tolist() for index in tl.games.batches(jax.random.key(0), 5, 2, order="cyclic", epoch=0)]
        [[0, 1], [2, 3], [4]]
    """
    if isinstance(batch_size, bool) or not isinstance(batch_size, int) or not 1 <= batch_size <= n:
        raise ValueError(f"batch_size = {batch_size!r} must be an integer from 1 to n = {n}")
    if epoch < 0:
        raise ValueError(f"epoch = {epoch} must be at least 0: it counts the epochs before this one")
    kept = orders.fixed(order, jax.random.split(keys.stream(key, "init"))[1], n)
    blocks = orders.groups(order, keys.step_key(key, epoch), n, kept, batch_size=batch_size)
    return (index for block in blocks for index in np.asarray(block))


def _check(params, operator):
    if params is None:
        raise ValueError("params is None: the look-ahead moves them; pass update(grads, state, params, operator=...)")
    if operator is None:
        raise ValueError(
            "operator is missing: pass update(grads, state, params, operator=...), the function params -> grads on the "
            "sample that grads came from"
        )
