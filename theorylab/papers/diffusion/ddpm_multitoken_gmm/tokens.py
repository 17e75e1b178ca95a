"""How the excess falls with the number of tokens, and when attention can follow."""

import numpy as np

import theorylab.diffusion as diffusion
import theorylab.engine as tl
import theorylab.figures as figures
import theorylab.papers.kit as kit
from theorylab.numerics import Estimate
from theorylab.papers import Claim, Experiment

from ._setup import HERE, SETTINGS, errors_of, fresh, mixture_of, patterns_of

SHARPNESS = (2.0, 4.0, 6.0, 8.0, 12.0, 16.0)  # of W = (w/d) sum_u mu_u mu_u^T
TARGETS = (0.02, 0.002)  # excesses to ask tokens for


def run(size, key):
    many, dims, count = size
    rng, setting = tl.keys.generator(key), SETTINGS["small"]
    schedule, weights = setting.schedule, np.full(setting.M, 1 / setting.M)
    laws = {d: mixture_of(patterns_of(setting._replace(d=d), rng), weights, setting.active[1]) for d in dims}

    def errors(d, tokens):
        mixture, tokens = laws[d], int(tokens)
        W = np.multiply.outer(np.asarray(SHARPNESS, np.float32), mixture.patterns.T @ mixture.patterns / d)
        v = np.tile(diffusion.ideal_scales(mixture, schedule), (len(SHARPNESS), 1))
        drawn = fresh(rng, np.asarray(mixture.patterns), np.asarray(mixture.proportions()), count, tokens)
        exact = diffusion.ideal_risk(mixture, schedule, tokens) - diffusion.oracle_risk(mixture, schedule)
        excess = errors_of(W, v, mixture, schedule, drawn).excess
        return {"excess": excess, "ideal": by_classes(drawn, mixture, schedule), "exact": exact}

    table = kit.tabulate(errors, d=dims, tokens=many).rename(excess_0="w", excess_1="point", ideal_0="point")
    mixture = laws[dims[-1]]
    rule = float(mixture.active * np.mean((1 - schedule.alpha_bar) / mixture.variance(schedule.alpha_bar)))
    required = [float(diffusion.tokens_required(mixture, schedule, target)) for target in TARGETS]
    more = {"required": ("target", required), "rule": ("target", [rule / target for target in TARGETS])}
    return table.assign(more).assign_coords(w=list(SHARPNESS), target=list(TARGETS))


def by_classes(drawn, mixture, schedule):
    """The excess over the oracle, point by point, of one who knows the labels but not the patterns."""
    x0, labels, noise = drawn
    a = np.asarray(schedule.alpha_bar)[np.arange(len(x0)) % schedule.levels][:, None, None]
    x = np.sqrt(a) * x0 + np.sqrt(1 - a) * noise
    same = (labels[:, :, None] == labels[:, None]).astype(np.float32)
    off = same @ x / same.sum(-1, keepdims=True) - np.sqrt(a) * np.asarray(mixture.patterns)[labels]
    return ((np.sqrt(1 - a) / np.asarray(mixture.variance(a)) * off) ** 2).mean((1, 2))


def best(dataset):
    """The mean excess of the sharpness that is best."""
    mean, error = Estimate.of(dataset.excess, "point")
    at = mean.argmin("w")
    return Estimate(mean.isel(w=at), error.isel(w=at))


def change(dim, low, high, **at):
    """The change of the log of the best excess from some places of a dimension to others, where all draws are new."""

    def between(dataset):
        first, last = (Estimate(*(one.isel({dim: place, **at}).drop_vars(dim) for one in best(dataset))).log()
                       for place in (low, high))  # fmt: skip
        return last - first

    return between


def slope(dataset):
    """That of the log of the simulated ideal excess against log tokens, over the two largest numbers of tokens."""
    last = dataset.ideal.isel(d=-1, tokens=slice(-2, None))
    logs = [Estimate.of(last.isel(tokens=k, drop=True), "point").log() for k in (0, 1)]
    return (logs[1] - logs[0]) / np.log(float(last.tokens[1] / last.tokens[0]))


def by_tokens(panel, dataset):
    kit.curves(panel, dataset.assign(best=best(dataset).value), "best", x="tokens", by="d", log="xy", marker="o",
               labels="attention, $d = {}$".format, title="best $w$")  # fmt: skip
    last = dataset.isel(d=-1)
    panel.plot(last.tokens, last.ideal.mean("point"), "s", color=figures.COLOURS[3], label="ideal, simulated")
    figures.predicted(panel, last.tokens, last.exact, label="ideal, exact")
    panel.set_xlabel("tokens $P$")


def by_sharpness(panel, dataset):
    last = dataset.isel(tokens=-1)
    kit.curves(panel, last, "excess", x="w", by="d", over="point", marker="o", labels="attention, $d = {}$".format,
               title=f"at {int(last.tokens)} tokens, by the sharpness")  # fmt: skip
    figures.predicted(panel, last.w, float(last.exact[-1]), label="ideal, exact")
    panel.set_xlabel("$w$")


TOKENS = Experiment(
    "tokens", "the excess by the number of tokens",
    sizes={"small": ((8, 32, 128), (16, 64), 60), "paper": ((8, 16, 32, 64, 128, 256, 512), (16, 64, 256), 200),
           "large": ((8, 32, 128, 512, 2048), (16, 64, 256, 1024), 400)},
    run=run, plot=kit.drawn(by_tokens, by_sharpness, ylabel="excess over the oracle", theory=""),
    seconds={"small": 8.5, "paper": 34.0},
    claims=(
        Claim("ideal_exact", r"The mean over the tokens of a class exceeds the oracle by $E[\#]/P$ times the mean of"
              r" $(1 - \bar\alpha_t)/s_t^2$.", HERE,
              kit.agrees("ideal", "exact", over="point", quantity="the excess of class means")),
        Claim("ideal_slope", "So its excess falls as $1/P$.", HERE,
              kit.estimated(slope, "==", -1.0, quantity="slope of the log of the excess against log tokens")),
        Claim("tokens_required", r"An excess $e$ takes $K/e$ times the mean of $(1 - \bar\alpha_t)/s_t^2$ tokens.",
              HERE, kit.bounded(lambda dataset: (dataset.required / dataset.rule)[-1], "==", 1.0,
                          rounding=lambda dataset: 1 / dataset.rule[-1], quantity="fewest tokens over the rule's")),
        Claim("tokens_help", r"With $W = \frac wd \sum_k\mu_k\mu_k^T$, at the best $w$, more tokens lower the excess.",
              "Theorem 1 (iii), as an order",
              kit.estimated(change("tokens", 0, -1), "<=",
                            quantity="change of the log of the excess, from the fewest tokens to the most")),
        Claim("dimension_helps", "So does a larger dimension, at the most tokens.", "Theorem 1 (i), as an order",
              kit.estimated(change("d", slice(-1), slice(1, None), tokens=-1), "<=",
                            quantity="change of the log of the excess, from one dimension to the next")),
        Claim("above_ideal", "The ideal mean denoiser is the least risk of such attention.", HERE,
              kit.estimated(lambda dataset: dataset.excess - dataset.ideal, ">=", over="point",
                            quantity="squared error per entry of attention, above the ideal mean denoiser's"),
              expected="fails", why="where a pattern is shown by one or two tokens softer attention, which shrinks"
              " means towards one another, is better"),
    ),
)  # fmt: skip
