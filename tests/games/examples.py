"""One valid call of each method and kernel of the games."""

from functools import partial

import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array

import theorylab as tl
from tests.contract.examples import Example, Kernel


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


METHODS = {
    tl.games.Extragradient: extragradient,
    tl.games.GradientDescentAscent: partial(single_step, tl.games.GradientDescentAscent),
    tl.games.HamiltonianGradient: hamiltonian_gradient,
    tl.games.IndependentExtragradient: independent_extragradient,
    tl.games.OptimisticGradient: partial(single_step, tl.games.OptimisticGradient),
    tl.games.Richardson: richardson,
}

GAMES = jnp.stack([jnp.eye(2), 2 * jnp.eye(2), jnp.asarray([[1.0, 2.0], [-2.0, 1.0]])])


def _optimised(x):
    optimiser = tl.games.extragradient_optimiser(optax.sgd(0.1))
    return optimiser.update(x, optimiser.init(x), x, operator=jnp.sin)


KERNELS = {
    "squared_distance": Kernel(
        lambda A, x: tl.games.squared_distance(tl.games.AffineGame(A, A[:, 0]), x), (GAMES, GAMES[0, 0])
    ),
    "AffineGame": Kernel(lambda A: tl.games.AffineGame(A, A[:, 0]).operator(A[0, 0]), (GAMES,)),
    "extragradient_optimiser": Kernel(_optimised, (jnp.ones(3),)),
    "min_max": Kernel(
        lambda c: tl.games.min_max(lambda u, v, i, c: u * v - c[i] * v, 4, data=c).operator((c[0], c[1])),
        (jnp.arange(1.0, 5.0),),
    ),
    "natural_residual": Kernel(
        lambda A: tl.games.natural_residual(tl.games.AffineGame(A, A[:, 0]), A[0, 0], 0.1), (GAMES,)
    ),
}

HOST = {
    "constraint": "constraints.ball constraints.box constraints.l1 constraints.nonnegative constraints.simplex",
    "indices": "batches orders.fixed orders.groups orders.table",
    "name": "orders.check",
    "problem": "adversarial_logistic_game bilinear_game convex_concave_game quadratic_game quasi_monotone_game"
    " quasi_strongly_monotone_game robust_least_squares_game robust_logistic_game wgan_mean_game",
    "theory": "bias_expansion clt_covariance convergence_orders extragradient_bias stationary_expectation"
    " stationary_error stationary_moments step_sizes.affine step_sizes.constants step_sizes.decreasing"
    " step_sizes.double step_sizes.monotone step_sizes.strongly_monotone",
}
"""Public functions that are no kernels."""
