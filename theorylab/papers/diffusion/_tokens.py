"""How the excess falls with the number of tokens, and when attention can follow."""

import numpy as np

import theorylab.diffusion as diffusion
import theorylab.engine as tl
import theorylab.figures as figures
from theorylab.papers import Verdict, mean_and_error

from . import _mean_denoising as runs
from ._mean_denoising import SETTINGS

SHARPNESS = (2.0, 4.0, 6.0, 8.0, 12.0, 16.0)  # of W = (w/d) sum_u mu_u mu_u^T
TARGET = 0.02  # an excess to ask tokens for


def run_tokens(size, key):
    import xarray

    sizes, d, count = {
        "small": ((8, 32, 128), (16, 64), 60),
        "paper": ((8, 16, 32, 64, 128, 256, 512), (16, 64, 256), 200),
        "large": ((8, 32, 128, 512, 2048), (16, 64, 256, 1024), 400),
    }[size]
    rng = tl.keys.generator(key)
    excess, ideal, exact = [], [], []
    for dim in d:
        setting = SETTINGS["small"]._replace(d=dim)
        schedule, patterns = setting.schedule, runs.patterns_of(setting, rng)
        law = runs.law(patterns, np.full(setting.M, 1 / setting.M), setting.active[1])
        shares = np.asarray(law.proportions())
        form = patterns.T @ patterns / dim
        W = np.asarray([w * form for w in SHARPNESS], np.float32)
        v = np.tile(diffusion.ideal_scales(law, schedule), (len(SHARPNESS), 1))
        oracle = diffusion.oracle_risk(law, schedule)
        for tokens in sizes:
            drawn = runs.fresh(rng, patterns, shares, count, tokens)
            excess.append(runs.evaluate(W, v, patterns, drawn, schedule)["excess"])
            ideal.append(by_classes(drawn, law, schedule))
            exact.append(diffusion.ideal_risk(law, schedule, tokens) - oracle)
    shape = len(d), len(sizes)
    required = [float(diffusion.tokens_required(law, schedule, TARGET * scale)) for scale in (1, 0.1)]
    scale = float(np.mean((1 - schedule.alpha_bar) / law.variance(schedule.alpha_bar)))
    return xarray.Dataset(
        {
            "excess": (("d", "tokens", "w", "point"), np.reshape(excess, (*shape, len(SHARPNESS), -1))),
            "ideal": (("d", "tokens", "point"), np.reshape(ideal, (*shape, -1))),
            "exact": (("d", "tokens"), np.reshape(exact, shape)),
            "required": ("scale", required),
            "rule": ("scale", [law.active * scale / (TARGET * each) for each in (1, 0.1)]),
        },
        {"d": list(d), "tokens": list(sizes), "w": list(SHARPNESS), "scale": [1.0, 0.1]},
    )


def by_classes(drawn, law, schedule):
    """The excess over the oracle, point by point, of one who knows the labels but not the patterns."""
    x0, labels, noise = drawn
    a = np.asarray(schedule.alpha_bar)[np.arange(len(x0)) % schedule.levels][:, None, None]
    x = np.sqrt(a) * x0 + np.sqrt(1 - a) * noise
    same = (labels[:, :, None] == labels[:, None]).astype(np.float32)
    attended = same @ x / same.sum(-1, keepdims=True)
    means = np.sqrt(a) * np.asarray(law.patterns)[labels]
    scale = np.sqrt(1 - a) / np.asarray(law.variance(a))
    return ((scale * (attended - means)) ** 2).mean((1, 2))


def best(dataset):
    """The mean excess of the sharpness that is best, and the standard error of that mean."""
    mean, error = mean_and_error(dataset.excess, "point")
    at = mean.argmin("w")
    return mean.isel(w=at), error.isel(w=at)


def plot_tokens(dataset):
    figure, axes = figures.panels(2)
    mean, _ = best(dataset)
    for d, colour in zip(dataset.d.values, figures.COLOURS[1:], strict=False):
        axes[0].plot(dataset.tokens, mean.sel(d=d), "o-", color=colour, label=f"attention, $d = {d}$")
        axes[1].plot(dataset.w, dataset.excess.sel(d=d).isel(tokens=-1).mean("point"), "o-", color=colour,
                     label=f"$d = {d}$")  # fmt: skip
    one = dataset.isel(d=-1)
    axes[0].plot(one.tokens, one.ideal.mean("point"), "s", color=figures.COLOURS[0], label="ideal, simulated")
    figures.predicted(axes[0], one.tokens, one.exact, label="ideal, exact")
    figures.predicted(axes[1], dataset.w, float(one.exact[-1]), label="ideal, exact")
    axes[0].set(xscale="log", yscale="log", xlabel="tokens $P$", title="excess over the oracle, best $w$")
    title = rf"at {int(dataset.tokens[-1])} tokens, by the sharpness"
    axes[1].set(yscale="log", xlabel="$w$", title=title)
    for panel in axes:
        figures.legend(panel)
    return figure


def check_exact(dataset):
    return Verdict.agree(dataset.ideal.transpose("point", ...), dataset.exact, quantity="the excess of class means")


def check_slope(dataset):
    """The slope of the logarithm of the simulated ideal excess, over the two largest numbers of tokens."""
    one = dataset.ideal.isel(tokens=slice(-2, None))
    mean, error = mean_and_error(one, "point")
    ratio = np.log(float(one.tokens[1] / one.tokens[0]))
    slope = np.log(mean).diff("tokens").isel(tokens=0) / ratio
    doubt = np.sqrt(((error / mean) ** 2).sum("tokens")) / ratio
    return Verdict.estimate(slope.isel(d=-1), "==", -1.0, doubt.isel(d=-1),
                            quantity="slope of the log of the excess against log tokens")  # fmt: skip


def check_above(dataset):
    """The excess of attention over that of the ideal mean denoiser, on the same points."""
    mean, error = mean_and_error(dataset.excess - dataset.ideal, "point")
    of = "squared error per entry of attention, above the ideal mean denoiser's"
    return Verdict.worst(mean, ">=", 0.0, error, quantity=of)


def check_falls(dataset):
    """The log of the excess at its best sharpness, from the fewest tokens to the most."""
    mean, error = (one.isel(tokens=[0, -1]) for one in best(dataset))
    relative = (error / mean).values
    change = "change of the log of the excess, from the fewest tokens to the most"
    return Verdict.worst(np.log(mean).diff("tokens")[:, 0], "<=", 0.0, np.hypot(*relative.T), quantity=change)


def check_dimension(dataset):
    """The same, at the most tokens, from one dimension to the next."""
    mean, error = (one.isel(tokens=-1) for one in best(dataset))
    relative = (error / mean).values
    doubt = np.hypot(relative[1:], relative[:-1])
    change = "change of the log of the excess, from one dimension to the next"
    return Verdict.worst(np.log(mean).diff("d"), "<=", 0.0, doubt, quantity=change)


def check_required(dataset):
    """The fewest tokens over K mean((1 - alpha-bar) / s^2) / excess, at the smaller excess: up to a rounding up."""
    one = dataset.isel(scale=-1)
    return Verdict.compare(one.required / one.rule, "==", 1.0, 1 / one.rule, quantity="fewest tokens over the rule's")
