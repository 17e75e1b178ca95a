"""Variants of a method by reshuffling and extrapolation: their race, and the exact orders of their errors in the step.

For the orders nothing is run: moments of an affine game are exact, and a scalar smooth game goes by collocation.
"""

from typing import Any

import numpy as np

import theorylab.figures as figures
import theorylab.games as games
from theorylab.papers import Verdict

from ._races import ERROR, SLOPE, limit, race, theory

VARIANTS = {
    "SGDA": ("independent", (1,)),
    "RR1": ("reshuffle", (1,)),
    "RR2": ("independent", (1, 2)),
    "RR2+RR1": ("reshuffle", (1, 2)),
    "RR3+RR1": ("reshuffle", (1, 2, 4)),
}  # RR1 is random reshuffling, RR2 Richardson-Romberg extrapolation from two step sizes, RR3 (ours) from three
FOUR = tuple(VARIANTS)[:4]
COLOURS = dict(zip(VARIANTS, figures.COLOURS, strict=False))


def descent(pair, order) -> Any:
    return games.GradientDescentAscent(pair[0], order)


def extragradient(pair, order) -> Any:
    return games.Extragradient(pair[0], pair[1], order)


def variant(method):
    """A method of steps and order, by the variant's name instead of the order."""

    def named(pair, name):
        order, multipliers = VARIANTS[name]
        one = method(pair, order)
        return games.Richardson(one, multipliers) if len(multipliers) > 1 else one

    return named


def quadratic(key, n, dim, kappa) -> Any:
    return games.quadratic_game(key, components=n, dim=dim, mu=1.0, lipschitz=kappa)


def race_of_four(key, drawn, steps, method, **keywords) -> Any:
    """All four variants from two races: the first chain of an extrapolated run is the plain one."""
    import xarray

    def first(state):
        return state.chains.x[0]

    pairs = race(
        key, drawn, steps, method=lambda pair, order: games.Richardson(method(pair, order)), also=first, **keywords
    )
    plain = pairs[["also_error", "also_settled"]].rename(also_error="error", also_settled="settled")
    both = [plain.assign_coords(order=list(FOUR[:2])), pairs[["error", "settled"]].assign_coords(order=list(FOUR[2:]))]
    return xarray.concat(both, "order").merge(theory(drawn, steps, FOUR, variant(method)))


def bent() -> Any:
    """F_i(x) = a_i x + b_i + c_i (1 - cos x), with x* = 0 and F'' = mean c_i there."""
    import jax.numpy as jnp

    def component(i, x, rows):
        return rows[0, i] * x + rows[1, i] + rows[2, i] * (1 - jnp.cos(x))

    rows = np.asarray([[2.0, 1.0, 3.0], [1.0, 0.5, -1.5], [0.3, -0.6, 1.2]])
    return games.FiniteSum(component, 3, data=rows, solution=0.0)


def run_orders(size, key):
    import xarray

    from theorylab.numerics import richardson_weights

    (n, dim), halvings = {"small": (4, 2), "paper": (6, 2), "large": (8, 3)}[size], 6
    affine, smooth = quadratic(key, n, dim, 3.0), bent()
    # smaller steps than these leave a cubic bias in the rounding of the mean
    steps = 0.02 / (n * games.step_sizes.constants(affine).lipschitz_max) / 2.0 ** np.arange(halvings)
    found = [[games.stationary_moments(affine, variant(descent)((step,), name)) for step in steps] for name in VARIANTS]
    bias = [[np.linalg.norm(one.mean - np.asarray(affine.solution)) for one in row] for row in found]
    # a chain at twice a step is the one before it: two more in front serve all three points
    widest = 0.08 / 2.0 ** np.arange(halvings + 2)
    settled = {
        order: [
            games.stationary_expectation(
                smooth, games.GradientDescentAscent(step, order), (-2.0, 2.0), lambda x: np.stack([x, x**2]), nodes=24
            ).value
            for step in widest
        ]
        for order in ("independent", "reshuffle")
    }
    mean, square = ({order: np.asarray(values)[:, which] for order, values in settled.items()} for which in (0, 1))

    def extrapolated(order, multipliers):
        return sum(w * mean[order][2 - k : len(widest) - k] for k, w in enumerate(richardson_weights(multipliers)))

    first, second = (np.linalg.norm(c) for c in games.bias_expansion(affine))
    dims = ("variant", "halving")
    return xarray.Dataset(
        {
            "affine_bias": (dims, bias),
            "affine_mse": (dims, [[one.mse for one in row] for row in found]),
            "smooth_bias": (dims, [extrapolated(*VARIANTS[name]) for name in VARIANTS]),
            "smooth_mse": (("order", "halving"), [square[order][2:] for order in square]),
            "coefficients": ("power", [first, second]),
            "affine_step": ("halving", steps),
            "smooth_step": ("halving", widest[2:]),
        },
        {"variant": list(VARIANTS), "order": list(square), "power": [1, 2]},
    )


