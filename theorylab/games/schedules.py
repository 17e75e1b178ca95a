"""Step sizes that change with the number of updates."""

from collections.abc import Callable, Mapping
from typing import Any

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Float, Shaped

from ..engine.method import hyperparameter


class Power(eqx.Module):
    r"""The schedule $\gamma_t = a\,(t + s)^{-p}$ in the number t of updates made so far.

    **Arguments**: `scale` a > 0, (); `exponent` p >= 0, (); `shift` s > 0, (): all leaves, to be swept or
    differentiated.

    **Source**: Robbins and Monro (1951); the constants of particular papers are in `step_sizes`.

        >>> import jax.numpy as jnp, theorylab as tl
        >>> rule = tl.games.Power(scale=0.5, exponent=1.0, shift=1.0)
        >>> float(rule(jnp.asarray(4)))
        0.1
    """

    scale: Float[Array, "*lanes"] = eqx.field(converter=hyperparameter)
    exponent: Float[Array, "*lanes"] = eqx.field(converter=hyperparameter, default=1.0)
    shift: Float[Array, "*lanes"] = eqx.field(converter=hyperparameter, default=1.0)

    def __call__(self, t: int | Shaped[Array, ""]) -> Float[Array, ""]:
        """The step size of update t, ()."""
        t = jnp.asarray(t, jnp.result_type(self.scale, self.exponent, self.shift))
        return self.scale * (t + self.shift) ** -self.exponent

    def requires(self) -> Mapping[str, Array | bool]:
        """What a method with this schedule requires: a positive scale and shift, an exponent that is not negative."""
        return {
            f"scale = {self.scale} must be positive and finite": jnp.isfinite(self.scale) & (self.scale > 0),
            f"exponent = {self.exponent} must be finite and >= 0, or steps grow": jnp.isfinite(self.exponent)
            & (self.exponent >= 0),
            f"shift = {self.shift} must be positive and finite, as t begins at 0": jnp.isfinite(self.shift)
            & (self.shift > 0),
        }


class Scaled(eqx.Module):
    """A schedule times a factor."""

    schedule: Callable
    factor: Float[Array, ""]

    def __call__(self, t: Shaped[Array, ""]) -> Float[Array, ""]:
        return self.factor * self.schedule(t)

    def requires(self) -> Mapping[str, Array | bool]:
        return requires(self.schedule)


def requires(value: Any) -> Mapping[str, Array | bool]:
    """What a schedule asks of its own numbers; nothing where it is any other function."""
    return value.requires() if hasattr(value, "requires") else {}


def scaled(value: Any, factor: float | Array) -> Any:
    """A step size, or a schedule of them, times a factor."""
    return Scaled(value, jnp.asarray(factor)) if callable(value) else value * factor
