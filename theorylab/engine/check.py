"""What the engine asks of a method, tried on one problem."""

from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import PyTree

from ..numerics.arrays import check_kept
from ..numerics.checked import Key
from .keys import step_key, stream
from .method import Method
from .solve import solve

STEPS = 4


def check_method(method: Method, problem: Any, x0: PyTree | None = None, *, key: Key = 0) -> None:
    r"""Check that a method keeps what the engine asks of it, on a problem of your choice, and name what it breaks.

    In this order: hyper-parameters, problem and start may be traced; the state is a fixed point of `step`; `readout`
    gives arrays; all draws come from the key; lanes under `vmap` are the lanes of a loop; `solve` gives the same whole,
    in chunks, and resumed, so that all that a step remembers is in the state.

    **Arguments**: `method`; `problem`, a small one, since four steps run some ten times; `x0`, a start, which a problem
    with `initial` need not have; `key`, a key or a seed.

    **Returns** None, where every promise holds.

    **Raises** `TypeError` or `ValueError` for the first promise that does not hold, with the cure.

        >>> import jax.numpy as jnp, theorylab as tl
        >>> class Halve(tl.Method):
        ...     def init(self, problem, key, x0=None):
        ...         return tl.engine.State(tl.engine.start(problem, key, x0))
        ...     def step(self, problem, state, key):
        ...         return tl.engine.State(state.x / 2 if state.x > 1 else state.x)
        >>> tl.engine.check_method(Halve(), None, jnp.asarray(8.0))
        Traceback (most recent call last):
        TypeError: Halve.step does not trace: ... Use jnp.where, lax.cond or lax.while_loop ...
    """
    if not isinstance(method, Method):
        raise TypeError(
            f"method is a {type(method).__name__}: it must be an instance of a subclass of theorylab.Method"
        )
    name = type(method).__name__
    _check_state(name, method, problem, x0, key)
    run = _runs(name, method, problem, x0, key)
    _check_lanes(name, method, problem, x0, key, run)
    _check_solve(name, method, problem, x0, key)


def _check_state(name: str, method: Method, problem: Any, x0: PyTree, key: Any) -> None:
    def first(given):
        method, problem, x0 = given
        return method.init(problem, key, x0)

    def following(given, state):
        return given[0].step(given[1], state, key)

    def answer(given, state):
        return given[0].readout(given[1], state)

    given = method, problem, x0
    before = _traced(f"{name}.init", first, given)
    odd = [leaf for leaf in jax.tree.leaves(before) if not isinstance(leaf, jax.ShapeDtypeStruct)]
    if odd:
        raise TypeError(f"{name}.init returns {odd[0]!r} in its state: every leaf of a state must be an array")
    after = _traced(f"{name}.step", following, given, before)
    check_kept(f"{name}.step", before, after)
    values = [_traced(f"{name}.readout", answer, given, state) for state in (before, after)]
    leaves = jax.tree.leaves(values)
    if not leaves or not all(isinstance(leaf, jax.ShapeDtypeStruct) for leaf in leaves):
        raise TypeError(f"{name}.readout returns {values[0]!r}: it must return arrays, what the user asked for")


def _traced(name: str, function: Callable, *given: Any) -> Any:
    """The shapes that a function returns, with every array that it is given traced."""
    try:
        return eqx.filter_eval_shape(function, *given)
    except (jax.errors.ConcretizationTypeError, jax.errors.TracerArrayConversionError) as error:
        raise TypeError(
            f"{name} does not trace: it asks for the value of an array that a compiled program has not yet"
            f" ({type(error).__name__}). Use jnp.where, lax.cond or lax.while_loop in the place of if and while, and"
            " jax.numpy in the place of numpy, float and int."
        ) from error
    except AttributeError as error:
        raise TypeError(
            f"{name} fails: {error}. The default readout returns state.x: write readout where the state has no x"
        ) from error


def _loop(method: Method, problem: Any, x0: PyTree, key: Any) -> PyTree:
    first = method.init(problem, stream(key, "init"), x0)
    last = jax.lax.fori_loop(0, STEPS, lambda t, state: method.step(problem, state, step_key(key, t)), first)
    return method.readout(problem, last)


def _runs(name: str, method: Method, problem: Any, x0: PyTree, key: Any) -> Callable:
    """The loop of steps, compiled, once two that were traced apart agree."""
    one, other = (eqx.filter_jit(lambda *given: _loop(*given)) for _ in range(2))  # pyright: ignore[reportCallIssue]
    if not _equal(one(method, problem, x0, key), other(method, problem, x0, key)):
        raise ValueError(
            f"{name} gives two answers for one key: draw with jax.random from the key that init and step receive, not"
            " from numpy.random, random or a counter of Python's"
        )
    return one


def _check_lanes(name: str, method: Method, problem: Any, x0: PyTree, key: Any, run: Callable) -> None:
    keys = jax.random.split(key, 2)
    arrays, rest = eqx.partition(method, eqx.is_array)
    lanes = jax.tree.map(lambda leaf: jnp.stack([leaf, leaf]), arrays)
    try:
        found = jax.vmap(lambda arrays, key: run(eqx.combine(arrays, rest), problem, x0, key))(lanes, keys)
    except Exception as error:
        raise TypeError(f"{name} runs alone and not under vmap, as lanes of a sweep do: {error}") from error
    for lane, key in enumerate(keys):
        pairs = zip(jax.tree.leaves(found), jax.tree.leaves(run(method, problem, x0, key)), strict=True)
        for x, alone in ((x[lane], alone) for x, alone in pairs):
            if not np.allclose(x, alone, rtol=0, atol=_rounding(alone), equal_nan=True):
                raise ValueError(
                    f"{name}: a lane under vmap differs from the same run alone by {np.abs(x - alone).max():.1e}: no"
                    " lane may read another"
                )


def _check_solve(name: str, method: Method, problem: Any, x0: PyTree, key: Any) -> None:
    whole = solve(method, problem, x0, key=key, steps=STEPS)
    chunked = solve(method, problem, x0, key=key, steps=STEPS, chunk=1)
    first = solve(method, problem, x0, key=key, steps=STEPS // 2)
    resumed = solve(method, problem, key=key, steps=STEPS - STEPS // 2, state=first)
    for found, how in ((chunked, "in chunks of one step"), (resumed, "resumed after half of its steps")):
        if not _equal(whole.value, found.value):
            raise ValueError(f"{name} ends elsewhere {how}: keep in the state all that a step must remember")


def _equal(one: PyTree, other: PyTree) -> bool:
    return all(np.array_equal(x, y, equal_nan=True) for x, y in zip(*map(jax.tree.leaves, (one, other)), strict=True))


def _rounding(x: Any) -> float:
    """A thousand roundings of numbers as large as these."""
    exact = not jnp.issubdtype(x.dtype, jnp.inexact)
    return 0.0 if exact else 1000 * float(jnp.finfo(x.dtype).eps) * float(jnp.max(jnp.abs(x), initial=0))
