"""What the engine runs: a method is a thin class over pure kernels, a problem is whatever its method needs."""

import abc
from collections.abc import Callable, Mapping
from typing import Any, ClassVar, Literal

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jaxtyping import Array, ArrayLike, PRNGKeyArray, PyTree

from ..numerics.checked import Key


class Method(eqx.Module):
    """An iteration `state -> step(problem, state, key)`, with its hyper-parameters as array fields.

    Array fields are leaves: they can be swept, differentiated and traced. Static fields choose code. A subclass writes
    `init` and `step`, and `readout` when the state's answer is not its field `x`.
    The state is a fixed point of `step`: same structure, shapes and dtypes, before and after.

    **Source**: derived here.

    **Example**

        >>> import jax, jax.numpy as jnp, theorylab as tl
        >>> class Halve(tl.Method):
        ...     def init(self, problem, key, x0=None):
        ...         return tl.engine.State(tl.engine.start(problem, key, x0))
        ...     def step(self, problem, state, key):
        ...         return tl.engine.State(state.x / 2)
        >>> float(tl.solve(Halve(), None, jnp.asarray(8.0), key=jax.random.key(0), steps=3).value)
        1.0
    """

    lanes: ClassVar[Literal["vmap", "map"]] = "vmap"
    """How lanes that share a problem run: together (`"vmap"`), or one by one (`"map"`, for a step that is heavy
    by itself or holds a loop of unequal length)."""

    cites: ClassVar[tuple[str, ...]] = ()
    """What a final class comes from, for `tl.cite`: slugs of papers, BibTeX entries of works that are none."""

    @abc.abstractmethod
    def init(self, problem: Any, key: PRNGKeyArray, x0: PyTree | None = None) -> Any:
        """The state before the first step; `x0=None` asks the problem (see `start`)."""

    @abc.abstractmethod
    def step(self, problem: Any, state: Any, key: PRNGKeyArray) -> Any:
        """One outer iteration; the driver gives step `t` the key `fold_in(stream(key, "step"), t)`."""

    def readout(self, problem: Any, state: Any) -> PyTree:
        """What the user asked for."""
        del problem
        return state.x

    def requires(self) -> Mapping[str, Array | bool]:
        """Conditions on the hyper-parameters: a sentence that names the argument, its value and the cure, and its
        truth.

        A false one raises when the method is built from numbers; in a sweep it gives the lane the status `invalid`.
        """
        return {}

    def __check_init__(self) -> None:
        if any(isinstance(leaf, Tracer) for leaf in jax.tree.leaves(self)):
            return
        for sentence, truth in self.requires().items():
            if not np.all(truth):
                raise ValueError(f"{type(self).__name__}: {sentence}")


class State(eqx.Module):
    """The smallest state: the iterate and nothing else.

    **Arguments**: `x`, a pytree of arrays.

    **Source**: derived here.

        >>> import jax.numpy as jnp, theorylab as tl
        >>> tl.engine.State(jnp.zeros(3)).x.shape
        (3,)
    """

    x: PyTree[Array]


def as_structure(function: Callable) -> Any:
    """A function as a pytree: a plain one is no array, and as a `Partial` it passes through jit with its owner.

    **Arguments**: `function`; an `eqx.Module` or a `Partial`, whose arrays are leaves already, stays as it is.

    **Returns** a callable pytree.

    **Source**: derived here.

        >>> import jax, theorylab as tl
        >>> jax.tree.leaves(tl.engine.as_structure(abs))
        []
    """
    return function if isinstance(function, eqx.Module | jax.tree_util.Partial) else jax.tree_util.Partial(function)


def hyperparameter(value: ArrayLike | Callable) -> Any:
    """A hyper-parameter as a leaf, to be swept or differentiated: a number as an array, a schedule as a pytree.

    A Python number stays weakly typed, so that it takes the dtype of what it meets.

    **Arguments**: `value`, a number, an array, or a schedule (any function).

    **Returns** an array or a callable pytree.

    **Source**: derived here.

        >>> import jax.numpy as jnp, theorylab as tl
        >>> (tl.engine.hyperparameter(2) * jnp.ones((), jnp.bfloat16)).dtype
        dtype(bfloat16)
    """
    return as_structure(value) if callable(value) else jnp.asarray(float(value) if isinstance(value, int) else value)


def start(problem: Any, key: Key, x0: PyTree | None) -> PyTree[Array]:
    """The first iterate as arrays: `x0`, or `problem.initial(key)` when `x0` is None.

    **Arguments**: `problem`; `key`, a key or a seed; `x0`, a pytree of arrays or numbers, or None.

    **Returns** a pytree of arrays.

    **Raises** `ValueError` when there is neither.

    **Source**: derived here.

        >>> import jax, theorylab as tl
        >>> tl.engine.start(None, jax.random.key(0), [1.0, 2.0])[1].shape
        ()
    """
    if x0 is None:
        if not hasattr(problem, "initial"):
            raise ValueError(
                f"x0 is None and {type(problem).__name__} has no `initial(key)`: pass x0, the point to start from"
            )
        x0 = problem.initial(key)
    return jax.tree.map(jnp.asarray, x0)
