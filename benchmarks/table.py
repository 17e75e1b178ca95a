"""The measured numbers in README.md and in the documentation, from rows that `run.py --keep` wrote.

python benchmarks/table.py            rewrite the README's rows between their markers
python benchmarks/table.py --check    exit with 1 if they are not what was measured
"""

import json
import sys
from pathlib import Path

HERE = Path(__file__).parent
RESULTS = HERE / "results"
README = HERE.parent / "README.md"
BEGIN, END = "<!-- speed: generated -->", "<!-- end of speed -->"
CORES = {
    "extragradient_sweep": "extragradient, reshuffled and extrapolated",
    "attention_64": "DDPM denoising loss and its gradient",
    "opsa_16_lanes": "preconditioned subgradient, a sweep",
    "lora_any_difference": "LoRA flow",
    "early_stopping": "a sweep whose lanes stop by themselves",
}
"""The cases that the README shows, in words."""


def contents() -> list[dict]:
    """What was kept of each machine, the newest first."""
    kept = [json.loads(path.read_text(encoding="utf-8")) for path in sorted(RESULTS.glob("*.json"))]
    return sorted(kept, key=lambda one: max(row["date"] for row in one["rows"]), reverse=True)


def strongest(rows: list[dict], case: str) -> dict | None:
    """Of a case the competitor from elsewhere that comes nearest to us, or passes us."""
    others = [row for row in rows if row["case"] == case and not row["competitor"].startswith("theorylab")]
    return min(others, key=lambda row: row["ratio"]) if others else None


def table(kept: list[dict]) -> str:
    """The cores, each against its strongest competitor, as Markdown: a column for each machine."""
    machines = [one for one in kept if any(strongest(one["rows"], case) for case in CORES)]
    head = ["core", *(f"{cpu(one)}, {_dates(one)}" for one in machines)]
    lines = [head, ["---"] * len(head)]
    for case, words in CORES.items():
        best = [strongest(one["rows"], case) for one in machines]
        lines.append([words, *(f"**{row['ratio']:.1f}** x {row['competitor']}" if row else "" for row in best)])
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def page(kept: list[dict]) -> str:
    """All rows, room by room, the machines side by side, as a page of the documentation."""
    parts = [
        "# Benchmarks\n\nA ratio is the other's time over ours, the median over rounds with its least and greatest:"
        " above one, theorylab is faster. A target is the ratio that a case promised before it was measured, missed"
        " where the median is below. The ceiling is the best matrix product that any library or competitor reached on"
        " that machine. `python benchmarks/run.py --keep` measures again."
    ]
    parts += [f"**{cpu(one)}**. {_machine(one)}" for one in kept]
    parts += [_misses(one) for one in kept]
    rooms = dict.fromkeys(row["room"] for one in kept for row in one["rows"])
    for room in rooms:
        parts.append(f"## {room.capitalize()}")
        cases = dict.fromkeys(row["case"] for one in kept for row in one["rows"] if row["room"] == room)
        parts += [_case(case, kept) for case in cases]
    return "\n\n".join(parts) + "\n"


def _case(case: str, kept: list[dict]) -> str:
    """One case: ours first, then each competitor; a column that says nothing is left out."""
    measured = [(one, {row["competitor"]: row for row in one["rows"] if row["case"] == case}) for one in kept]
    measured = [(one, rows) for one, rows in measured if rows]
    first = next(iter(measured[0][1].values()))
    dtype = "" if first["dtype"] == "-" else f"; {first['dtype']}"
    about = f"**{_name(first).capitalize()}**: {_escaped(first['size'])}{dtype}."
    competitors = list(dict.fromkeys(name for _, rows in measured for name in rows))
    known = [next(rows[name] for _, rows in measured if name in rows) for name in competitors]
    columns = {
        "": [_escaped(row["competitor"] + (f" ({row['note']})" if row["note"] else "")) for row in known],
        "target": [_target(row) for row in known],
    }
    for one, rows in measured:
        ours, name, ceilings = next(iter(rows)), cpu(one), one["machine"]["ceilings"]
        here = [rows.get(each) for each in competitors]
        columns |= {
            f"ratio (spread), {name}": ["ours" if row and row["competitor"] == ours else _ratio(row) for row in here],
            f"seconds, {name}": [f"{row['steady_s']:.3g}" if row else "" for row in here],
            f"share of ceiling, {name}": [_share(row, ceilings) for row in here],
            f"compile, {name}": [f"{row['compile_s']:.1f} s" if row else "" for row in here],
            f"peak memory, {name}": [
                f"{row['peak_mib']:.0f} MiB" if row and row.get("peak_mib") else "" for row in here
            ],
        }
    columns = {name: cells for name, cells in columns.items() if any(cells)}
    if len(measured) == 1:
        columns = {name.partition(", ")[0]: cells for name, cells in columns.items()}
        about = about.removesuffix(".") + f"; {cpu(measured[0][0])}."
    lines = [list(columns), ["---"] * len(columns), *zip(*columns.values(), strict=True)]
    return "\n".join([about, "", *(f"| {' | '.join(line)} |" for line in lines)])


def _misses(one: dict) -> str:
    """Which targets are missed, in words."""
    aimed, missed = [row for row in one["rows"] if row["target"] is not None], list(filter(is_missed, one["rows"]))
    names = [
        f"- {_name(row)} against {_escaped(row['competitor'])}: {row['ratio']:.2f}, promised {row['target']:.3g}"
        for row in missed
    ]
    said = f"On {cpu(one)} {len(missed)} of {len(aimed)} targets are missed{':' if missed else '.'}"
    return "\n".join([said, "", *names])


def is_missed(row: dict) -> bool:
    return row["target"] is not None and row["ratio"] < row["target"]


def _name(row: dict) -> str:
    return row["case"].replace("_", " ")


def cpu(one: dict) -> str:
    machine = one["machine"]
    kind, _, model = machine["device"].partition(": ")
    return model if kind != "cpu" else machine["cpu"].replace("(R)", "")


def _ratio(row: dict | None) -> str:
    if row is None:
        return ""
    missed = ", **missed**" if is_missed(row) else ""
    return f"{row['ratio']:.2f} ({row['ratio_low']:.2f} to {row['ratio_high']:.2f}){missed}"


def _share(row: dict | None, ceilings: dict) -> str:
    known = row is not None and "gflops" in row and row["dtype"] in ceilings
    return f"{row['gflops'] / ceilings[row['dtype']]:.0%}" if row and known else ""


def _target(row: dict) -> str:
    return "" if row["target"] is None else f">= {row['target']:.3g}"


def _escaped(text: str) -> str:
    return text.replace("|", r"\|")


def _dates(one: dict) -> str:
    dates = [row["date"] for row in one["rows"]]
    return " to ".join(sorted({min(dates), max(dates)}))


def _machine(one: dict) -> str:
    machine = one["machine"]
    rates = ", ".join(f"{name.replace('_', ' ')} {value:.3g}" for name, value in machine["ceilings"].items())
    by = ", ".join(f"{name}: {kernel}" for name, kernel in machine.get("kernels", {}).items())
    products = f" Products by {by}." if by else ""
    return (
        f"Jax {machine['jax']}, {machine['clock']}, {_dates(one)}.{products} Ceilings, in GFLOP/s of matrix products"
        f" and GB/s: {rates}."
    )


def main() -> int:
    text = README.read_text(encoding="utf-8")
    before, rest = text.split(BEGIN)
    after = rest.split(END)[1]
    new = f"{before}{BEGIN}\n{table(contents())}\n{END}{after}"
    if "--check" in sys.argv:
        return int(new != text)
    README.write_text(new, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
