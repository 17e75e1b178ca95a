"""Figure 1: both starts at three scales, and the flow around one direction that predicts them."""

from functools import cache
from typing import Any

import numpy as np

import theorylab.engine as tl
import theorylab.figures as figures
import theorylab.papers.kit as kit
from theorylab.papers import Claim, Experiment

from . import flows
from .flows import FLOW, RANK, SIGMA, around, layers, scaled

NAMES = ("loss", "misalignment1", "misalignment2", "norm1", "norm2")
SCALES = (1e-3, 1e-4, 1e-5)
CHEAP = {"rtol": 1e-8, "atol": 1e-16}  # two digits of a loss of 1e-20
FIGURE_1 = {"loss": (-12.5, -16.4, -20.2), "misalignment": (-4.8, -6.75, -8.7)}  # log10, from the largest scale down


def run(setting, key):
    (hidden, seeds, draws), rng, time = setting, tl.keys.generator(key), 5 * flows.UNIT  # 50,000 steps of 1e-4

    @cache
    def drawn(draw) -> Any:
        return *layers(rng, hidden, 1 / 1.05**2, {0: SIGMA}), flows.gaussian(rng, hidden), rng.standard_normal(RANK)

    def measured(seed, start, scale):
        weights, on, begin, lengths = drawn(seed)
        first = scaled(begin, scale) if start == "small" else flows.spectral(weights, scale * lengths)
        adapters, loss = flows.flow(weights, first, time)
        values = loss, *flows.misalignments(adapters, on), *flows.sizes(adapters)
        return {name: ("time", one) for name, one in zip(NAMES, values, strict=True)}

    def predicted(seed, scale):
        weights, _, begin, _ = drawn(seed)
        found = around(weights, scaled(begin, scale), time)
        return {f"{name}_theory": ("time", one) for name, one in found._asdict().items()}

    def end(draw, scale):  # of more draws than there are runs: the flow around the direction costs a tenth of the whole
        weights, _, begin, _ = drawn(draw)
        found = around(weights, scaled(begin, scale), time[[0, -1]], **CHEAP)
        return {f"{name}_end": one[-1] for name, one in found._asdict().items()}

    runs = kit.tabulate(measured, seed=range(seeds), start=["small", "spectral"], scale=SCALES)
    theory = kit.tabulate(predicted, seed=range(seeds), scale=SCALES)
    return runs.merge(theory).merge(kit.tabulate(end, draw=range(draws), scale=SCALES)).assign_coords(time=time)


def panel(title, *lines, **limits) -> Any:
    """Lines (variable, start, width) of the first draw, black dashes for what is predicted of small starts."""

    def draw(axes, dataset):
        one = dataset.isel(seed=0)
        for name, start, width in lines:
            labels = [rf"$\alpha = 10^{{{np.log10(scale):.0f}}}$" if width > 1 else "" for scale in SCALES]
            names = dict(zip(SCALES, labels, strict=True)).__getitem__
            kit.curves(axes, one.sel(start=start), name, x="time", by="scale", labels=names, linewidth=width)
            for line in one[f"{name}_theory"] if start == "small" else ():
                figures.predicted(axes, one.time, line, linewidth=1.1)
        axes.set(title=title, **limits)

    return draw


plot = kit.drawn(
    panel("loss (thin: spectral start)", ("loss", "spectral", 0.9), ("loss", "small", 1.8), ylim=(1e-28, 1e3)),
    panel(r"$1 - \cos$, layer 1", ("misalignment1", "small", 1.8)),
    panel(r"$\|Z_1\|$ (thin: $\|Z_2\|$)", ("norm1", "small", 1.8), ("norm2", "small", 0.9)),
    ylabel="",
)


def printed(name, figure) -> Any:
    """The printed log10, the mean over the scales, against draws of W2 W1.

    Ends are those of the flow around the one direction, which two other claims hold against the runs.
    """
    return kit.printed(lambda ds: np.log10(ds[f"{name}_end"]).mean("scale"), float(np.mean(FIGURE_1[figure])),
                       over="draw", quantity=f"log10 of the final {name}, mean over the scales")  # fmt: skip


def deviation(*names, step: Any = slice(None)) -> Any:
    """How far values of a small start are from what is predicted, relative."""

    def read(dataset):
        import xarray

        small = dataset.sel(start="small")
        gaps = [np.abs(small[name] / dataset[f"{name}_theory"] - 1) for name in names]
        return xarray.concat(gaps, "name").isel(time=step)

    return read


def start_norm(dataset) -> Any:
    """The norm of all adapters at a small start."""
    first = dataset.sel(start="small").isel(time=0, drop=True)
    return np.hypot(first.norm1, first.norm2)


def allowed(dataset) -> Any:
    """That norm, and the flow's tolerance, relative to a residual that is small itself."""
    last = dataset.loss.sel(start="small").isel(time=-1, drop=True)
    return start_norm(dataset) + FLOW["rtol"] * SIGMA / np.sqrt(last)


MF, HERE = "Figure 1", "derived here"
EXPERIMENT = Experiment(
    "factorisation", "small and spectral starts at three scales", run=run, plot=plot,
    sizes={"small": (20, 1, 24), "paper": (100, 30, 30), "large": (1000, 30, 30)},
    seconds={"small": 10.1, "paper": 90.0},
    claims=(
        Claim("power_loss", "From small starts the loss ends at a power of the scale.", "Theorem 3.1",
              kit.estimated(lambda ds: flows.powers(ds.loss_end), ">=", over="draw", quantity="power of the loss")),
        Claim("figure_loss", "At $10^{-12.5}$, $10^{-16.4}$ and $10^{-20.2}$ for the scales $10^{-3}$, $10^{-4}$ and"
              " $10^{-5}$.", MF, printed("loss", "loss")),
        Claim("figure_alignment", r"$1 - \cos$ of the first layer ends at $10^{-4.8}$, $10^{-6.75}$ and $10^{-8.7}$.",
              MF, printed("misalignment1", "misalignment"), expected="fails",
              why="it ends 50 times lower; the printed numbers are those of the second layer"),
        Claim("figure_alignment_2", r"$1 - \cos$ of the second layer ends there.",
              HERE, printed("misalignment2", "misalignment")),
        Claim("spectral_exact", "Spectral starts of every scale end at rounding.", MF,
              kit.bounded(lambda ds: ds.loss.sel(start="spectral").isel(time=-1), "<=",
                          (10 * FLOW["rtol"] * SIGMA) ** 2,  # ten tolerances, squared
                          quantity="final loss of a spectral start")),
        Claim("predicted_run", "Loss and norms follow the flow around the one direction at all times, up to a relative"
              " error of the size of the start.", HERE,
              kit.bounded(deviation("loss", "norm1", "norm2"), "<=", allowed, quantity="relative deviation")),
        Claim("predicted_plateaus", "So do the misalignments of both layers at the end.", HERE,
              kit.bounded(deviation("misalignment1", "misalignment2", step=-1), "<=", start_norm,
                          quantity="relative deviation of the final 1 - cos")),
    ),
)  # fmt: skip
