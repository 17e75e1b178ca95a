"""The condition number: three methods."""

import numpy as np

import theorylab.figures as figures
import theorylab.lowrank as lowrank
import theorylab.papers.kit as kit
from theorylab.numerics import Estimate
from theorylab.papers import Claim, Experiment

from ._races import CLAIMED, CONTRACTION, ERROR, OUTLIERS, RATE, TRIALS, WITHOUT, claimed, factor, race

OPSA, SCALED, PLAIN = "OPSA, $d = 2r$", "scaled subgradient, $d = r$", "subgradient, $d = 2r$"
LEVELS = (1e-2, 1e-4, 1e-6)
# three methods in one program: next to singular values of one and more these are no damping, that of the released
# experiment, and one so large that Polyak steps are those without preconditioner
DAMPINGS = {OPSA: 2.0, SCALED: 1e-14, PLAIN: 1e16}


def run_condition(setting, key):
    import jax
    import xarray

    n, r, m, draws, steps = setting
    of_operator, of_lanes = jax.random.split(key)
    solvers, conditions = {"solver": list(DAMPINGS)}, [20.0, 40.0, 60.0, 80.0, 100.0]
    dataset = race(
        lowrank.GaussianSensing(of_operator, (n, n), m), jax.random.split(of_lanes, draws), r, steps,
        damping=xarray.DataArray(list(DAMPINGS.values()), solvers, "solver"),
        rank=xarray.DataArray([2 * r, r, 2 * r], solvers, "solver"),
        draw=xarray.DataArray(np.arange(draws), {"draw": range(draws)}, "draw"),  # the same for all condition numbers
        condition=xarray.DataArray(conditions, {"kappa": conditions}, "kappa"),
    )  # fmt: skip
    steps_to = xarray.concat([arrival(dataset.error, level) for level in LEVELS], "level")
    return dataset.assign(steps_to=steps_to.assign_coords(level=list(LEVELS)), claimed=claimed(OUTLIERS))


def arrival(errors, level):
    """When errors are first at a level, on the line through log errors between records; the last step if never."""
    import xarray

    def first(values, steps):
        at = int(np.argmax(values <= level))
        if at == 0:
            return float(steps[0] if values[0] <= level else steps[-1])
        return np.interp(np.log(level), np.log(values[[at, at - 1]]), steps[[at, at - 1]])

    return xarray.apply_ufunc(first, errors, errors.step, input_core_dims=[["step"], ["step"]], vectorize=True)


def plot_condition(dataset):
    dataset = dataset.isel(draw=0)
    figure, axes = figures.panels(2)
    shades = np.linspace(1.0, 0.35, dataset.sizes["kappa"])
    for method, colour in zip(DAMPINGS, figures.COLOURS, strict=False):
        one = dataset.sel(solver=method)
        for k, (errors, shade) in enumerate(zip(one.error.transpose("kappa", ...), shades, strict=True)):
            figures.measured(axes[0], errors.step, errors, color=colour, alpha=shade, linewidth=1.3,
                             label="" if k else method)  # fmt: skip
        steps = one.steps_to.sel(level=LEVELS[-1])
        hollow = {} if (steps < one.step[-1]).all() else {"markerfacecolor": "white"}
        figures.measured(axes[1], one.kappa, steps, color=colour, marker="o", label=method, **hollow)
    line = dataset.error.isel(step=0).max() * dataset.claimed**dataset.step
    figures.predicted(axes[0], dataset.step, line, label=r"claimed rate, $\chi = 1.25$")
    axes[0].set(
        yscale="log", ylim=(1e-15, 3), xlabel="step", ylabel=ERROR, title=r"$\kappa = 20$ (dark) to 100 (light)"
    )
    axes[1].set(yscale="log", xlabel=r"condition number $\kappa$", ylabel=f"steps to an error of {LEVELS[-1]:g}",
                title="hollow: not reached")  # fmt: skip
    figures.legend(axes)
    return figure


def by_run(values):
    return values.stack(run=["draw", "kappa"])


def linearity(dataset):
    """The steps from one level to the next over those from the last one to it: one, if errors fall linearly.

    Errors that fall as a power p of the step have 100^(1/p): two tells linear convergence from all powers below six.
    """
    runs = dataset.sel(solver=OPSA)
    arrived = (runs.error.isel(step=-1) <= LEVELS[-1]).all()
    steps = runs.steps_to.where(arrived).diff("level")
    return by_run(steps.isel(level=1) / steps.isel(level=0))


def digits_ahead(dataset):
    last = np.log10(dataset.error.isel(step=-1))
    return by_run(last.sel(solver=PLAIN) - last.sel(solver=OPSA))


def exponent(method):
    """Of the steps in the condition number, draws apart."""

    def fit(dataset):
        x = np.log(dataset.kappa) - np.log(dataset.kappa).mean()
        y = np.log(dataset.steps_to.sel(solver=method, level=LEVELS[-1]))
        y = y - y.mean("kappa")
        spread = (x**2).sum() * dataset.sizes["draw"]
        slope = (x * y).sum() / spread
        freedom = y.size - dataset.sizes["draw"] - 1
        return Estimate(slope, np.sqrt(((y - slope * x) ** 2).sum() / freedom / spread))

    # against the middle between none and one
    return kit.estimated(fit, "<=", 0.5, quantity="slope of log steps against log condition number")


CONDITION = Experiment(
    "condition", "three methods over condition numbers", run=run_condition, plot=plot_condition,
    # the released experiment has 8 measurements for each of n r numbers, and one draw: too few for small matrices
    sizes={"small": (20, 2, 520, 2, 1200), "paper": (100, 10, 8000, 1, 2500), "large": (200, 10, 16_000, 2, 5000)},
    seconds={"small": 4.7, "paper": 516.0},
    claims=(
        Claim("linear", "Over-parameterised and with a tenth of outliers OPSA converges linearly: two digits take at"
              " most twice the steps of the two before.", RATE,
              kit.estimated(linearity, "<=", 2.0, over="run", quantity="steps from 1e-4 to 1e-6, over those from 1e-2"
                            " to 1e-4, mean over runs")),
        Claim("kappa_free", "The steps that it takes do not grow with the condition number: the order is below 1/2.",
              WITHOUT, exponent(OPSA)),
        Claim("kappa_free_scaled", "Nor do those of scaled subgradient steps at the true rank.",
              WITHOUT, exponent(SCALED)),
        Claim("plain_stalls", "Subgradient steps without preconditioner end further off.", TRIALS,
              kit.estimated(digits_ahead, ">=", over="run",
                            quantity="decimal digits of OPSA beyond the plain method's, mean")),
        Claim("scaled_rate", r"At the true rank a step contracts by $\sqrt{1 - 0.12/\chi^2}$ or better.",
              CLAIMED, kit.estimated(factor(solver=SCALED), "<=", "claimed", quantity=CONTRACTION)),
        Claim("opsa_rate", "So does one of OPSA at the damping and the width of the experiments.",
              CLAIMED, kit.estimated(factor(solver=OPSA), "<=", "claimed", quantity=CONTRACTION), expected="fails",
              why="the constants are those of damping 0 at the true rank; with damping twice the least singular value,"
              " and surplus columns, steps contract less"),
    ),
)  # fmt: skip
