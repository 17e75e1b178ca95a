"""The exact orders of bias and mean-square error in the step size.

Nothing is run: moments of an affine game are exact, and a scalar smooth game goes by collocation.
"""

from typing import Any

import numpy as np

import theorylab.figures as figures
import theorylab.games as games
import theorylab.papers.kit as kit
from theorylab.papers import Claim, Experiment

from ._setup import ERROR, HERE, STATED, VARIANTS, descent, quadratic

HALVINGS = 6


def bent() -> Any:
    """F_i(x) = a_i x + b_i + c_i (1 - cos x), with x* = 0 and F'' = mean c_i there."""
    import jax.numpy as jnp

    def component(i, x, rows):
        return rows[0, i] * x + rows[1, i] + rows[2, i] * (1 - jnp.cos(x))

    rows = np.asarray([[2.0, 1.0, 3.0], [1.0, 0.5, -1.5], [0.3, -0.6, 1.2]])
    return games.FiniteSum(component, 3, data=rows, solution=0.0)


def run_affine(key, n, dim):
    game = quadratic(key, n, dim, 3.0)

    def errors(variant, affine_step):
        moments = games.stationary_moments(game, descent(variant, affine_step))
        return {"affine_bias": np.linalg.norm(moments.mean - game.solution), "affine_mse": moments.mse}

    # smaller steps than these leave a cubic bias in the rounding of the mean
    steps = 0.02 / (n * games.step_sizes.constants(game).lipschitz_max) / 2.0 ** np.arange(HALVINGS)
    table = kit.tabulate(errors, variant=list(VARIANTS), affine_step=steps)
    return table.assign(coefficients=("power", [np.linalg.norm(c) for c in games.bias_expansion(game)]))


def run_smooth():
    game = bent()

    def powers(order, step):
        found = games.stationary_expectation(
            game, games.GradientDescentAscent(step, order), (-2.0, 2.0), lambda x: np.stack([x, x**2]), nodes=24
        )
        return {"mean": found.value[0], "smooth_mse": found.value[1]}

    # a chain at twice a step is the one before it: two more in front serve all three points
    table = kit.tabulate(powers, order=["independent", "reshuffle"], step=0.08 / 2.0 ** np.arange(HALVINGS + 2))
    steps = table.step.values[2:]

    def extrapolated(variant):
        from theorylab.numerics import richardson_weights

        order, multipliers = VARIANTS[variant]
        mean = table["mean"].sel(order=order).values
        return sum(w * mean[2 - k : len(mean) - k] for k, w in enumerate(richardson_weights(multipliers)))

    bias = kit.tabulate(extrapolated, variant=list(VARIANTS)).value.rename(value_0="smooth_step")
    mse = table.smooth_mse.isel(step=slice(2, None)).rename(step="smooth_step")
    return mse.to_dataset().assign(smooth_bias=bias.assign_coords(smooth_step=steps))


def run_orders(setting, key):
    return run_affine(key, *setting).merge(run_smooth())


def panel_errors(name, title, ylabel):
    def panel(axes, dataset):
        values = abs(dataset[name])
        shown = values.where(values.max(values.dims[1]) > 1e-14).to_dataset()  # the rest is zero, and its rounding
        kit.curves(axes, shown, name, x=values.dims[1], by="variant", log="xy", marker="o", markersize=4,
                   xlabel=r"step size $\gamma$", title=title)  # fmt: skip
        axes.set_ylabel(ylabel)
        if name == "affine_bias":
            first, second = dataset.coefficients.values
            figures.predicted(axes, dataset.affine_step, first * dataset.affine_step)
            figures.predicted(axes, dataset.affine_step, 2 * second * dataset.affine_step**2)

    return panel


def power_of(quantity, relation, exponent, **places):
    """What is left of the next powers at the smallest steps is the rounding."""
    what = "the bias |E x - x*|" if quantity.endswith("bias") else "E|x - x*|^2"
    return kit.power(lambda dataset: dataset[quantity].sel(places), quantity.partition("_")[0] + "_step", relation,
                     exponent, tail=3, quantity=f"{what} in the step size")  # fmt: skip


def leading(power, variant):
    """The bias over the power of the step, where the step goes to zero, over its coefficient."""

    def term(dataset):
        quotient = (dataset.affine_bias.sel(variant=variant) / dataset.affine_step**power).values
        return (2 * quotient[-1] - quotient[-2]) / (dataset.coefficients[power - 1] * power)

    return kit.bounded(term, "==", 1.0, rounding=0.01, quantity="leading term of the bias over its prediction")


def common(kind):
    """How far the first coefficients of RR1 and SGDA are apart, relative to that of RR1."""

    def apart(dataset):
        quotient = (dataset[f"{kind}_bias"] / dataset[f"{kind}_step"]).isel({f"{kind}_step": -1})
        return abs(1 - quotient.sel(variant="SGDA") / quotient.sel(variant="RR1"))

    return kit.bounded(apart, "==", 0.0, rounding=0.01, quantity="distance of the two first coefficients of the bias,"
                       " over that of reshuffling")  # fmt: skip


