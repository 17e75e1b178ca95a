"""One small, smooth and noisy example of every method: what the contract tests run."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array

import theorylab as tl


@dataclass(frozen=True, kw_only=True)
class Example:
    """A method with something to work on, all of it in one precision.

    `method(**arguments)` builds it; only the hyper-parameter of `over` has no default. `problem(scale)` gives problems
    of one shape, whose data depend on `scale`. `over`: one hyper-parameter and three good values, in which a run is
    smooth. `bad`: arguments of `method` (or `x0`), that of `over` among them, each with a value that must be refused
    under its name.
    """

    method: Callable[..., tl.Method]
    problem: Callable[[float], Any]
    x0: Any
    over: Mapping[str, np.ndarray]
    bad: Mapping[str, Any]
    promotion: Literal["strict", "standard"] = "strict"

    @property
    def axis(self) -> str:
        (name,) = self.over
        return name

    @property
    def values(self) -> np.ndarray:
        return self.over[self.axis]

    def build(self, key: Array, **hyper: Any) -> tuple:
        """For `tl.sweep`."""
        del key
        return self.method(**hyper), self.problem(1.0), self.x0


class NoisyQuartic(eqx.Module):
    """The loss |x - target|^4 + <x, draw>, which has a gradient that depends on the step's key."""

    target: Array

    def loss(self, x: Array, key: Array) -> Array:
        draw = jax.random.normal(key, x.shape, x.dtype)
        return jnp.sum((x - self.target) ** 4) + 0.1 * jnp.sum(draw * x)


def _affine_game(dtype: str, scale: float) -> tl.games.AffineGame:
    """Three rotations of the plane with friction, and offsets that do not cancel."""
    matrices = jnp.asarray([[[1, 2], [-2, 1]], [[2, 1], [-1, 0.5]], [[0.5, -1], [1, 1]]], dtype)
    return tl.games.AffineGame(scale * matrices, jnp.asarray([[1, 0], [0, -1], [2, 1]], dtype))


def _pull(i: Array, x: dict[str, Array], targets: Array) -> dict[str, Array]:
    """A min-max game on a pytree: u is pulled to a target, v against u."""
    return {"u": x["u"] - targets[i] + jnp.tanh(x["v"]), "v": x["v"] - jnp.sum(x["u"], keepdims=True)}


def extragradient(dtype: str) -> Example:
    def method(step_size, extrapolation_step=0.1, order="once"):  # the order whose state holds a permutation
        return tl.games.Extragradient(step_size, extrapolation_step, order=order)

    return Example(
        method=method,
        problem=lambda scale: _affine_game(dtype, scale),
        x0=jnp.asarray([3, -1], dtype),
        over={"step_size": np.asarray([0.02, 0.05, 0.1], dtype)},
        bad={"step_size": 0.0, "extrapolation_step": -0.1, "order": "reshuffel", "x0": jnp.zeros(3, dtype)},
    )


def single_step(kind: type, dtype: str) -> Example:
    """A method with one step size and an order, on a pytree of two players."""

    def problem(scale):
        return tl.games.FiniteSum(_pull, 3, data=jnp.asarray([[1, 2], [-1, 0], [3, 1]], dtype) * scale)

    return Example(
        method=lambda step_size, order="reshuffle": kind(step_size, order=order),
        problem=problem,
        x0={"u": jnp.asarray([1, -1], dtype), "v": jnp.asarray([2], dtype)},
        over={"step_size": np.asarray([0.02, 0.05, 0.1], dtype)},
        bad={"step_size": float("nan"), "order": "twice", "x0": jnp.zeros(3, dtype)},
    )


def independent_extragradient(dtype: str) -> Example:
    def method(step_size, extrapolation_step=0.1, order="flipflop", batch_size=2):  # the last group is smaller
        return tl.games.IndependentExtragradient(step_size, extrapolation_step, order=order, batch_size=batch_size)

    return Example(
        method=method,
        problem=lambda scale: _affine_game(dtype, scale),
        x0=jnp.asarray([3, -1], dtype),
        over={"step_size": np.asarray([0.02, 0.05, 0.1], dtype)},
        bad={"step_size": 0.0, "extrapolation_step": -0.1, "batch_size": 0, "x0": jnp.zeros(3, dtype)},
    )


def hamiltonian_gradient(dtype: str) -> Example:
    def method(scale, exponent=0.5, order="cyclic"):  # a schedule: the state counts updates
        return tl.games.HamiltonianGradient(tl.games.Power(scale, exponent), order=order)

    return Example(
        method=method,
        problem=lambda scale: _affine_game(dtype, scale),
        x0=jnp.asarray([3, -1], dtype),
        over={"scale": np.asarray([0.01, 0.02, 0.05], dtype)},
        bad={"scale": 0.0, "exponent": -1.0, "order": "random", "x0": jnp.zeros(3, dtype)},
    )


