"""The tables of measured numbers in README.md, made from rows that `run.py --json` wrote.

python benchmarks/table.py            rewrite the table between its markers
python benchmarks/table.py --check    exit with 1 if it is not what the rows say
"""

import json
import sys
from pathlib import Path

HERE = Path(__file__).parent
ROWS = HERE / "results" / "cpu.json"
README = HERE.parent / "README.md"
BEGIN, END = "<!-- speed: generated -->", "<!-- end of speed -->"


def table(content: dict) -> str:
    """Rows against ours, as Markdown, with the machine that they were measured on."""
    machine = content["machine"]
    lines = [
        "| case | against | ratio (spread) | target | compile, ours |",
        "|---|---|---|---|---|",
    ]
    ours = {}
    for row in content["rows"]:
        if row["case"] not in ours:
            ours[row["case"]] = row
            continue
        target = "" if row["target"] is None else f">= {row['target']:.3g}"
        lines.append(
            f"| {row['case'].replace('_', ' ')}: {row['size'].replace('|', chr(92) + '|')} | {row['competitor']} |"
            f" {row['ratio']:.2f} ({row['ratio_low']:.2f} to {row['ratio_high']:.2f}) | {target} |"
            f" {ours[row['case']]['compile_s']:.1f} s |"
        )
    share = [
        f"{row['case'].replace('_', ' ')} {row['floor_share']:.0%}" for row in ours.values() if "floor_share" in row
    ]
    dates = " to ".join(
        sorted({min(row["date"] for row in content["rows"]), max(row["date"] for row in content["rows"])})
    )
    lines += ["", f"{machine['cpu']}, jax {machine['jax']}, {machine['clock']}, {dates}."]
    if share:
        lines[-1] += f" Share of the matrix-product rate of the same run: {', '.join(share)}."
    return "\n".join(lines)


def main() -> int:
    text = README.read_text()
    before, rest = text.split(BEGIN)
    after = rest.split(END)[1]
    new = f"{before}{BEGIN}\n{table(json.loads(ROWS.read_text()))}\n{END}{after}"
    if "--check" in sys.argv:
        return int(new != text)
    README.write_text(new)
    return 0


if __name__ == "__main__":
    sys.exit(main())
