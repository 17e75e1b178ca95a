"""The companion model: matrices in front of tokens and of their mean, solved exactly; and when attention is found.

Risks are summed over the d entries of a token here.
"""

from typing import Any

import numpy as np

import theorylab.diffusion as diffusion
import theorylab.engine as tl
import theorylab.figures as figures
from theorylab.papers import Verdict, mean_and_error

ALPHA_BAR, NOISE, NORM = 0.6, 0.5, 3.0
TOKENS = (4, 8, 16, 32, 64, 128)
DESCENT = 300  # steps, at half of the largest stable size
STARTS = {  # whether the skip is free, w of W = w I, and whether S and V are the best ones without attention
    "fixed skip": (0.0, 0.0, 0.0),
    "free skip": (1.0, 0.0, 0.0),
    "free, from the linear best": (1.0, 0.0, 1.0),
    "the same, $W = 0.3 I$": (1.0, 0.3, 1.0),
}


def shared(count, d):
    """`count` orthogonal means, one for all tokens of a data point."""
    return diffusion.SharedMeanMixture(NORM * np.eye(count, d, dtype=np.float32), np.full(count, 1 / count), NOISE)


def run_companion(size, key):
    import jax
    import xarray

    law, d = shared(4, 8), 8
    zero = np.zeros((d, d), np.float32)
    step = [float(law.largest_stable_step(tokens, ALPHA_BAR)) / 2 for tokens in TOKENS]

    @jax.jit
    @jax.vmap
    def descend(tokens, step):
        best = law.linear_attention_optimum(tokens, ALPHA_BAR).risk
        run = law.population_gd(zero, zero, tokens=tokens, alpha_bar=ALPHA_BAR, step_size=step, steps=DESCENT)
        return run[1], best

    risks, best = descend(np.asarray(TOKENS), np.asarray(step, np.float32))
    predicted = [
        law.predicted_excess(
            zero, zero, tokens=tokens, alpha_bar=ALPHA_BAR, step_size=one, steps=np.arange(DESCENT + 1)
        )
        for tokens, one in zip(TOKENS, step, strict=True)
    ]
    rng = tl.keys.generator(key)
    oracle = float(law.oracle_risk(ALPHA_BAR))
    asked = [law.tokens_required(float(value) - oracle, ALPHA_BAR) for value in best]
    steps, batch, seeds = {"small": (1500, 256, 3), "paper": (6000, 1024, 8), "large": (6000, 8192, 32)}[size]
    lanes = np.asarray(list(STARTS.values()), np.float32)
    limits = attend(key, lanes, steps, batch, seeds)
    pair = shared(2, 4)  # for one token its Bayes risk is that of independent tokens
    return xarray.Dataset(
        {
            "risk": (("tokens", "step"), np.asarray(risks)),
            "excess_theory": (("tokens", "step"), predicted),
            "best": ("tokens", np.asarray(best)),
            "simulated": (("tokens", "point"), simulated(law, rng, {"small": 2000}.get(size, 20_000))),
            "asked": ("tokens", np.asarray(asked, float)),
            "oracle": oracle,
            "limit": (("seed", "start", "row"), limits),
            "pair_bayes": float(pair.bayes_risk(1, ALPHA_BAR).value),
            "pair_without": without(pair),
        },
        {"tokens": list(TOKENS), "start": list(STARTS), "iteration": ("row", np.linspace(0, steps, limits.shape[-1]))},
    )


def without(law) -> float:
    """The least risk of a linear map of each token beside the mean of all, infinitely many and independent."""
    m = np.asarray(law.weights, float) @ np.asarray(law.means, float)
    covariance = ALPHA_BAR * (np.asarray(law.second_moment(), float) - np.outer(m, m))
    s2 = 1 - ALPHA_BAR + NOISE**2 * ALPHA_BAR
    return float(len(m) - (1 - ALPHA_BAR) * np.trace(np.linalg.inv(covariance + s2 * np.eye(len(m)))))


def simulated(law, rng, count) -> Any:
    """The risk of the best linear attention on fresh points, for each number of tokens."""
    d, a, values = law.means.shape[1], ALPHA_BAR, []
    for tokens in TOKENS:
        best = law.linear_attention_optimum(tokens, a)
        means = np.asarray(law.means)[rng.integers(len(law.means), size=count), None]
        x0 = means + NOISE * rng.standard_normal((count, tokens, d), np.float32)
        noise = rng.standard_normal(x0.shape, np.float32)
        x = np.sqrt(a) * x0 + np.sqrt(1 - a) * noise
        found = x @ np.asarray(best.S).T + x.mean(1, keepdims=True) @ np.asarray(best.V).T
        values.append(((found - noise) ** 2).sum(-1).mean(-1))
    return values