PAIR = (
    r"Theorem 4.6 states a bias of third order for the extrapolated pair. The weights $(2, -1)$ cancel the"
    r" first power of the step alone. On affine games the stationary mean under reshuffling is an exact power series,"
    r" $c_1\gamma + c_2\gamma^2 + \dots$, whose second coefficient is not zero on generic games"
    r" (games.bias_expansion), so that the pair keeps a bias of $2|c_2|\gamma^2$. With two scalar components, $a_1x +"
    r" b$ and $a_2x - b$, the whole curve is known: with $s = a_1 + a_2$ and $p = a_1a_2$ it is $\gamma^2b(a_1 -"
    r" a_2)p/((s - \gamma p)(s - 2\gamma p))$, of second order unless $p = 0$ or $a_1 = a_2$. Three step sizes do give"
    r" the third order; and what is cubic with two is the mean-square error, since the variance of a reshuffled"
    r" epoch's end is."
)
COMMON = (
    r"Lemma 4.5 lets reshuffling share the bias' first coefficient with independent draws. On affine games"
    r" independent draws have no bias at all, for every step size: the mean iterates $x - \gamma\bar Ax$ and settles"
    r" at $x^*$. Reshuffling has $c_1 = -\frac{1}{2n}\bar A^{-1}\sum_i A_ib_i$, which is not zero unless the matrices"
    r" and offsets of components are uncorrelated. On smooth games that are not affine both have a coefficient, and"
    r" they differ."
)
ORDERS = Experiment(
    "orders", "exact orders of bias and mean-square error in the step size",
    sizes={"small": (4, 2), "paper": (6, 2), "large": (8, 3)}, run=run_orders,
    plot=kit.drawn(panel_errors("affine_bias", "bias, affine game", r"$|E\hat x - x^\star|$"),
                   panel_errors("smooth_bias", "bias, smooth game", ""),
                   panel_errors("affine_mse", "mean-square error, affine game", ERROR),
                   ylabel=r"$|E\hat x - x^\star|$", theory=r"$|c_1|\gamma$ and $2|c_2|\gamma^2$"),
    seconds={"small": 2.2, "paper": 3.4},
    claims=(
        Claim("pair_bias", "Reshuffled and extrapolated from two step sizes, the bias is of third order.",
              STATED, power_of("affine_bias", ">=", 3, variant="RR2+RR1"), expected="fails", why=PAIR),
        Claim("pair_bias_affine", "It is of second order on an affine game.",
              HERE, power_of("affine_bias", "==", 2, variant="RR2+RR1")),
        Claim("pair_bias_smooth", "It is of second order on a smooth game that is not affine.",
              HERE, power_of("smooth_bias", "==", 2, variant="RR2+RR1")),
        Claim("pair_bias_constant", r"It tends to $2|c_2|\gamma^2$.", HERE, leading(2, "RR2+RR1")),
        Claim("pair_mse", "The mean-square error of the pair is of second order or better.",
              STATED, power_of("affine_mse", ">=", 2, variant="RR2+RR1")),
        Claim("pair_mse_cubic", "It is of third order.", HERE, power_of("affine_mse", "==", 3, variant="RR2+RR1")),
        Claim("three_bias_affine", "From three step sizes the bias is of third order on an affine game.",
              HERE, power_of("affine_bias", "==", 3, variant="RR3+RR1")),
        Claim("three_bias_smooth", "And on a smooth one.",
              HERE, power_of("smooth_bias", "==", 3, variant="RR3+RR1")),
        Claim("three_mse", "Their mean-square error is of third order, that of the variance.",
              HERE, power_of("affine_mse", "==", 3, variant="RR3+RR1")),
        Claim("reshuffled_bias", "Reshuffled alone, the bias is of first order.",
              STATED, power_of("affine_bias", "==", 1, variant="RR1")),
        Claim("reshuffled_bias_constant", r"It tends to $|c_1|\gamma$.", HERE, leading(1, "RR1")),
        Claim("reshuffled_mse", "The mean-square error is of second order.",
              STATED, power_of("affine_mse", "==", 2, variant="RR1")),
        Claim("reshuffled_mse_smooth", "On a smooth game too.",
              STATED, power_of("smooth_mse", "==", 2, order="reshuffle")),
        Claim("common_coefficient", "The bias has its first coefficient in common with that of independent draws.",
              STATED, common("affine"), expected="fails", why=COMMON),
        Claim("common_coefficient_smooth", "On a smooth game that is not affine it has, too.",
              STATED, common("smooth"), expected="fails", why=COMMON),
        Claim("independent_bias", "Drawn independently, the bias is of first order (on a smooth game).",
              STATED, power_of("smooth_bias", "==", 1, variant="SGDA")),
        Claim("independent_bias_affine", "On an affine game there is none, at every step size.",
              HERE, kit.bounded(lambda dataset: dataset.affine_bias.sel(variant="SGDA"), "==", 0.0, rounding=1e-13,
                                quantity="largest bias |E x - x*| at any step")),
        Claim("independent_mse", "The mean-square error is of first order.",
              STATED, power_of("affine_mse", "==", 1, variant="SGDA")),
        Claim("independent_mse_smooth", "On a smooth game too.",
              STATED, power_of("smooth_mse", "==", 1, order="independent")),
        Claim("independent_pair_bias", "Extrapolated, the bias is of order 3/2 or better (on a smooth game).",
              STATED, power_of("smooth_bias", ">=", 1.5, variant="RR2")),
        Claim("independent_pair_bias_exact", "It is of second order.",
              HERE, power_of("smooth_bias", "==", 2, variant="RR2")),
        Claim("independent_pair_mse", "Extrapolation does not mend the mean-square error of independent draws.",
              HERE, power_of("affine_mse", "==", 1, variant="RR2")),
    ),
)  # fmt: skip
