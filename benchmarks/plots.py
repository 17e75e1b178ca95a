"""Cost against size, from the rows of cases that grow.

python benchmarks/run.py scale --json benchmarks/results/cpu.json
python benchmarks/plots.py benchmarks/results/cpu.json docs/figures/scale.png
"""

import json
import sys
from itertools import groupby
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from theorylab import figures

QUANTITIES = {"seconds": "seconds for a unit of work", "peak_mib": "peak memory, MiB"}


def growth(rows: list[dict]) -> Any:
    """A figure: time for a unit of work, and memory below, against each axis that a case grows along; both log-log.

    A flat line above says that cost is proportional to work; a flat line below, that memory does not grow.
    """
    rows = [row | {"seconds": 1 / row["rate_per_s"]} for row in rows if "x" in row]
    rows.sort(key=lambda row: (row["x_unit"], row["case"], row["x"]))
    axes_names = list(dict.fromkeys(row["x_unit"] for row in rows))
    with figures.style():
        figure, panels = figures.panels(len(axes_names), 2)
        for column, axis in enumerate(axes_names):
            for panel, (quantity, label) in zip(panels[:, column], QUANTITIES.items(), strict=True):
                for case, points in groupby((row for row in rows if row["x_unit"] == axis), lambda row: row["case"]):
                    pairs = [(row["x"], row[quantity]) for row in points if row.get(quantity)]
                    if pairs:
                        name = case.removeprefix("scale_").replace("_", " ")
                        panel.plot(*zip(*pairs, strict=True), marker="o", label=name)
                panel.set(xscale="log", yscale="log", xlabel=axis, ylabel=label, visible=bool(panel.lines))
                sizes = sorted({row["x"] for row in rows if row["x_unit"] == axis})
                panel.set_xticks(sizes, [f"{size:,.0f}" for size in sizes], fontsize=9)
                panel.set_xticks([], minor=True)
                if panel.lines:
                    low, high = panel.get_ylim()
                    panel.set_ylim(min(low, high / 20), max(high, 20 * low))  # or what is flat would not look it
                    panel.legend()
    return figure


def main(rows: str, target: str) -> None:
    growth(json.loads(Path(rows).read_text())["rows"]).savefig(target)


if __name__ == "__main__":
    main(*sys.argv[1:])
