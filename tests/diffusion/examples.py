"""One valid call of each method and kernel of diffusion."""

import jax
import jax.numpy as jnp
import numpy as np

import theorylab as tl
from tests.contract.examples import Example, Kernel
from tests.engine.examples import gradient


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


METHODS = {tl.diffusion.Averaged: averaged}

KEY = jax.random.key(0)
POINTS, FLAT = jnp.sin(jnp.arange(30.0)).reshape(2, 5, 3), jnp.sin(jnp.arange(48.0) ** 2).reshape(16, 3)
COVARIANCE = jnp.asarray([[1.0, 0.3, 0.0], [0.3, 0.8, 0.1], [0.0, 0.1, 0.6]])


def _schedule(x):
    return tl.diffusion.Schedule.from_alphas(jnp.linspace(0.98, 0.95, 4, dtype=x.dtype))


def _attention(x):
    return tl.diffusion.SoftmaxAttention(*[0.3 * jnp.eye(3, dtype=x.dtype)] * 3)


def _mixture(means):
    weights = jnp.full(3, 1 / 3, means.dtype)
    return tl.diffusion.GaussianMixture(means, jnp.asarray(0.25, means.dtype), weights, latent="shared")


def _tokens(x):
    weights = jnp.full(3, 1 / 3, x.dtype)
    return tl.diffusion.MultiTokenMixture(jnp.eye(3, dtype=x.dtype), weights, active=2, noise=jnp.asarray(0.5, x.dtype))


KERNELS = {
    "DiT": Kernel(
        lambda x: tl.diffusion.DiT((5, 3), width=4, depth=1, heads=1, key=KEY)(x, 1), (POINTS[0],), heavy=True
    ),
    "attention_population_limit": Kernel(),
    "attention_errors": Kernel(smooth=False),
    "attention_weights": Kernel(),
    "bayes_denoiser": Kernel(
        lambda means, x: tl.diffusion.bayes_denoiser(_mixture(means), _schedule(x))(x, 1), (COVARIANCE, POINTS[0])
    ),
    "convert": Kernel(),
    "denoising_loss": Kernel(lambda x: tl.diffusion.denoising_loss(_attention(x), x, _schedule(x), key=KEY), (POINTS,)),
    "diffuse": Kernel(),
    "frechet_distance": Kernel(lambda x: tl.diffusion.frechet_distance(x, x[::-1] ** 2 + x), (FLAT,)),
    "gaussian_wasserstein": Kernel(lambda C: tl.diffusion.gaussian_wasserstein(C[0], C, C[1], C @ C), (COVARIANCE,)),
    "level_risks": Kernel(
        lambda x: tl.diffusion.level_risks(_attention(x), x, _schedule(x), KEY), (POINTS,), heavy=True
    ),
    "mean_denoising_gain": Kernel(),
    "mmd": Kernel(lambda x: tl.diffusion.mmd(x, x[::-1] ** 2, bandwidth=1.0), (FLAT,)),  # a median has corners
    "mode_proportions": Kernel(
        lambda x: tl.diffusion.mode_proportions(x, lambda x: _mixture(jnp.eye(3, dtype=x.dtype)).posterior(x, 1.0)),
        (FLAT,),
        smooth=False,  # counts
    ),
    "moment_errors": Kernel(lambda x, C: tl.diffusion.moment_errors(x, C[0], C), (FLAT, COVARIANCE)),
    "oracle_denoiser": Kernel(
        lambda x: tl.diffusion.oracle_denoiser(_tokens(x), _schedule(x))(x, 1, jnp.zeros(5, int)), (POINTS[0],)
    ),
    "pattern_alignment": Kernel(),
    "pattern_scores": Kernel(),
    "same_pattern_mass": Kernel(),
    "sample_ancestral": Kernel(
        lambda x: tl.diffusion.sample_ancestral(_attention(x), _schedule(x), x, KEY), (POINTS,), heavy=True
    ),
    "sample_ddim": Kernel(
        lambda x: tl.diffusion.sample_ddim(_attention(x), _schedule(x), x, KEY, eta=0.5), (POINTS,), heavy=True
    ),
    "sample_flow": Kernel(
        lambda x: tl.diffusion.sample_flow(_attention(x), _schedule(x), x, steps=2), (POINTS,), heavy=True
    ),
    "sample_sde": Kernel(
        lambda x: tl.diffusion.sample_sde(_attention(x), _schedule(x), x, KEY, steps=2), (POINTS,), heavy=True
    ),
    "sliced_wasserstein": Kernel(
        lambda x: tl.diffusion.sliced_wasserstein(x, x[::-1] ** 2, KEY, projections=4), (FLAT,)
    ),
}

HOST = {
    "draws": "counter_normal draw_levels orthogonal_patterns",
    "loop": "fit",
    "theory": "bayes_risk first_gradient ideal_risk ideal_scales initial_risk initial_scales limit_first_gradient"
    " oracle_risk oracle_start scale_contraction score_error tokens_required",
    "wrapper": "reparametrise",
}
"""Public functions that are no kernels."""
