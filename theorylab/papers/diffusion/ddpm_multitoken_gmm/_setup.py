"""What the experiments share: sizes, the mixture, fresh points of it, and what attention does on them."""

import functools
from typing import Any, NamedTuple

import numpy as np

import theorylab.diffusion as diffusion
from theorylab.papers import Size

NOISE = 0.3
SEEN, HERE = "Figure 2", "derived here"


class Setting(NamedTuple):
    """Sizes of a run; the step size is the paper's, whose loss is half of ours."""

    d: int
    M: int
    tokens: int
    alphas: tuple[float, float, int]
    batch: int
    steps: int
    step_size: float
    rarest: tuple[float, ...]
    seeds: int
    test: int  # points to evaluate on, a multiple of the levels

    @property
    def active(self) -> tuple[int, int, int]:
        return 1, self.M // 2, self.M

    @property
    def schedule(self) -> Any:
        return diffusion.Schedule.linear_alpha(*self.alphas)


ALPHAS = (0.98, 0.95, 50)
SETTINGS: dict[Size, Setting] = {
    # ten levels that end where the fifty of the paper do
    "small": Setting(16, 4, 32, (0.904, 0.774, 10), 8, 120, 6.0, (0.2, 0.04), 12, 20),
    # learning rate and batch are not given; the hour and a quarter of a core is extrapolated from 48 of its steps
    "paper": Setting(64, 8, 256, ALPHAS, 8, 20_000, 1.0, (0.1, 0.05, 0.01), 2, 200),
    "large": Setting(64, 8, 256, ALPHAS, 32, 20_000, 1.0, (0.1, 0.05, 0.01), 8, 800),
}


def weights_of(setting, rarest):
    """The first pattern has the weight `rarest`, the others share the rest."""
    return np.r_[rarest, np.full(setting.M - 1, (1 - rarest) / (setting.M - 1))]


def patterns_of(setting, rng):
    """Random orthogonal patterns of norm sqrt(d)."""
    square = np.linalg.qr(rng.standard_normal((setting.d, setting.d)))[0]
    return np.asarray(np.sqrt(setting.d) * square[:, : setting.M].T, np.float32)


def mixture_of(patterns, weights, active):
    return diffusion.MultiTokenMixture(patterns, np.asarray(weights, np.float32), active=active, noise=NOISE)


def fresh(rng, patterns, shares, count, tokens):
    """New points, their labels and the noise of a level, by NumPy, which compiles nothing."""
    ends = np.cumsum(shares, axis=1)[rng.integers(len(shares), size=count), None, :-1]
    labels = np.sum(rng.random((count, tokens, 1)) > ends, axis=-1)
    clean, noise = rng.standard_normal((2, count, tokens, patterns.shape[1]), np.float32)
    return patterns[labels] + np.float32(NOISE) * clean, labels, noise


@functools.cache
def _errors():
    import jax

    @jax.jit
    def errors(Ws, vs, mixture, schedule, t, x0, labels, noise):
        def lane(pair):
            model = diffusion.MeanDenoisingAttention(*pair)
            return diffusion.attention_errors(model, mixture, schedule, x0, labels, t=t, noise=noise)

        return jax.lax.map(lane, (Ws, vs))

    return errors


def errors_of(W, v, mixture, schedule, drawn) -> Any:
    """The `attention_errors` of models (lanes, ...) on points at all levels in turn, (lanes, points) each."""
    import jax

    t = np.arange(len(drawn[0]), dtype=np.int32) % schedule.levels
    return jax.tree.map(np.asarray, _errors()(W, v, mixture, schedule, t, *drawn))