def plot_orders(dataset):
    figure, axes = figures.panels(3)
    titles = {
        "affine_bias": "bias, affine game",
        "smooth_bias": "bias, smooth game",
        "affine_mse": "mean-square error, affine game",
    }
    for panel, (name, title) in zip(axes, titles.items(), strict=True):
        steps = dataset[name.partition("_")[0] + "_step"]
        for one in VARIANTS:
            values = np.abs(dataset[name].sel(variant=one))
            if values.max() > 1e-14:  # the rest is zero, and its rounding
                panel.plot(steps, values, "o-", color=COLOURS[one], label=one, markersize=4)
        panel.set(xscale="log", yscale="log", xlabel=r"step size $\gamma$", title=title)
        panel.xaxis.set_minor_formatter("")
    steps, (first, second) = dataset.affine_step, dataset.coefficients.values
    figures.predicted(axes[0], steps, first * steps)
    figures.predicted(axes[0], steps, 2 * second * steps**2, label=r"$|c_1|\gamma$ and $2|c_2|\gamma^2$")
    axes[2].set_ylabel(ERROR)
    axes[0].set_ylabel(r"$|E\hat x - x^\star|$")
    figures.legend(axes[::-1])  # the last panel has all variants
    return figure


def check_order(name, quantity, relation, predicted):
    def check(dataset):
        values = dataset[quantity].sel(variant=name).values
        steps = dataset[quantity.partition("_")[0] + "_step"].values
        what = "the bias |E x - x*|" if quantity.endswith("bias") else "E|x - x*|^2"
        slope = f"slope of the log of {what} against the log of the step size"
        # what is left of the next powers at the smallest steps
        return Verdict.compare(limit(steps, values), relation, predicted, 0.05, quantity=slope)

    return check


def check_no_bias(dataset):
    bias = dataset.affine_bias.sel(variant="SGDA").max()
    return Verdict.compare(bias, "==", 0.0, 1e-13, quantity="largest bias |E x - x*| at any step")


def check_coefficient(power, name):
    """The bias over the power of the step, where the step goes to zero, over its coefficient."""

    def check(dataset):
        quotient = dataset.affine_bias.sel(variant=name).values / dataset.affine_step.values**power
        predicted = dataset.coefficients.sel(power=power) * power
        measured = (2 * quotient[-1] - quotient[-2]) / predicted
        return Verdict.compare(measured, "==", 1.0, 0.01, quantity="leading term of the bias over its prediction")

    return check


def check_common_coefficient(kind):
    """How far the first coefficients of RR1 and SGDA are apart, relative to that of RR1."""

    def check(dataset):
        quotient = (dataset[f"{kind}_bias"] / dataset[f"{kind}_step"]).isel(halving=-1)
        apart = np.abs(1 - quotient.sel(variant="SGDA") / quotient.sel(variant="RR1"))
        of = "distance of the two first coefficients of the bias, over that of reshuffling"
        return Verdict.compare(apart, "==", 0.0, 0.01, quantity=of)

    return check


def check_smooth_mse(order, predicted):
    def check(dataset):
        values = dataset.smooth_mse.sel(order=order).values
        return Verdict.compare(limit(dataset.smooth_step.values, values), "==", predicted, 0.05, quantity=SLOPE)

    return check
