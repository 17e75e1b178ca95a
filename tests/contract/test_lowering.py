"""Kernels that are no methods lower for accelerators, without a word from the host; methods do in `test_methods.py`."""

import equinox as eqx
import jax
import jax.numpy as jnp
import optax
import pytest

from theorylab import diffusion, games, lowrank

KEY = jax.random.key(0)
SCHEDULE = diffusion.Schedule.linear_alpha(0.98, 0.95, 4)
ATTENTION = diffusion.SoftmaxAttention(*[0.3 * jnp.eye(3)] * 3)
POINTS, FLAT = jnp.ones((2, 5, 3)), jnp.ones((16, 3))
TOKENS = diffusion.MultiTokenMixture(jnp.eye(3), jnp.full(3, 1 / 3), active=2, noise=0.5)
MIXTURE = diffusion.GaussianMixture(jnp.eye(3), 0.25, jnp.full(3, 1 / 3))
L, R = jnp.ones((4, 2)), jnp.ones((3, 2))


def sensing(operator):
    y = jnp.ones(operator.measurements)
    return operator.factor_gradients(L, R, y, jnp.sign), operator.apply(L @ R.T), operator.adjoint(y), operator.gain()


def optimised(x):
    optimiser = games.extragradient_optimiser(optax.sgd(0.1))
    return optimiser.update(x, optimiser.init(x), x, operator=jnp.sin)


def mixture(means):
    return diffusion.GaussianMixture(means, 0.25, jnp.full(3, 1 / 3), latent="shared")


KERNELS = {
    "level_risks": (lambda m: diffusion.level_risks(m, POINTS, SCHEDULE, KEY), ATTENTION),
    "bayes_denoiser": (lambda means: diffusion.bayes_denoiser(mixture(means), SCHEDULE)(POINTS[0], 1), jnp.eye(3)),
    "oracle_denoiser": (lambda x: diffusion.oracle_denoiser(TOKENS, SCHEDULE)(x, 1, jnp.zeros(5, int)), POINTS[0]),
    "mode_proportions": (lambda x: diffusion.mode_proportions(x, lambda x: MIXTURE.posterior(x, 1.0)), FLAT),
    "moment_errors": (lambda x: diffusion.moment_errors(x, jnp.ones(3), jnp.eye(3)), FLAT),
    "gaussian_wasserstein": (lambda C: diffusion.gaussian_wasserstein(C[0], C, C[1], C), jnp.eye(3)),
    "sample_ancestral": (lambda m: diffusion.sample_ancestral(m, SCHEDULE, POINTS, KEY), ATTENTION),
    "sample_ddim": (lambda m: diffusion.sample_ddim(m, SCHEDULE, POINTS, KEY, eta=0.5), ATTENTION),
    "sample_flow": (lambda m: diffusion.sample_flow(m, SCHEDULE, POINTS, steps=2), ATTENTION),
    "sample_sde": (lambda m: diffusion.sample_sde(m, SCHEDULE, POINTS, KEY, steps=2), ATTENTION),
    "DiT": (lambda x: diffusion.DiT((5, 3), width=4, depth=1, heads=1, key=KEY)(x, 1), POINTS[0]),
    "mmd": (lambda x: diffusion.mmd(x, x + 1), FLAT),
    "sliced_wasserstein": (lambda x: diffusion.sliced_wasserstein(x, x + 1, KEY), FLAT),
    "frechet_distance": (lambda x: diffusion.frechet_distance(x, x + 1), FLAT),
    "GaussianSensing": (sensing, lowrank.GaussianSensing(KEY, (4, 3), 8)),
    "RankOneSensing": (sensing, lowrank.RankOneSensing(KEY, (4, 3), 8)),
    "EntrySampling": (sensing, lowrank.EntrySampling(KEY, (4, 3), 8)),
    "IdentitySensing": (sensing, lowrank.IdentitySensing((4, 3))),
    "LinearSensing": (sensing, lowrank.LinearSensing(lambda X: jnp.sum(X, axis=1), (4, 3))),
    "truncated_spectral_init": (
        lambda y: lowrank.truncated_spectral_init(lowrank.SensingProblem(lowrank.IdentitySensing((4, 3)), y), 2),
        jnp.ones(12),
    ),
    "lora_flow": (lambda D: lowrank.lora_flow(D, R.T, jnp.zeros((4, 2)), jnp.ones(1)), jnp.ones((4, 3))),
    "two_layer_lora_flow": (
        lambda W: lowrank.two_layer_lora_flow(W, W, 2 * W, (W[:1], W[:, :1], W[:1], W[:, :1]), jnp.ones(1)).loss,
        jnp.eye(3),
    ),
    "scalar_lora_flow": (lambda d: lowrank.lora.scalar_lora_flow(d, 1.0, 1.5, 0.1, 0.1, jnp.ones(1)), jnp.asarray(2.0)),
    "spectral_init": (lambda W: lowrank.spectral_init(W, W, 2 * W, 2, 0.1), jnp.eye(3)),
    "LoraLinear": (
        lambda x: lowrank.lora.LoraLinear(eqx.nn.Linear(3, 4, key=KEY, dtype=x.dtype), x[None], jnp.ones((4, 1)))(x),
        jnp.ones(3),
    ),
    "local_constants": (
        lambda W: lowrank.local_constants(W, W, lambda X: jnp.sum((X - jnp.eye(3)) ** 2) / 2, mu=1.0, lipschitz=1.0),
        0.5 * jnp.eye(3),
    ),
    "natural_residual": (
        lambda A: games.natural_residual(games.AffineGame(A, A[:, 0]), A[0, 0], 0.1),
        jnp.ones((4, 2, 2)),
    ),
    "AffineGame": (lambda A: games.AffineGame(A, A[:, 0]).operator(A[0, 0]), jnp.ones((4, 2, 2))),
    "min_max": (
        lambda c: games.min_max(lambda u, v, i, c: u * v - c[i] * v, 4, data=c).operator((c[0], c[1])),
        jnp.ones(4),
    ),
    "extragradient_optimiser": (optimised, jnp.ones(3)),
}


@pytest.mark.parametrize("kernel", KERNELS)
def test_it_lowers_without_the_host(kernel):
    fn, argument = KERNELS[kernel]
    exported = jax.export.export(jax.jit(fn), platforms=("cuda", "tpu"))(argument)
    assert "callback" not in exported.mlir_module()
