"""The tables of measured numbers, in README.md and in the documentation, from rows that `run.py --json` wrote.

python benchmarks/table.py            rewrite the README's table between its markers
python benchmarks/table.py --check    exit with 1 if it is not what the rows say
"""

import json
import sys
from collections.abc import Iterator
from pathlib import Path

HERE = Path(__file__).parent
RESULTS = HERE / "results"
README = HERE.parent / "README.md"
BEGIN, END = "<!-- speed: generated -->", "<!-- end of speed -->"


def comparisons(rows: list[dict]) -> Iterator[tuple[dict, dict]]:
    """Each competitor's row, after that of its case which is ours: the first of the case."""
    ours = {}
    for row in rows:
        if ours.setdefault(row["case"], row) is not row:
            yield ours[row["case"]], row


def table(content: dict) -> str:
    """Of each case the competitor against which its target is farthest, as Markdown, with the machine."""
    worst: dict[str, dict] = {}
    for ours, row in comparisons(content["rows"]):
        if row["target"] is not None:
            named = worst.setdefault(ours["case"], row)
            worst[ours["case"]] = min(named, row, key=lambda row: row["ratio"] / row["target"])
    lines = ["| case | against | ratio (spread) | target |", "|---|---|---|---|"]
    for row in worst.values():
        lines.append(
            f"| {_name(row)}: {_escaped(row['size'])} | {row['competitor']} | {_ratio(row)} | {_target(row)} |"
        )
    return "\n".join([*lines, "", _machine(content)])


def page(contents: list[dict]) -> str:
    """All rows of all machines, room by room, as a page of the documentation."""
    parts = [
        "# Benchmarks\n\nA ratio is the other's time over ours, the median over rounds with its least and greatest:"
        " above one, theorylab is faster. A target is the ratio that a case promised before it was measured, missed"
        " where the median is below. The floor"
        " is the rate of plain matrix products on the same machine in the same run. `python benchmarks/run.py --json"
        " benchmarks/results/cpu.json` measures again."
    ]
    for content in contents:
        device, floors = content["machine"]["device"].partition(":")[0].upper(), content["machine"]["ceilings"]
        said = ", ".join(f"{name.replace('_', ' ')} {value:.3g}" for name, value in floors.items())
        parts.append(f"## {device}\n\n{_machine(content)} Its floors, in GFLOP/s of matrix products and GB/s: {said}.")
        parts.append(_misses(content["rows"]))
        rooms = dict.fromkeys(row["room"] for row in content["rows"])
        for room in rooms:
            parts.append(f"### {device}, {room}")
            rows = [row for row in content["rows"] if row["room"] == room]
            for case in dict.fromkeys(row["case"] for row in rows):
                parts.append(_case([row for row in rows if row["case"] == case]))
    return "\n\n".join(parts) + "\n"


def _case(rows: list[dict]) -> str:
    """One case: ours first, then each competitor; a column that says nothing is left out."""
    dtype = "" if rows[0]["dtype"] == "-" else f" {rows[0]['dtype']},"
    about = f"**{_name(rows[0]).capitalize()}**: {_escaped(rows[0]['size'])};{dtype} {rows[0]['date']}."
    columns = {
        "": [_escaped(row["competitor"] + (f" ({row['note']})" if row["note"] else "")) for row in rows],
        "ratio (spread)": ["ours", *map(_ratio, rows[1:])],
        "target": [_target(row) + (", **missed**" if _is_missed(row) else "") for row in rows],
        "seconds": [f"{row['steady_s']:.3g}" for row in rows],
        "share of floor": [f"{row['floor_share']:.0%}" if "floor_share" in row else "" for row in rows],
        "compile": [f"{row['compile_s']:.1f} s" for row in rows],
        "peak memory": [f"{row['peak_mib']:.0f} MiB" if row.get("peak_mib") else "" for row in rows],
    }
    columns = {name: cells for name, cells in columns.items() if any(cells)}
    lines = [list(columns), ["---"] * len(columns), *zip(*columns.values(), strict=True)]
    return "\n".join([about, "", *(f"| {' | '.join(line)} |" for line in lines)])


def _misses(rows: list[dict]) -> str:
    """Which targets are missed, in words."""
    aimed, missed = [row for row in rows if row["target"] is not None], list(filter(_is_missed, rows))
    names = [
        f"- {_name(row)} against {_escaped(row['competitor'])}: {row['ratio']:.2f}, promised {row['target']:.3g}"
        for row in missed
    ]
    return "\n".join([f"Of {len(aimed)} targets {len(missed)} are missed{':' if missed else '.'}", "", *names])


def _is_missed(row: dict) -> bool:
    return row["target"] is not None and row["ratio"] < row["target"]


def _name(row: dict) -> str:
    return row["case"].replace("_", " ")


def _ratio(row: dict) -> str:
    return f"{row['ratio']:.2f} ({row['ratio_low']:.2f} to {row['ratio_high']:.2f})"


def _target(row: dict) -> str:
    return "" if row["target"] is None else f">= {row['target']:.3g}"


def _escaped(text: str) -> str:
    return text.replace("|", r"\|")


def _machine(content: dict) -> str:
    machine, dates = content["machine"], [row["date"] for row in content["rows"]]
    when = " to ".join(sorted({min(dates), max(dates)}))
    return f"{machine['cpu']}, jax {machine['jax']}, {machine['clock']}, {when}."


def main() -> int:
    text = README.read_text()
    before, rest = text.split(BEGIN)
    after = rest.split(END)[1]
    new = f"{before}{BEGIN}\n{table(json.loads((RESULTS / 'cpu.json').read_text()))}\n{END}{after}"
    if "--check" in sys.argv:
        return int(new != text)
    README.write_text(new)
    return 0


if __name__ == "__main__":
    sys.exit(main())
