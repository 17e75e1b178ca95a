"""Figures of papers: measured solid, predicted dashed, one legend, one style."""

from collections.abc import Callable
from typing import Any

import numpy as np

import theorylab.figures as figures


def curves(
    panel: Any,
    dataset: Any,
    y: str,
    *,
    x: str = "step",
    by: str | None = None,
    theory: str | None = None,
    labels: Callable[[Any], str] = str,
    over: str = "seed",
    log: str = "y",
    title: str = "",
    **looks: Any,
) -> None:
    """Draw a variable over another, one colour a value of a dimension, with its theory dashed in the same colour.

    **Arguments**: `panel`, matplotlib's axes; `dataset`; `y`, a variable with the dimension of `x`, `by` and, where it
    is drawn, `over`; `x`, a variable or coordinate; `by`, the dimension that has a curve for each value; `theory`, a
    variable like y without `over`; `labels`, the words for a value of `by`; `over`, the dimension of draws, which
    become a mean with a band; `log`, the axes that are logarithmic, a subset of "xy"; `title`; `looks`, keywords of the
    measured lines, such as `marker="o"`.

    **Returns** None; `drawn` makes the figure.

        >>> import theorylab as tl, theorylab.papers.kit as kit, xarray
        >>> dataset = xarray.Dataset({"error": (("rank", "step"), [[1.0, 0.5], [1.0, 0.1]])},
        ...     {"rank": [1, 2], "step": [0, 1]})
        >>> figure, axes = tl.figures.panels(1)
        >>> kit.curves(axes[0], dataset, "error", by="rank", labels="rank {}".format)
        >>> [line.get_label() for line in axes[0].lines]
        ['rank 1', 'rank 2']
    """
    for k, value in enumerate([None] if by is None else dataset[by].values):
        one = dataset if by is None else dataset.isel({by: k})
        colour = figures.COLOURS[k % len(figures.COLOURS)]
        samples, places = one[y], np.asarray(one[x], float)
        samples = samples.transpose(over, ...) if over in samples.dims else samples
        label = "" if value is None else labels(value)
        figures.measured(panel, places, np.asarray(samples), **{"color": colour, "label": label, **looks})
        if theory is not None and np.isfinite(one[theory]).any():
            figures.predicted(panel, places, one[theory], color=colour)
    scales = {"xscale": "log" if "x" in log else "linear", "yscale": "log" if "y" in log else "linear"}
    panel.set(xlabel=x, title=title, **scales)


def drawn(*panels: Callable[[Any, Any], None], ylabel: str, theory: str = "predicted", **more: Any) -> Callable:
    """Make the `plot` of an experiment from its panels: one figure, one legend, one style.

    **Arguments**: `panels`, functions of (panel, dataset); `ylabel`, the words beside the first; `theory`, what dashed
    lines are in the legend, "" where there are none; `more`, keywords of `figures.panels`, such as `sharey=True`.

    **Returns** a function of a dataset to a `matplotlib.figure.Figure`.

        >>> import theorylab.papers.kit as kit, xarray
        >>> plot = kit.drawn(lambda panel, dataset: kit.curves(panel, dataset, "error", theory="law"), ylabel="error")
        >>> dataset = xarray.Dataset({"error": ("step", [1.0, 0.5]), "law": ("step", [1.0, 0.5])}, {"step": [0, 1]})
        >>> plot(dataset).axes[0].get_ylabel()
        'error'
    """

    def plot(dataset: Any) -> Any:
        figure, axes = figures.panels(len(panels), **more)
        for panel, draw in zip(axes, panels, strict=True):
            draw(panel, dataset)
        if theory:
            figures.predicted(axes[0], [], [], color="0.3", label=theory)
        axes[0].set_ylabel(ylabel)
        figures.legend(axes)
        return figure

    return plot
