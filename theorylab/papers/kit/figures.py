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
    xlabel: str = "",
    title: str = "",
    markers: str = "",
    **looks: Any,
) -> None:
    """Draw a variable over another, one colour a value of a dimension, with its theory dashed in the same colour.

    **Arguments**: `panel`, matplotlib's axes; `dataset`; `y`, a variable with the dimension of `x`, `by` and, where it
    is drawn, `over`; `x`, a variable or coordinate; `by`, the dimension that has a curve for each value; `theory`, a
    variable like y without `over`, over a dimension of its own where it has not that of x, or a level; `labels`, the
    words for a value of `by`; `over`, the dimension of draws, which become a mean with a band; `log`, the axes that are
    logarithmic, a subset of "xy"; `xlabel`, x itself when empty; `title`; `markers`, one for each curve, here and
    there, where curves lie on each other; `looks`, keywords of the measured lines, such as `marker="o"`.

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
        sparse = {"marker": markers[k], "markevery": (2 * k, 8), "markersize": 5} if markers else {}
        figures.measured(panel, places, np.asarray(samples), **{"color": colour, "label": label, **sparse, **looks})
        if theory is not None and np.isfinite(one[theory]).any():
            own = set(one[theory].dims) - set(one[x].dims)
            figures.predicted(panel, one[own.pop()] if own else places, one[theory], color=colour)
    scales = {"xscale": "log" if "x" in log else "linear", "yscale": "log" if "y" in log else "linear"}
    panel.set(xlabel=xlabel or x, title=title, **scales)
    if "x" in log:
        panel.xaxis.set_minor_formatter("")  # within a decade or two they would lie on each other


def guide(
    panel: Any, curve: Any, slope: int | float, *, x: tuple[float, float] = (1e-4, 1e-3), lift: float = 6
) -> None:
    """Draw a slope beside a curve of a log-log plot, by which to read the curve's.

    **Arguments**: `panel`, matplotlib's axes; `curve`, an `xarray.DataArray` of one dimension, with its coordinate;
    `slope`; `x`, where the guide begins and ends; `lift`, how many times above the curve.

    **Returns** None.

        >>> import theorylab as tl, theorylab.papers.kit as kit, xarray
        >>> figure, axes = tl.figures.panels(1)
        >>> kit.guide(axes[0], xarray.DataArray([1.0, 2.0], {"x": [1e-4, 2e-4]}, ("x",)), 1)
        >>> axes[0].lines[0].get_ydata().round(6).tolist()
        [6.0, 60.0]
    """
    curve = curve.sortby(curve.dims[0])
    figures.slope_guide(panel, x, lift * float(np.interp(x[0], curve[curve.dims[0]], curve)), slope)


def drawn(
    *panels: Callable[[Any, Any], None], ylabel: str, theory: str = "predicted", per: str | None = None, **more: Any
) -> Callable:
    """Make the `plot` of an experiment from its panels: one figure, one legend, one style.

    **Arguments**: `panels`, functions of (panel, dataset); `ylabel`, the words beside the first; `theory`, what dashed
    lines are in the legend, "" where there are none; `per`, a dimension: each of its places has the panels to itself,
    in turn; `more`, keywords of `figures.panels`, such as `sharey=True`.

    **Returns** a function of a dataset to a `matplotlib.figure.Figure`.

        >>> import theorylab.papers.kit as kit, xarray
        >>> plot = kit.drawn(lambda panel, dataset: kit.curves(panel, dataset, "error", theory="law"), ylabel="error")
        >>> dataset = xarray.Dataset({"error": ("step", [1.0, 0.5]), "law": ("step", [1.0, 0.5])}, {"step": [0, 1]})
        >>> plot(dataset).axes[0].get_ylabel()
        'error'
    """

    def plot(dataset: Any) -> Any:
        parts = [dataset] if per is None else [dataset.isel({per: k}) for k in range(dataset.sizes[per])]
        figure, axes = figures.panels(len(panels) * len(parts), **more)
        for k, panel in enumerate(axes):
            panels[k % len(panels)](panel, parts[k // len(panels)])
        if theory:
            figures.predicted(axes[0], [], [], color="0.3", label=theory)
        axes[0].set_ylabel(ylabel)
        figures.legend(axes)
        return figure

    return plot
