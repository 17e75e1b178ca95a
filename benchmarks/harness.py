"""How competitors are timed: in one process, in turn (A B A B ...), in CPU seconds, as ratios with their spread."""

import gc
import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any


@dataclass(frozen=True)
class Entry:
    """One way to do a case's work; the first call may compile. `cost` maps a call's result to seconds where not all
    of it counts; `dtype`, where it is not the case's. An entry of a case that grows stands at `x` on the case's axis,
    and does `work` units of its own."""

    run: Callable[[], Any]
    cost: Callable[[Any], float] | None = None
    dtype: str = ""
    x: float | None = None
    work: float | None = None


@dataclass(frozen=True)
class Case:
    """The same work by several competitors; the first named is ours.

    `make(quick)` builds the data and returns the entries. `work` counts units a call does (`unit`), `flops` and
    `bytes` what one unit needs at the least, for the share of the ceiling. `target` maps a peer to the ratio (peer's
    time over ours) that we promise; where entries do different work, it is that of their times for a unit. `axis` names
    what grows from entry to entry, the greatest first.
    """

    name: str
    room: str
    make: Callable[[bool], dict[str, Entry]]
    work: Callable[[bool], float]
    unit: str
    size: str
    dtype: str
    flops: float = 0.0
    target: dict[str, float] = field(default_factory=dict)
    rounds: int = 5
    note: str = ""
    axis: str = ""
    accelerator: bool = False  # on a CPU only when it is asked for by name


def measure(case: Case, *, quick: bool, rounds: int | None, clock: Callable[[], float]) -> list[dict]:
    """The rows of a case, one for each competitor."""
    entries = case.make(quick)
    first, compiling, times = {}, {}, {name: [] for name in entries}
    for name, entry in entries.items():
        before = _compile_seconds()
        first[name] = _once(entry, clock)
        compiling[name] = _compile_seconds() - before
    for _ in range(rounds or (2 if quick else case.rounds)):
        for name, entry in entries.items():
            times[name].append(_once(entry, clock))
    ours = next(iter(entries))
    whole, rows = case.work(quick), []
    units = {name: whole if entry.work is None else entry.work for name, entry in entries.items()}
    for name, entry in entries.items():
        work, steady = units[name], statistics.median(times[name])
        share = units[ours] / work
        ratios = sorted(share * other / own for other, own in zip(times[name], times[ours], strict=True))
        row = {
            "case": case.name,
            "room": case.room,
            "competitor": name,
            "size": case.size + (" (quick)" if quick else ""),
            "dtype": entry.dtype or case.dtype,
            "unit": case.unit,
            "compile_s": round(compiling[name], 4),
            "first_call_s": round(first[name], 4),
            "steady_s": round(steady, 4),
            "fastest_s": round(min(times[name]), 4),
            "rate_per_s": work / steady,
            "ratio": statistics.median(ratios),
            "ratio_low": ratios[0],
            "ratio_high": ratios[-1],
            "target": case.target.get(name),
            "note": case.note,
        }
        if entry.x is not None:
            row |= {"x": entry.x, "x_unit": case.axis}
        if case.flops:
            row["gflops"] = work * case.flops / steady / 1e9
        rows.append(row)
    return rows


_seen: list[float] | None = None


def _compile_seconds() -> float:
    """What XLA has spent compiling in this process, in wall seconds."""
    global _seen
    if _seen is None:
        import jax

        _seen = seen = []

        def listen(event: str, duration_secs: float, **_: Any) -> None:
            if "backend_compile" in event:
                seen.append(duration_secs)

        jax.monitoring.register_event_duration_secs_listener(listen)
    return sum(_seen)


def _once(entry: Entry, clock: Callable[[], float]) -> float:
    gc.collect()
    start = clock()
    result = entry.run()
    seconds = clock() - start
    return seconds if entry.cost is None else entry.cost(result)


def checked(
    solvers: dict[str, Callable[[], float]], tolerance: float, own: Mapping[str, float] | None = None
) -> dict[str, Entry]:
    """The same work: each competitor's number agrees with the first's to a relative tolerance, some to their own."""
    known: dict[str, float] = {}

    def run(name: str) -> None:
        known[name] = solvers[name]()
        first = known.get(next(iter(solvers)), known[name])
        assert abs(known[name] - first) < (own or {}).get(name, tolerance) * abs(first), known

    return {name: Entry(partial(run, name)) for name in solvers}


WALL, CPU = time.perf_counter, time.process_time
