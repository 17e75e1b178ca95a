"""The parts of a claim's figure: panels, what was measured, what was predicted, a slope to read it by."""

from typing import Any

import numpy as np
from numpy.typing import ArrayLike


def panels(
    columns: int, rows: int = 1, *, width: float | int = 4.6, height: float | int = 3.8, **keywords: Any
) -> tuple[Any, Any]:
    """A figure of equal panels, without pyplot's state.

    **Arguments**: `columns` and `rows`; `width` and `height` of a panel, inches; further keywords of
    `matplotlib.figure.Figure.subplots`.

    **Returns** the figure, and its axes as an array, (columns,) or (rows, columns).

    **Source**: derived here.

        >>> import theorylab as tl
        >>> tl.figures.panels(3)[1].shape
        (3,)
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width * columns, height * rows), layout="constrained")
    axes = figure.subplots(rows, columns, squeeze=False, **keywords)
    return figure, axes if rows > 1 else axes[0]


def measured(
    axes: Any, x: ArrayLike, samples: ArrayLike, *, label: str = "", color: Any = None, **keywords: Any
) -> Any:
    r"""A solid line, the mean over samples, in a band of two standard errors.

    The band ends at the smallest and the largest sample, so that it stays positive on a logarithmic axis.

    **Arguments**: `axes`; `x` (t,); `samples` (s, t), or (t,) for what has no error; `label` and `color` of the line,
    and further keywords of `axes.plot`.

    **Returns** the line.

    **Source**: derived here.

        >>> import theorylab as tl
        >>> figure, axes = tl.figures.panels(1)
        >>> line = tl.figures.measured(axes[0], [0, 1], [[1.0, 2.0], [3.0, 4.0]])
        >>> line.get_ydata().tolist()
        [2.0, 3.0]
    """
    samples = np.atleast_2d(np.asarray(samples, float))
    count, mean = len(samples), samples.mean(0)
    (line,) = axes.plot(x, mean, label=label or None, color=color, **keywords)
    if count > 1:
        error = 2 * samples.std(0, ddof=1) / np.sqrt(count)
        low, high = np.maximum(mean - error, samples.min(0)), np.minimum(mean + error, samples.max(0))
        axes.fill_between(x, low, high, color=line.get_color(), alpha=0.25, linewidth=0)
    return line


def predicted(
    axes: Any, x: ArrayLike, y: ArrayLike | float, *, label: str = "", color: Any = "black", **keywords: Any
) -> Any:
    """A dashed line: what the theory says.

    **Arguments**: `axes`; `x` (t,); `y` (t,), or a number for a level; `label` and `color` of the line, and further
    keywords of `axes.plot`.

    **Returns** the line.

    **Source**: derived here.

        >>> import theorylab as tl
        >>> figure, axes = tl.figures.panels(1)
        >>> tl.figures.predicted(axes[0], [1, 2], 3.0).get_ydata().tolist()
        [3.0, 3.0]
    """
    x = np.asarray(x, float)
    y = np.broadcast_to(np.asarray(y, float), x.shape)
    (line,) = axes.plot(x, y, label=label or None, color=color, **{"linestyle": "--", "linewidth": 1.5, **keywords})
    return line


def legend(axes: Any) -> Any:
    """The legend of a panel, or one that several panels share: below them, where no curve can be.

    It has as many columns as there is room for. Call it when the panels are drawn and their axes are named.

    **Arguments**: `axes`, one panel, or an array of all that share the legend; what has the same label in several of
    them is named once.

    **Returns** the legend.

    **Source**: derived here.

        >>> import theorylab as tl
        >>> figure, axes = tl.figures.panels(2)
        >>> for panel in axes:
        ...     line = tl.figures.predicted(panel, [1, 2], 3.0, label="theory")
        >>> [text.get_text() for text in tl.figures.legend(axes).get_texts()]
        ['theory']
    """
    from matplotlib.transforms import ScaledTranslation

    shared = list(np.ravel(axes))
    first, figure = shared[0], shared[0].figure
    entries = [panel.get_legend_handles_labels() for panel in shared]
    named = {label: handle for handles, labels in entries for handle, label in zip(handles, labels, strict=True)}
    if len(shared) == 1 and len(figure.axes) > 1:
        width = figure.bbox.width / first.get_subplotspec().get_gridspec().ncols
        below = (first.xaxis.get_tightbbox().y0 - first.bbox.y0 - 4) / figure.dpi
        place = {
            "loc": "upper center",
            "bbox_to_anchor": (0.5, 0.0),
            "bbox_transform": first.transAxes + ScaledTranslation(0, below, figure.dpi_scale_trans),
            "borderaxespad": 0,
        }
        put, room = first.legend, 0.9 * width  # the names of its vertical axis have the rest
    else:
        put, place, room = figure.legend, {"loc": "outside lower center"}, figure.bbox.width
    for columns in range(len(named), 0, -1):
        made = put(named.values(), named.keys(), ncols=columns, columnspacing=1.2, **place)
        if columns == 1 or made.get_window_extent().width <= room:
            return made
        made.remove()
    raise ValueError("nothing in these panels has a label: give label= to what the legend shall name")


def slope_guide(axes: Any, x: tuple[float, float], y: float, slope: int | float) -> Any:
    r"""A dotted line $y (x / x_0)^{s}$ between two abscissae of a log-log plot, with its slope written at its end.

    **Arguments**: `axes`; `x` $(x_0, x_1)$; `y` at $x_0$; `slope` $s$.

    **Returns** the line.

    **Source**: derived here.

        >>> import theorylab as tl
        >>> figure, axes = tl.figures.panels(1)
        >>> tl.figures.slope_guide(axes[0], (1.0, 10.0), 2.0, 2).get_ydata().tolist()
        [2.0, 200.0]
    """
    ends = np.asarray(x, float)
    values = y * (ends / ends[0]) ** slope
    (line,) = axes.plot(ends, values, color="0.35", linestyle=":", linewidth=1.4)
    axes.annotate(f"slope {slope:g}", (ends[1], values[1]), color="0.35", fontsize=10, ha="right", va="bottom")
    return line
