"""One style: colours that the colour-blind tell apart, letters that can be read at half the size."""

from contextlib import AbstractContextManager

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
"""Okabe and Ito's palette, without its yellow, which is too light for lines."""


def style() -> AbstractContextManager[None]:
    """The style, while a figure is made and saved.

    **Returns** a context manager; nothing of matplotlib's state is changed after it.

    **Source**: the palette is Okabe and Ito, Color Universal Design (2008).

        >>> import theorylab as tl
        >>> with tl.figures.style():
        ...     figure, axes = tl.figures.panels(2)
        >>> axes.shape
        (2,)
    """
    import matplotlib
    from cycler import cycler

    return matplotlib.rc_context(
        {
            "axes.prop_cycle": cycler(color=COLOURS),
            "axes.grid": True,
            "axes.spines.right": False,
            "axes.spines.top": False,
            "axes.titlelocation": "left",
            "axes.titlesize": 12,
            "figure.dpi": 100,
            "figure.titlesize": 13,
            "font.size": 12,
            "grid.alpha": 0.25,
            "legend.fontsize": 10,
            "legend.framealpha": 0.85,
            "legend.edgecolor": "none",
            "lines.linewidth": 1.8,
            "savefig.dpi": 150,
            "svg.hashsalt": "theorylab",
        }
    )
