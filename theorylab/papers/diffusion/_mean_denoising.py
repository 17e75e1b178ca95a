"""One layer of attention learns to denoise by means: the mixture, and every run of it as a lane of one sweep."""

import functools
from typing import Any, NamedTuple

import numpy as np

import theorylab.diffusion as diffusion
import theorylab.engine as tl

NOISE = 0.3
RANGES = {"all levels": (0.0, 1.0), "first 40 %": (0.0, 0.4), "last 40 %": (0.6, 1.0)}  # of the levels, in training


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


PAPER = (0.98, 0.95, 50)
SETTINGS = {
    # ten levels that end where the fifty of the paper do
    "small": Setting(16, 4, 32, (0.904, 0.774, 10), 6, 120, 6.0, (0.2, 0.04), 6, 20),
    # learning rate and batch are not given; the hour and a quarter of a core is extrapolated from 48 of its steps
    "paper": Setting(64, 8, 256, PAPER, 8, 20_000, 1.0, (0.1, 0.05, 0.01), 2, 200),
    "large": Setting(64, 8, 256, PAPER, 32, 20_000, 1.0, (0.1, 0.05, 0.01), 8, 800),
}


def weights_of(setting, rarest):
    """The first pattern has the weight `rarest`, the others share the rest."""
    return np.r_[rarest, np.full(setting.M - 1, (1 - rarest) / (setting.M - 1))]


def patterns_of(setting, rng):
    """Random orthogonal patterns of norm sqrt(d)."""
    return np.asarray(np.sqrt(setting.d) * np.linalg.qr(rng.standard_normal((setting.d,) * 2))[0][:, : setting.M].T,
                      np.float32)  # fmt: skip


def law(patterns, weights, active):
    return diffusion.MultiTokenMixture(patterns, np.asarray(weights, np.float32), active=active, noise=NOISE)


def tables(setting, patterns, many_weights):
    """Proportions (K, weights, subsets, M) of the active subsets, repeated up to as many for each K: lanes of any K."""
    import math

    import jax

    @jax.jit
    @jax.vmap
    def proportions(weights):
        return [diffusion.MultiTokenMixture(patterns, weights, active=K, noise=NOISE).proportions()
                for K in setting.active]  # fmt: skip

    each = [np.asarray(one) for one in proportions(np.asarray(many_weights, np.float32))]
    rows = math.lcm(*[one.shape[1] for one in each])
    return np.stack([np.tile(one, (1, rows // one.shape[1], 1)) for one in each])


def points(patterns, shares, like, key):
    """As many points as `like` has rows, with as many tokens as it has columns: a sampler for `DenoisingProblem`."""
    import jax.numpy as jnp

    # normal numbers for everything: a program that draws in three ways takes thrice as long to compile
    batch, tokens = like.shape
    drawn = diffusion.counter_normal(key, (batch, tokens + 1, patterns.shape[1] + 1))
    lots = 8 * drawn[..., -1] % 1  # uniform, to far below rounding
    ends = jnp.cumsum(shares, axis=1)[(lots[:, -1] * len(shares)).astype(int), :-1]
    labels = jnp.sum(lots[:, :-1, None] > ends[:, None], axis=-1)
    return patterns[labels] + NOISE * drawn[:, :-1, :-1]


def fresh(rng, patterns, shares, count, tokens):
    """New points, their labels and the noise of a level, to evaluate on."""
    ends = np.cumsum(shares, axis=1)[rng.integers(len(shares), size=count), None, :-1]
    labels = np.sum(rng.random((count, tokens, 1)) > ends, axis=-1)
    clean, noise = rng.standard_normal((2, count, tokens, patterns.shape[1]), np.float32)
    return patterns[labels] + np.float32(NOISE) * clean, labels, noise


def train(setting, patterns, key, *, shares, levels, v=1.0):
    """Gradient descent on fresh points from W = 0, over cases of `shares` and `levels` (weights of the levels)."""
    import jax.numpy as jnp
    import optax
    from jax.tree_util import Partial

    schedule, like = setting.schedule, jnp.zeros((setting.batch, setting.tokens))
    start = diffusion.MeanDenoisingAttention(jnp.zeros((setting.d, setting.d)), jnp.full(schedule.levels, v))

    shares, levels = jnp.asarray(shares), jnp.asarray(levels)

    def build(key, *, case):
        problem = diffusion.DenoisingProblem(
            start, Partial(points, patterns, shares[case], like), schedule, levels=levels[case], noise="counter"
        )
        return tl.Gradient(optax.sgd, learning_rate=setting.step_size / 2), problem

    record = tl.Record(
        tl.every(setting.steps // 8), W=lambda problem, state: state.x.W, v=lambda problem, state: state.x.v
    )
    over = {"case": jnp.arange(len(shares))}
    return tl.sweep(build, over=over, seeds=setting.seeds, key=key, steps=setting.steps, record=record, lanes="vmap")


@functools.cache
def evaluation():
    """A compiled function: risk, excess over the oracle, error of the output, mass, of one model at given levels."""
    import jax
    import jax.numpy as jnp

    @jax.jit
    def evaluate(Ws, vs, x0, labels, noise, patterns, alphas):
        schedule = diffusion.Schedule(alphas)
        law = diffusion.MultiTokenMixture(patterns, jnp.full(len(patterns), 1 / len(patterns)), active=1, noise=NOISE)
        oracle = diffusion.oracle_denoiser(law, schedule)  # it needs no weights
        t = jnp.arange(len(x0), dtype=jnp.int32) % schedule.levels
        x = diffusion.diffuse(x0, t, noise, schedule)

        def one(model, x, t, labels, noise):
            A = model.attention(x)
            attended, means = A @ x, jnp.sqrt(schedule.alpha_bar[t]) * patterns[labels]
            # written out, so that attention is computed once
            found = model.v[t] * (x - attended)
            return {
                "risk": jnp.mean((found - noise) ** 2),
                "excess": jnp.mean((found - oracle(x, t, labels)) ** 2),
                "mean_error": jnp.mean((attended - means) ** 2),
                "mass": diffusion.same_pattern_mass(A, labels),
            }

        def lane(pair):
            model = diffusion.MeanDenoisingAttention(*pair)
            return jax.vmap(lambda *point: one(model, *point))(x, t, labels, noise)

        return jax.lax.map(lane, (Ws, vs))

    return evaluate


def evaluate(W, v, patterns, drawn, schedule) -> Any:
    """What models of any leading axes do on new points: each value (*lanes, points)."""
    lanes = W.shape[:-2]
    found = evaluation()(W.reshape(-1, *W.shape[-2:]), v.reshape(-1, v.shape[-1]), *drawn, patterns, schedule.alphas)
    return {name: np.asarray(one).reshape(*lanes, -1) for name, one in found.items()}
