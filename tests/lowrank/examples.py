"""One valid call of each method and kernel of low-rank matrices."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

import theorylab as tl
from tests.contract.examples import Example, Kernel


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


METHODS = {
    tl.lowrank.FactorisedDescent: factorised_descent,
    tl.lowrank.PreconditionedSubgradient: preconditioned_subgradient,
}

KEY = jax.random.key(0)
L, R = jnp.arange(1.0, 9.0).reshape(4, 2) / 4, jnp.arange(6.0).reshape(3, 2) / 3
TARGET = jnp.asarray([[2.0, 1.0, 0.0], [0.0, 1.0, 0.5], [0.3, 0.0, 0.7]])


def _sensing(kind, *arguments):
    """All products of an operator, which is drawn in the precision of the factors."""

    def products(L, R):
        given = kind(*arguments)
        operator = jax.tree.map(lambda leaf: leaf.astype(L.dtype) if eqx.is_inexact_array(leaf) else leaf, given)
        y = operator.apply(L @ R.T)
        return operator.factor_gradients(L, R, y, jnp.tanh), y, operator.adjoint(y), operator.gain()

    return Kernel(products, (L, R))


def _row_sums(X):
    return jnp.sum(X, axis=1)


def _quadratic(W):
    return jnp.sum((W - jnp.eye(3, dtype=W.dtype)) ** 2) / 2


KERNELS = {
    "EntrySampling": _sensing(tl.lowrank.EntrySampling, KEY, (4, 3), 8),
    "GaussianSensing": _sensing(tl.lowrank.GaussianSensing, KEY, (4, 3), 8),
    "IdentitySensing": _sensing(tl.lowrank.IdentitySensing, (4, 3)),
    "LinearSensing": Kernel(
        lambda L, R: tl.lowrank.LinearSensing(_row_sums, (4, 3)).factor_gradients(L, R, L[:, 0], jnp.tanh), (L, R)
    ),
    "RankOneSensing": _sensing(tl.lowrank.RankOneSensing, KEY, (4, 3), 8),
    "imbalance": Kernel(),
    "imbalance_drift": Kernel(),
    "local_constants": Kernel(
        lambda W: tl.lowrank.local_constants(W, W, _quadratic, mu=1.0, lipschitz=1.0), (TARGET / 2,)
    ),
    "lora.LoraLinear": Kernel(
        lambda W, x: eqx.tree_at(
            lambda layer: layer.linear.weight,
            tl.lowrank.lora.LoraLinear(eqx.nn.Linear(3, 4, key=KEY, dtype=x.dtype), x[None], W[:, :1]),
            W,
        )(x),
        (jnp.ones((4, 3)), jnp.ones(3)),
    ),
    "lora.kernel_adapters": Kernel(),
    "lora.scalar_lora_flow": Kernel(heavy=True),
    "lora_flow": Kernel(heavy=True),
    "rescaled_factors": Kernel(),
    "sensing_loss": Kernel(heavy=True),
    "spectral_init": Kernel(
        lambda W1, W2, T: tl.lowrank.spectral_init(W1, W2, T, 2, 0.1), (TARGET, TARGET.T, 2 * TARGET)
    ),
    "truncated_spectral_init": Kernel(
        lambda y: tl.lowrank.truncated_spectral_init(
            tl.lowrank.SensingProblem(tl.lowrank.IdentitySensing((4, 3)), y), 2
        ),
        (jnp.arange(12.0),),
        smooth=False,  # a median truncates
    ),
    "two_layer_lora_flow": Kernel(heavy=True),
}

HOST = {
    "problem": "completion_problem corrupted_problem low_rank_matrix ridge_logistic_loss sensing_problem small_factors"
    " squared_loss",
    "rule": "at_minimum settled",
    "search": "robust_recovery",
    "surgery": "lora.adapters_only lora.merge_adapters lora.unmerge_adapters lorafy",
    "theory": "aligned_distance breakdown derived_contraction gaussian_constants "
    "imbalance_certificate late_loss late_rate lora.adapter_invariant lora.escape_time lora.final_losses "
    "lora.fine_tuning_misalignment lora.growth_rates lora.linear_phase lora.loss_rate lora.misalignment "
    "lora.rank_one_lora_flow lora.scalar_final_point lora.scalar_invariant measured_contraction "
    "restricted_constants samples_needed spectral_margin surplus_loss surplus_product surplus_rate surplus_rate_error",
}
"""Public functions that are no kernels."""
