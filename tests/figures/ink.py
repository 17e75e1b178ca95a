"""What of a figure cannot be seen: curves under legends, words that are cut or lie on each other."""

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.text import Text


def drawn(figure):
    """The figure's pixels (rows, columns, 3), the top row last, as extents count."""
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())[::-1, :, :3]


def legends(figure):
    """All legends: the panels', the figure's, those of its parts."""
    found = [panel.get_legend() for panel in figure.axes] + figure.legends
    found += [legend for part in figure.subfigs for legend in part.legends]
    return [legend for legend in found if legend is not None]


def hidden(figure):
    """The share of ink under each legend, that of grids aside, by its words; the figure is not the same after it."""
    drawn(figure)  # lays it out
    figure.set_layout_engine("none")
    boxes = {
        " | ".join(text.get_text() for text in one.get_texts()): one.get_window_extent() for one in legends(figure)
    }
    for one in legends(figure):
        one.set_visible(False)
    for panel in figure.axes:
        panel.grid(False)
    ink = drawn(figure).min(axis=-1) < 250  # what is fainter cannot be seen
    shares = {}
    for words, box in boxes.items():
        (left, bottom), (right, top) = np.floor(box.min).astype(int) + 1, np.ceil(box.max).astype(int) - 1
        shares[words] = float(ink[max(bottom, 0) : top, max(left, 0) : right].mean())
    return shares


def words(figure):
    """The extents in pixels of all words that are drawn, but for ticks outside their axis."""
    ticks = {}
    for panel in figure.axes:
        for axis in (panel.xaxis, panel.yaxis):
            low, high = sorted(axis.get_view_interval())
            for tick in (*axis.get_major_ticks(), *axis.get_minor_ticks()):
                ticks |= dict.fromkeys((tick.label1, tick.label2), low <= tick.get_loc() <= high)
    found = [text for text in figure.findobj(Text) if text.get_visible() and text.get_text() and ticks.get(text, True)]
    return {text: text.get_window_extent() for text in found}


def crowded(figure):
    """Words that the figure's edge cuts, and pairs of words that lie on each other; a pixel is no matter."""
    drawn(figure)
    boxes = [(text.get_text(), box) for text, box in words(figure).items()]
    bad = []
    for k, (one, box) in enumerate(boxes):
        if min(box.x0, box.y0) < -1 or box.x1 > figure.bbox.x1 + 1 or box.y1 > figure.bbox.y1 + 1:
            bad.append(one)
        for other, its in boxes[:k]:
            width, height = min(box.x1, its.x1) - max(box.x0, its.x0), min(box.y1, its.y1) - max(box.y0, its.y0)
            if min(width, height) > 1:
                bad.append(f"{other} | {one}")
    return bad
