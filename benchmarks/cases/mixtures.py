"""The Bayes denoiser of a mixture whose tokens share one of sixteen components, against distances in PyTorch."""

import importlib.util
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from harness import Case, Entry, checked

import theorylab as tl

COMPONENTS, NOISE, LEVEL = 16, 0.5, 0.6


def data(batch: int, tokens: int, dim: int):
    """Means of norm about one, noised data points and the noise in them."""
    rng = np.random.default_rng(0)
    means = rng.normal(size=(COMPONENTS, dim)) / np.sqrt(dim)
    clean = means[rng.integers(COMPONENTS, size=batch)][:, None] + NOISE * rng.normal(size=(batch, tokens, dim))
    noise = rng.normal(size=clean.shape)
    x = np.sqrt(LEVEL) * clean + np.sqrt(1 - LEVEL) * noise
    return tuple(values.astype(np.float32) for values in (means, x, noise))


def theorylab_entry(means, x, noise):
    weights = np.full(COMPONENTS, 1 / COMPONENTS)
    mixture = tl.diffusion.GaussianMixture(jnp.asarray(means), NOISE**2, weights, latent="shared")
    schedule = tl.diffusion.Schedule.from_alphas(jnp.asarray([LEVEL], jnp.float32))
    model = tl.diffusion.bayes_denoiser(mixture, schedule)
    x, noise = jnp.asarray(x), jnp.asarray(noise)

    @jax.jit
    def risk(model, x, noise):
        return jnp.mean((jax.vmap(model, (0, None))(x, 0) - noise) ** 2)

    return lambda: float(risk(model, x, noise))


def torch_entry(means, x, noise):
    """As its documentation would have it: the distance of every token from every mean, summed over tokens."""
    torch: Any = importlib.import_module("torch")
    torch.set_num_threads(1)
    means, x, noise = (torch.from_numpy(values) for values in (means, x, noise))
    s2 = 1 - LEVEL + NOISE**2 * LEVEL

    @torch.inference_mode()
    def risk():
        centres = LEVEL**0.5 * means
        logits = -(torch.cdist(x, centres.expand(len(x), -1, -1)) ** 2).sum(1) / (2 * s2)
        guess = (1 - LEVEL) ** 0.5 / s2 * (x - (torch.softmax(logits, 1) @ centres)[:, None])
        return float(((guess - noise) ** 2).mean())

    return risk


def torch_sums_entry(means, x, noise):
    """The same algebra as ours: tokens summed first."""
    torch: Any = importlib.import_module("torch")
    torch.set_num_threads(1)
    means, x, noise = (torch.from_numpy(values) for values in (means, x, noise))
    s2, tokens = 1 - LEVEL + NOISE**2 * LEVEL, x.shape[1]

    @torch.inference_mode()
    def risk():
        centres = LEVEL**0.5 * means
        logits = (x.sum(1) @ centres.T - tokens / 2 * (centres**2).sum(1)) / s2
        guess = (1 - LEVEL) ** 0.5 / s2 * (x - (torch.softmax(logits, 1) @ centres)[:, None])
        return float(((guess - noise) ** 2).mean())

    return risk


DISTANCES = "PyTorch, cdist"


def make(batch: int, tokens: int, dim: int, quick: bool) -> dict[str, Entry]:
    arrays = data(batch // 8 if quick else batch, tokens, dim)
    solvers = {"theorylab": theorylab_entry(*arrays)}
    if importlib.util.find_spec("torch"):
        solvers |= {DISTANCES: torch_entry(*arrays), "PyTorch, tokens summed first": torch_sums_entry(*arrays)}
    return checked(solvers, 1e-4)  # float32 sums of millions of squares agree to a few in 1e5


CASES = [
    Case(
        name=f"mixture_bayes_{tokens}",
        room="diffusion",
        make=partial(make, batch, tokens, dim),
        work=lambda quick: 1.0,
        unit="risks",
        size=f"(batch, tokens, dim) = ({batch}, {tokens}, {dim}), {COMPONENTS} components, one for all tokens",
        dtype="float32",
        target={DISTANCES: 8.0},
        rounds=15,
        note="prediction and its mean squared error",
    )
    for batch, tokens, dim in ((1024, 64, 64), (8192, 16, 8))
]