def richardson(dtype: str) -> Example:
    def method(step_size, multipliers=(1, 2), coupling="independent", noise_site="oracle_step"):
        inner = tl.games.GradientDescentAscent(step_size, noise_site=noise_site)
        return tl.games.Richardson(inner, multipliers, coupling, average=True)

    return Example(
        method=method,
        problem=lambda scale: _affine_game(dtype, scale),
        x0=jnp.asarray([3, -1], dtype),
        over={"step_size": np.asarray([0.02, 0.05, 0.1], dtype)},
        bad={
            "step_size": -1.0,
            "multipliers": (1, 1),
            "coupling": "both",
            "noise_site": "somewhere",
            "x0": jnp.zeros(3, dtype),
        },
    )


def gradient(dtype: str) -> Example:
    def method(learning_rate, b1=0.8):
        return tl.Gradient(optax.adam, learning_rate=learning_rate, b1=b1)

    return Example(
        method=method,
        problem=lambda scale: NoisyQuartic(jnp.asarray([1, -2], dtype) * scale),
        x0=jnp.asarray([0.5, 0.5], dtype),
        over={"learning_rate": np.asarray([0.02, 0.05, 0.1], dtype)},
        bad={"learning_rate": -0.1},
        promotion="standard",  # Optax's adam is not clean under strict promotion
    )


def preconditioned_subgradient(dtype: str) -> Example:
    def method(damping, step="polyak", decay=None, step_size=None, loss="absolute", preconditioner="gram"):
        return tl.lowrank.PreconditionedSubgradient(
            damping, step, decay, step_size=step_size, loss=loss, preconditioner=preconditioner
        )

    def problem(scale):
        key = jax.random.key(0)
        given = tl.lowrank.sensing_problem(key, shape=(4, 3), true_rank=1, measurements=60, outliers=0.1)
        part = jax.tree.map(lambda leaf: leaf.astype(dtype), given)
        return tl.lowrank.SensingProblem(part.operator, part.observations * scale, solution=part.solution * scale)

    return Example(
        method=method,
        problem=problem,
        x0=(jnp.asarray([[1, 0], [0, 1], [1, 1], [0, 2]], dtype), jnp.asarray([[1, 1], [0, -1], [2, 0]], dtype)),
        over={"damping": np.asarray([0.3, 0.5, 0.8], dtype)},
        bad={
            "damping": -0.1,
            "step": "newton",
            "decay": 0.9,
            "step_size": 0.1,
            "loss": "cubed",
            "preconditioner": "all",
            "x0": (jnp.zeros((3, 2), dtype), jnp.zeros((4, 2), dtype)),
        },
    )


def _log_cosh(W: Array, target: Array) -> Array:
    """A loss whose curvature lies between one half and three halves."""
    gap = W - target
    return jnp.sum(jnp.logaddexp(gap, -gap)) + jnp.sum(gap**2) / 4


def factorised_descent(dtype: str) -> Example:
    def method(step_size, rule="local", exponent=1.5):  # a bound that grows: the state holds it
        return tl.lowrank.FactorisedDescent(step_size, rule, exponent=exponent)

    def problem(scale):
        target = jnp.asarray([[2, -1], [1, 1], [0, 3]], dtype) * scale
        half = jnp.asarray(0.5, dtype)
        return tl.lowrank.MatrixLoss(jax.tree_util.Partial(_log_cosh, target=target), mu=half, lipschitz=3 * half)

    return Example(
        method=method,
        problem=problem,
        x0=(
            jnp.asarray([[1, 0, 0.5], [0, 1, 0.2], [0.3, -0.4, 1]], dtype),
            jnp.asarray([[0.5, 0, 0.1], [0.1, 0.5, 0]], dtype),
        ),
        over={"step_size": np.asarray([0.005, 0.01, 0.02], dtype)},
        bad={"step_size": 0.0, "rule": "loca", "exponent": 1.0, "x0": jnp.zeros(3, dtype)},
    )


def averaged(dtype: str) -> Example:
    inner = gradient(dtype)

    def method(decay):
        return tl.diffusion.Averaged(inner.method(inner.values[0]), decay)

    return Example(
        method=method,
        problem=inner.problem,
        x0=inner.x0,
        over={"decay": np.asarray([0.5, 0.8, 0.9], dtype)},
        bad={"decay": 1.0},
        promotion=inner.promotion,
    )


EXAMPLES: dict[type[tl.Method], Callable[[str], Example]] = {
    tl.Gradient: gradient,
    tl.diffusion.Averaged: averaged,
    tl.games.Extragradient: extragradient,
    tl.games.GradientDescentAscent: partial(single_step, tl.games.GradientDescentAscent),
    tl.games.HamiltonianGradient: hamiltonian_gradient,
    tl.games.IndependentExtragradient: independent_extragradient,
    tl.games.OptimisticGradient: partial(single_step, tl.games.OptimisticGradient),
    tl.games.Richardson: richardson,
    tl.lowrank.FactorisedDescent: factorised_descent,
    tl.lowrank.PreconditionedSubgradient: preconditioned_subgradient,
}