def attend(key, lanes, steps, batch, seeds) -> Any:
    """The risks of softmax attention over infinitely many independent tokens of two patterns, by descent."""
    import jax
    import jax.numpy as jnp

    law, d, rows, s2 = shared(2, 4), 4, 20, 1 - ALPHA_BAR + NOISE**2 * ALPHA_BAR
    a, means = np.sqrt(1 - ALPHA_BAR) / s2, np.sqrt(ALPHA_BAR) * law.means

    mean = law.weights @ means
    gaps = means - mean[None]
    still = np.sqrt(1 - ALPHA_BAR) * jnp.linalg.inv((gaps * law.weights[:, None]).T @ gaps + s2 * jnp.eye(d))

    def loss(parts, key, batch):
        W, S, V = parts
        drawn = diffusion.counter_normal(key, (batch, 3, d))
        label = (drawn[:, 2, 0] > 0).astype(int)
        x = means[label] + np.sqrt(ALPHA_BAR) * NOISE * drawn[:, 0] + np.sqrt(1 - ALPHA_BAR) * drawn[:, 1]
        seen = jax.vmap(lambda q: diffusion.attention_population_limit(W, q, means=means, weights=law.weights,
                                                                       variance=s2))(x)  # fmt: skip
        return jnp.mean(jnp.sum((x @ S.T + seen @ V.T - drawn[:, 1]) ** 2, axis=-1))

    def run(key, lane):
        free, w, linear = lane
        W, S, V = diffusion.oracle_start(d, a, v=0.5, w=w)
        start = W, (1 - linear) * S + linear * still, (1 - linear) * V - linear * still

        def step(parts, t):
            slopes = jax.grad(loss)(parts, tl.keys.step_key(key, t), batch)
            rates = 0.02, 0.02 * free, 0.02
            return tuple(part - rate * slope for part, rate, slope in zip(parts, rates, slopes, strict=True)), None

        def stretch(parts, row):
            risk = loss(parts, tl.keys.stream(key, "test"), 2**14)
            return jax.lax.scan(step, parts, row * (steps // rows) + jnp.arange(steps // rows))[0], risk

        end, risks = jax.lax.scan(stretch, start, jnp.arange(rows))
        return jnp.append(risks, loss(end, tl.keys.stream(key, "test"), 2**14))

    keys = jax.random.split(key, seeds)
    return np.asarray(jax.jit(jax.vmap(jax.vmap(run, (None, 0)), (0, None)))(keys, lanes))


def plot_companion(dataset):
    figure, axes = figures.panels(3, height=4.4)
    excess = dataset.risk - dataset.best
    for tokens, colour in zip((4, 16, 128), figures.COLOURS, strict=False):
        one, theory = excess.sel(tokens=tokens), dataset.excess_theory.sel(tokens=tokens)
        figures.measured(axes[0], dataset.step, one.where(one > 1e-6), color=colour, label=f"$P = {tokens}$")
        figures.predicted(axes[0], dataset.step, theory)
    figures.predicted(axes[0], [], [], label="predicted")
    axes[0].set(yscale="log", ylim=(1e-6, None), title="descent: risk above the best", xlabel="step")
    figures.predicted(axes[1], dataset.tokens, dataset.best - dataset.oracle, label="exact")
    axes[1].plot(dataset.tokens, dataset.simulated.mean("point") - dataset.oracle, "o", label="simulated")
    axes[1].set(xscale="log", yscale="log", title="best linear attention: excess over the oracle", xlabel="tokens $P$")
    for start in dataset.start.values:
        figures.measured(axes[2], dataset.iteration, dataset.limit.sel(start=start), label=start)
    for level, name, style in ((dataset.pair_without, "linear", "-."), (dataset.pair_bayes, "Bayes", "--")):
        figures.predicted(axes[2], dataset.iteration, level, label=name, linestyle=style)
    axes[2].set(title="softmax attention, infinitely many tokens", xlabel="iteration")
    for panel in axes:
        figures.legend(panel)
    return figure


def check_descent(dataset):
    """The largest deviation of the risks from the closed form, in units of the rounding of the first risk."""
    gap = np.abs(dataset.risk - dataset.best - dataset.excess_theory).max()
    rounding = 100 * np.finfo(np.float32).eps * dataset.risk.isel(step=0).max()
    return Verdict.compare(gap, "<=", 0.0, rounding, quantity="largest deviation of a risk from the closed form")


def check_simulated(dataset):
    return Verdict.agree(dataset.simulated.transpose("point", ...), dataset.best, quantity="the risks of a token")


def check_asked(dataset):
    """The largest difference between the tokens that a risk asks for, and those that it has."""
    off = np.abs(dataset.asked - dataset.tokens).max()  # they are counts: one is the rounding up
    return Verdict.compare(off, "<=", 0.0, 1.0, quantity="tokens asked for, off those there are")


def final(dataset, start) -> Any:
    one = dataset.limit.sel(start=start).isel(row=-1)
    return mean_and_error(one)


def check_stuck(dataset):
    """The final risk of a free skip from W = 0 over the least one without attention."""
    mean, error = final(dataset, "free, from the linear best")
    of, level = "final risk over the least without attention", dataset.pair_without
    return Verdict.estimate(mean / level, "==", 1.0, error / level, draws=dataset.sizes["seed"], quantity=of)


def check_leaves(start):
    """The final risk as a share of the way from the Bayes risk to the least one without attention."""

    def check(dataset):
        mean, error = final(dataset, start)
        way = dataset.pair_without - dataset.pair_bayes
        return Verdict.estimate((mean - dataset.pair_bayes) / way, "<=", 0.5, error / way,
                                quantity="final risk, from Bayes (0) to the least without attention (1)")  # fmt: skip

    return check
