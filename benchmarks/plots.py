"""Pictures of what `run.py --keep` measured: the cores against their competitors, and cost against size.

python benchmarks/plots.py            draw docs/figures/speed.png and docs/figures/scale.png
"""

from itertools import groupby
from pathlib import Path
from typing import Any

import table

from theorylab import figures

ROOT = Path(__file__).resolve().parents[1]
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


def cores(kept: list[dict]) -> Any:
    """A figure: on each machine, every competitor's time over ours, for the cores that the README shows."""
    with figures.style():
        figure, panels = figures.panels(len(kept), sharey=True)
        for panel, one in zip(panels, kept, strict=True):
            for place, case in enumerate(reversed(table.CORES)):
                others = [row for row in one["rows"] if row["case"] == case]
                others = [row for row in others if not row["competitor"].startswith("theorylab")]
                for row in others:
                    worst = row is table.strongest(one["rows"], case)
                    panel.plot(
                        row["ratio"], place, "o", color=figures.COLOURS[0 if worst else 1], alpha=1 if worst else 0.5
                    )
                best = table.strongest(one["rows"], case)
                if best:
                    panel.annotate(f"{best['ratio']:.1f}", (best["ratio"], place), (0, -12), fontsize=9, ha="center",
                                   textcoords="offset points")  # fmt: skip
                panel.text(1.08, place + 0.28, table.CORES[case], fontsize=10)
            panel.axvline(1, color="black", linestyle="--", linewidth=1)
            panel.set(xscale="log", xlabel="their time / ours", title=table.cpu(one), xlim=(0.5, 100), yticks=[],
                      ylim=(-0.4, len(table.CORES) - 0.2))  # fmt: skip
        panels[0].plot([], [], "o", color=figures.COLOURS[0], label="strongest competitor")
        panels[0].plot([], [], "o", color=figures.COLOURS[1], alpha=0.5, label="others")
        figures.legend(panels)
    return figure


def main() -> None:
    kept, folder = table.contents(), ROOT / "docs" / "figures"
    cores([one for one in kept if any(row["case"] in table.CORES for row in one["rows"])]).savefig(folder / "speed.png")
    growing = next(one["rows"] for one in kept if any("x" in row for row in one["rows"]))
    growth(growing).savefig(folder / "scale.png")


if __name__ == "__main__":
    main()
