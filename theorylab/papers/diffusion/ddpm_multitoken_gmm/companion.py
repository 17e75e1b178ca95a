"""The companion model: matrices in front of tokens and of their mean, solved exactly; and when attention is found.

Risks are summed over the d entries of a token here.
"""

from typing import Any

import numpy as np

import theorylab.diffusion as diffusion
import theorylab.engine as tl
import theorylab.figures as figures
import theorylab.papers.kit as kit
from theorylab.papers import Claim, Experiment

from ._setup import HERE

ALPHA_BAR, NOISE, NORM = 0.6, 0.5, 3.0
TOKENS = (4, 8, 16, 32, 64, 128)
DESCENT = 300  # steps, at half of the largest stable size
STARTS = {  # whether the skip is free, w of W = w I, and whether S and V are the best ones without attention
    "fixed skip": (0.0, 0.0, 0.0),
    "free skip": (1.0, 0.0, 0.0),
    "free, from the linear best": (1.0, 0.0, 1.0),
    "and $W = 0.3 I$": (1.0, 0.3, 1.0),
}
ROWS = 20


def shared(count, d):
    """`count` orthogonal means, one for all tokens of a data point."""
    return diffusion.SharedMeanMixture(NORM * np.eye(count, d, dtype=np.float32), np.full(count, 1 / count), NOISE)


def run(size, key):
    import jax

    points, *training = size
    rng, law, zero = tl.keys.generator(key), shared(4, 8), np.zeros((8, 8), np.float32)
    oracle = float(law.oracle_risk(ALPHA_BAR))

    @jax.jit
    def descend(tokens, step):
        _, risks = law.population_gd(zero, zero, tokens=tokens, alpha_bar=ALPHA_BAR, step_size=step, steps=DESCENT)
        return risks, law.linear_attention_optimum(tokens, ALPHA_BAR)

    def of_tokens(tokens):
        tokens = int(tokens)
        step = float(law.largest_stable_step(tokens, ALPHA_BAR)) / 2
        risks, best = descend(tokens, np.float32(step))
        theory = law.predicted_excess(zero, zero, tokens=tokens, alpha_bar=ALPHA_BAR, step_size=step,
                                      steps=np.arange(DESCENT + 1))  # fmt: skip
        return {"risk": risks, "excess_theory": theory, "best": best.risk,
                "simulated": simulated(law, best, tokens, rng, points),
                "asked": float(law.tokens_required(float(best.risk) - oracle, ALPHA_BAR))}  # fmt: skip

    table = kit.tabulate(of_tokens, tokens=TOKENS)
    table = table.rename(risk_0="step", excess_theory_0="step", simulated_0="point")
    pair = shared(2, 4)  # for one token its Bayes risk is that of independent tokens
    limit, without = attend(key, pair, *training)
    bayes = float(pair.bayes_risk(1, ALPHA_BAR).value)
    return table.assign(limit=limit, oracle=oracle, pair_bayes=bayes, pair_without=without)


def simulated(law, best, tokens, rng, count) -> Any:
    """The risk of the best linear attention on fresh points."""
    means = np.asarray(law.means)[rng.integers(len(law.means), size=count), None]
    x0 = means + NOISE * rng.standard_normal((count, tokens, law.means.shape[1]), np.float32)
    noise = rng.standard_normal(x0.shape, np.float32)
    x = np.sqrt(ALPHA_BAR) * x0 + np.sqrt(1 - ALPHA_BAR) * noise
    found = x @ np.asarray(best.S).T + x.mean(1, keepdims=True) @ np.asarray(best.V).T
    return ((found - noise) ** 2).sum(-1).mean(-1)


