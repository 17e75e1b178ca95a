"""Benchmarks against peers in their best form and against the machine's ceilings.

    python benchmarks/run.py                      all rooms
    python benchmarks/run.py games engine         some
    python benchmarks/run.py --quick              seconds instead of minutes, to see that all runs
    python benchmarks/run.py games --keep         keep the rows in benchmarks/results/<processor>.json, beside those of
                                                  other cases that were measured on it
    python benchmarks/run.py games --device gpu   on the accelerator, in wall seconds

On CPU everything runs on one pinned core with one thread, in CPU seconds, competitors in turn within one process. A
ratio is the competitor's time over ours, the median over rounds with its least and greatest.
"""

import argparse
import datetime
import importlib
import json
import os
import re
import resource
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).parent


def cases(rooms: list[str]) -> list:
    """The cases of `benchmarks/cases/*.py`, found by themselves."""
    found = []
    for file in sorted((HERE / "cases").glob("*.py")):
        if not rooms or file.stem in rooms:
            found += importlib.import_module(f"cases.{file.stem}").CASES
    return found


def peak_mib(case: str, competitor: str, quick: bool) -> float | None:
    """The peak memory of a process that does one competitor's work once, in MiB."""
    command = [sys.executable, __file__, "--alone", case, competitor, *(["--quick"] if quick else [])]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return float(done.stdout.split()[-1]) if done.returncode == 0 else None


def own_peak_mib() -> float:
    """The peak memory of this process, in MiB."""
    status = Path("/proc/self/status")
    if status.exists():  # Linux's ru_maxrss begins with the size of the process that started this one
        line = next(line for line in status.read_text().splitlines() if line.startswith("VmHWM"))
        return int(line.split()[1]) / 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def kept(about: dict) -> tuple[Path, dict]:
    """The file of this machine's rows, and what it holds."""
    words = re.sub(r"[^a-z0-9]+", "-", f"{about['cpu']} {about['device'].partition(': ')[2]}".lower()).strip("-")
    file = HERE / "results" / f"{words.removesuffix('-cpu')}.json"
    return file, json.loads(file.read_text()) if file.exists() else {"machine": about, "rows": []}


def main() -> int:
    rooms = sorted(file.stem for file in (HERE / "cases").glob("*.py"))
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("rooms", nargs="*", help=f"which of {', '.join(rooms)}; all when none is named")
    parser.add_argument("--device", choices=("cpu", "gpu", "tpu"), default="cpu")
    parser.add_argument("--keep", action="store_true", help="keep the rows in benchmarks/results")
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--rounds", type=int)
    parser.add_argument("--only", help="the cases whose name contains this")
    parser.add_argument(
        "--memory", action="store_true", help="also the peak memory of each competitor, each in a process of its own"
    )
    parser.add_argument("--alone", nargs=2, metavar=("CASE", "COMPETITOR"), help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if set(asked.rooms) - set(rooms):
        parser.error(f"no such room: {', '.join(sorted(set(asked.rooms) - set(rooms)))}; there are {', '.join(rooms)}")
    sys.path.insert(0, str(HERE))
    sys.path.insert(0, str(HERE.parent))
    import machine

    if asked.device == "cpu":
        machine.pin()
        os.environ.setdefault("JAX_PLATFORMS", "cpu")
    import ceilings
    from harness import CPU, WALL, measure

    if asked.alone:
        case = next(c for c in cases([]) if c.name == asked.alone[0])
        case.make(asked.quick)[asked.alone[1]].run()
        print(own_peak_mib())
        return 0
    import jax

    if asked.device != "cpu" and jax.default_backend() != asked.device:
        parser.error(
            f"--device {asked.device}: jax sees only {jax.default_backend()}; install jax for it, or use --device cpu"
        )
    top = ceilings.cpu() if asked.device == "cpu" else ceilings.device()
    clock = "CPU seconds, one pinned core" if asked.device == "cpu" else "wall seconds"
    about = {**machine.about(), "kernels": machine.kernels(), "clock": clock}
    print(f"{about['cpu']}, {about['device']}; products by {', '.join(map(': '.join, about['kernels'].items()))}")
    date = datetime.datetime.now(datetime.UTC).date().isoformat()
    rows = []
    for case in cases(asked.rooms):
        if (asked.only or "") not in case.name or (case.accelerator and asked.device == "cpu" and not asked.only):
            continue
        found = measure(case, quick=asked.quick, rounds=asked.rounds, clock=CPU if asked.device == "cpu" else WALL)
        for row in found:
            row["precision"] = "highest"
            row["device"] = about["device"]
            row["date"] = date
            if (asked.memory or case.axis in ("steps", "lanes")) and case.unit != "processes":
                row["peak_mib"] = peak_mib(case.name, row["competitor"], asked.quick)
        rows += found
        for row in found:  # a ceiling that a competitor passes was none
            if row["dtype"] in top:
                top[row["dtype"]] = max(top[row["dtype"]], row.get("gflops", 0.0))
        show(case, found, top)
    if asked.keep:
        file, before = kept(about)
        measured = {row["case"] for row in rows}
        rows = [row for row in before["rows"] if row["case"] not in measured] + rows
        least = before["machine"].get("ceilings", {})
        about["ceilings"] = {name: max(rate, least.get(name, 0.0)) for name, rate in top.items()}
        file.write_text(json.dumps({"machine": about, "rows": rows}, indent=1) + "\n")
        print(f"\nkept in {file.relative_to(HERE.parent)}: python benchmarks/table.py renews the README")
    return 0


def _has_share(row: dict, ceilings: dict) -> bool:
    return "gflops" in row and row["dtype"] in ceilings


def show(case, rows: list[dict], ceilings: dict) -> None:
    print(f"\n{case.name}: {case.size}, {case.dtype}" + (f" ({case.note})" if case.note else ""))
    for row in rows:
        share = f"{row['gflops'] / ceilings[row['dtype']]:6.0%} of the ceiling" if _has_share(row, ceilings) else ""
        memory = f"{row['peak_mib']:8.0f} MiB" if row.get("peak_mib") else ""
        target = f"(target {row['target']:g})" if row["target"] else ""
        print(
            f"  {row['competitor']:34s} compile {row['compile_s']:6.2f} s  first {row['first_call_s']:8.3f} s"
            f"  steady {row['steady_s']:8.3f} s"
            f"  {row['rate_per_s']:11.4g} {case.unit}/s"
            f"  ratio {row['ratio']:6.3f} [{row['ratio_low']:.3f}, {row['ratio_high']:.3f}] {target:13s}"
            f"{share}{memory}",
            flush=True,
        )


if __name__ == "__main__":
    sys.exit(main())
