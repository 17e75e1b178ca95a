"""Spectral starts built from the pretrained weights alone (Theorem G.1)."""

import numpy as np

import theorylab.engine as tl
import theorylab.figures as figures
import theorylab.lowrank as lowrank
import theorylab.papers.kit as kit
from theorylab.papers import Claim, Experiment

from .flows import FLOW, UNIT, as_adapters, flow

STARTS = {"top": "top singular vectors", "bottom": "bottom singular vectors", "spectral": "spectral", "small": "small"}
PLACES = {"top": 0, "bottom": 1}


def run(scales, key):
    W, zero = np.diag([10.0, 1.0]), np.zeros((2, 1))
    draws = tl.keys.generator(key).standard_normal((2, 1, 2))

    def loss(change, scale, start):
        place = PLACES[change]
        target = W @ W + 5 * np.diag(np.eye(2)[place])
        if start == "spectral":
            first = lowrank.spectral_init(W, W, target, 1, scale)
        else:
            rows = draws if start == "small" else 2 * [np.eye(2)[[PLACES[start]]]]
            first = as_adapters(scale * rows[0], zero, scale * rows[1], zero)
        time = UNIT * (np.log(1 / scale) + 20) / (5 * W[place, place])
        return {"loss": ("unit", flow((W, W, target), first, time)[1])}

    return kit.tabulate(loss, change=list(PLACES), scale=scales, start=list(STARTS)).assign_coords(unit=UNIT)


def panel(change):
    def draw(axes, dataset):
        one = dataset.sel(change=change).isel(scale=0)
        for (start, name), colour, wide in zip(STARTS.items(), figures.COLOURS, (5, 1.8, 5, 1.8), strict=False):
            figures.measured(axes, UNIT, one.loss.sel(start=start), color=colour, label=name, linewidth=wide)
        axes.set(yscale="log", xlabel="share of the run", ylim=(1e-28, 1e3), title=f"change in the {change} direction")

    return draw


def other(dataset):
    """The starts in the direction that the change does not touch."""
    import xarray

    pairs = ("top", "bottom"), ("bottom", "top")
    return xarray.concat([dataset.loss.sel(change=one, start=two, drop=True) for one, two in pairs], "pair")


EXPERIMENT = Experiment(
    "starts", "spectral starts from the pretrained weights alone", run=run,
    plot=kit.drawn(panel("top"), panel("bottom"), ylabel="$L$", theory="", sharey=True),
    # tiny: one program of its own
    sizes={"small": (1e-2,), "paper": (1e-2, 1e-3, 1e-4), "large": (1e-2, 1e-3, 1e-4, 1e-5)},
    seconds={"small": 6.4, "paper": 3.0},
    claims=(
        Claim("pretrained_stuck", "Starts along singular vectors of the pretrained weights that the change does not"
              " touch never move.", "Theorem G.1",
              kit.bounded(other, "==", 12.5, rounding=12.5 * np.finfo(float).eps, quantity="loss")),
        Claim("gradient_solves", "Starts along those of the gradient solve the same problems.", "derived here",
              kit.bounded(lambda ds: ds.loss.sel(start="spectral").isel(unit=-1), "<=", (10 * FLOW["rtol"] * 5) ** 2,
                          quantity="final loss, at most ten tolerances squared")),
    ),
)  # fmt: skip