def attend(key, pair, steps, batch, seeds) -> Any:
    """The risks of softmax attention over infinitely many independent tokens of two patterns, and the least without."""
    import dataclasses

    import equinox as eqx
    import jax
    import jax.numpy as jnp
    import optax

    problem = diffusion.AttentionLimit(pair.means, pair.weights, NOISE, alpha_bar=ALPHA_BAR, batch=batch)
    still, d = problem.without_attention(), pair.means.shape[1]

    class Watched(eqx.Module):
        training: diffusion.AttentionLimit
        test: jax.Array  # the key of tokens that no step sees

        def loss(self, x, key):
            return self.training.loss(x, key)

    def build(key, *, start):
        free, w, linear = start
        W, S, V = diffusion.oracle_start(d, jnp.sqrt(1 - ALPHA_BAR) / problem.variance, v=0.5, w=w)
        x0 = W, (1 - linear) * S + linear * still.S, (1 - linear) * V + linear * still.V
        watched = Watched(dataclasses.replace(problem, skip=free), tl.keys.stream(key, "test"))
        return tl.Gradient(optax.sgd, learning_rate=0.02), watched, x0

    def risk(problem, state):
        return dataclasses.replace(problem.training, batch=2**14).loss(state.x, problem.test)

    starts = tl.Cases(tuple(np.asarray(list(STARTS.values()), np.float32).T), labels=list(STARTS))
    found = tl.sweep(build, over={"start": starts}, seeds=seeds, key=key, steps=steps, lanes="vmap",
                     record=tl.Record(tl.every(steps // ROWS), risk=risk))  # fmt: skip
    return found.risk.rename(step="iteration"), float(still.risk)


def descent(panel, dataset):
    few = dataset.sel(tokens=[4, 16, 128])
    excess = few.risk - few.best
    few = few.assign(excess=excess.where(excess > 1e-6))
    kit.curves(panel, few, "excess", by="tokens", theory="excess_theory", labels="$P = {}$".format,
               title="descent: risk above the best")  # fmt: skip
    figures.predicted(panel, [], [], color="0.3", label="predicted")
    panel.set_ylim(1e-6, None)


def optima(panel, dataset):
    figures.predicted(panel, dataset.tokens, dataset.best - dataset.oracle, label="exact")
    panel.plot(dataset.tokens, dataset.simulated.mean("point") - dataset.oracle, "o", label="simulated")
    panel.set(xscale="log", yscale="log", title="best linear attention: excess over the oracle", xlabel="tokens $P$")


def limits(panel, dataset):
    kit.curves(panel, dataset, "limit", x="iteration", by="start", log="",
               title="softmax attention, infinitely many tokens")  # fmt: skip
    for level, name, style in ((dataset.pair_without, "linear", "-."), (dataset.pair_bayes, "Bayes", "--")):
        figures.predicted(panel, dataset.iteration, level, label=name, linestyle=style)


def plot(dataset):
    figure, axes = figures.panels(3, height=4.4)
    for panel, draw in zip(axes, (descent, optima, limits), strict=True):
        draw(panel, dataset)
        figures.legend(panel)
    return figure


def leaves(start):
    """The final risk as a share of the way from the Bayes risk to the least one without attention."""

    def share(dataset):
        end = dataset.limit.sel(start=start).isel(iteration=-1)
        return (end - dataset.pair_bayes) / (dataset.pair_without - dataset.pair_bayes)

    return kit.estimated(share, "<=", 0.5, quantity="final risk, from Bayes (0) to the least without attention (1)")


def stuck(dataset):
    return dataset.limit.sel(start="free, from the linear best").isel(iteration=-1) / dataset.pair_without


COMPANION = Experiment(
    "companion", "the companion model, beside the paper",
    sizes={"small": (2000, 800, 256, 5), "paper": (20_000, 6000, 1024, 8), "large": (20_000, 6000, 8192, 32)},
    run=run, plot=plot, seconds={"small": 8.8, "paper": 37.0},
    claims=(
        Claim("companion_descent", "Companion: descent on linear attention follows its closed form at every step.",
              HERE, kit.bounded(lambda dataset: abs(dataset.risk - dataset.best - dataset.excess_theory), "<=", 0.0,
                          rounding=lambda dataset: 100 * np.finfo(np.float32).eps * dataset.risk.isel(step=0).max(),
                          quantity="deviation of a risk from the closed form")),
        Claim("companion_best", "Companion: the best linear attention has the exact risk.", HERE,
              kit.agrees("simulated", "best", over="point", quantity="the risks of a token")),
        Claim("companion_tokens", "Companion: the tokens required for a risk are those that have it.", HERE,
              # they are counts: one is the rounding up
              kit.bounded("asked", "==", "tokens", rounding=1.0, quantity="tokens asked for, beside those there are")),
        Claim("companion_stuck", "Companion: from the best model without attention descent finds none, if its skip is"
              " free.", HERE, kit.estimated(stuck, "==", 1.0, quantity="final risk over the least without attention")),
        Claim("companion_fixed", "Companion: with the skip held at the oracle's descent from $W = 0$ finds attention,"
              " most of the way to Bayes.", HERE, leaves("fixed skip")),
        Claim("companion_free", "Companion: so does a free skip that starts there.", HERE, leaves("free skip")),
        Claim("companion_push", "Companion: and the best model without attention, from $W = 0.3I$.", HERE,
              leaves("and $W = 0.3 I$")),
    ),
)  # fmt: skip
