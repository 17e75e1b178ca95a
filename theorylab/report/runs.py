"""Run a paper: experiments to datasets, datasets to figures and claims, all kept in a folder."""

import contextlib
import json
import os
import platform
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import theorylab.figures as figures
from theorylab.papers import Experiment, Paper, Size, Verdict
from theorylab.papers.registry import choose

from .claims import Result
from .digests import digest
from .experiments import decide, make
from .times import duration, left, promise

_RECORD = "theorylab_run"  # the attribute of a dataset that says what was asked, and how long it took


@dataclass(frozen=True)
class Report:
    """A finished run.

    **Arguments**: `folder`, where its files are; `results`, one a claim; `seconds` of CPU time by experiment.

        >>> import theorylab as tl
        >>> tl.report.Report("runs/seg_rr/small", ()).as_expected
        True
    """

    folder: Path | str
    results: tuple[Result, ...]
    seconds: Mapping[str, float] = field(default_factory=dict)

    @property
    def as_expected(self) -> bool:
        """Whether every verdict is the expected one."""
        return all(result.as_expected for result in self.results)


def run(
    paper: Paper,
    *,
    experiment: str | None = None,
    size: Size = "small",
    seed: int = 0,
    out: Path | str = "runs",
    fresh: bool = False,
    say: Callable[[str], Any] = lambda line: None,
) -> Report:
    """Run a paper's experiments, check its claims, and keep data and figures.

    Writes `<experiment>.nc`, `.png` and `.svg`, `claims.json`, and, last, `run.json` (what was asked, with what, how
    long it took) to `<out>/<slug>/<size>/`; each to a temporary name, and renamed. A dataset that an equal run (same
    size, seed, precision, and digest of the paper's code) has finished is read again instead. A statistical claim whose
    verdict is not the expected one is decided by fresh draws, which `<experiment>.again.nc` keeps.

    **Arguments**: `paper`; `experiment`, the name of one, to run it and to check its claims alone (then `claims.json`
    and `run.json`, which speak of all, are not written); `size`; `seed` of the key, from which each experiment has its
    own by its name; `out`, the folder above; `fresh=True` runs everything again; `say`, called with lines of progress,
    the first of which says how long it will take.

    Of several processes that were launched together each takes its share of the sweeps; the first alone reads, writes
    and checks, and the others report nothing.

    **Returns** the `Report`.

    **Raises** what an experiment raises; `UnknownName` for an experiment that the paper has not; `OSError` when the
    folder cannot be written.

        >>> import tempfile, theorylab as tl
        >>> from theorylab.papers import Claim, Experiment, Paper, Verdict
        >>> import xarray
        >>> def draw(dataset):
        ...     figure, axes = tl.figures.panels(1)
        ...     tl.figures.measured(axes[0], dataset.x, dataset.y)
        ...     return figure
        >>> slope = Claim("slope", "it rises by two", "derived here",
        ...     lambda dataset: Verdict.compare(dataset.y[1] - dataset.y[0], "==", 2.0))
        >>> line = Experiment("line", "a line", sizes=dict.fromkeys(("small", "paper", "large"), 3.0),
        ...     run=lambda end, key: xarray.Dataset({"y": ("x", [1.0, end])}), plot=draw, claims=(slope,))
        >>> toy = Paper(slug="toy", title="A toy", authors=("Nobody",), venue="Nowhere", year=2026, room="games",
        ...     setting="", experiments=(line,))
        >>> with tempfile.TemporaryDirectory() as out:
        ...     tl.report.run(toy, out=out).results[0].verdict.verdict
        'holds'
    """
    import jax

    from theorylab.engine.processes import agreed

    if experiment is not None:
        choose("experiment", experiment, [each.name for each in paper.experiments])
    experiments = [each for each in paper.experiments if experiment in (None, each.name)]
    asked = {"slug": paper.slug, "size": size, "seed": seed, "precision": paper.precision, "digest": digest(paper)}
    folder = Path(out) / paper.slug / size
    data = _Data(folder, asked, fresh, say)
    if jax.process_index() > 0:
        for each in () if agreed(False) else experiments:
            data.help(each)
        return Report(folder, ())
    report = None if fresh else _finished(paper, experiments, folder, asked)
    if report is None:
        _open(folder)
    if agreed(report is not None):
        say(f"{paper.slug}: finished before, read from {folder} (--fresh runs it again)")
        return report or Report(folder, ())

    for name in ("run.json", "claims.json"):
        (folder / name).unlink(missing_ok=True)
    saved = {each.name for each in experiments if data.has(each)}
    measured, took = [each.seconds.get(size) for each in experiments if each.name not in saved], []
    say(f"{paper.slug}: {promise(measured)}")
    results: list[Result] = []
    for number, each in enumerate(experiments, 1):
        say(f"{paper.slug} [{number}/{len(experiments)}] {each.name}: {each.title}")
        dataset = data.get(each)
        if each.name in saved:
            say(f"    data read from {data.path(each)}")
        else:
            took.append(data.seconds[each.name]["wall"])
            say("; ".join(filter(None, (f"    {duration(took[-1])}", left(measured, took)))))
        with figures.style():
            figure = each.plot(dataset)
            for kind in ("png", "svg"):
                with _replacing(folder / f"{each.name}.{kind}") as temporary:
                    figure.savefig(temporary, format=kind, metadata={"Date": None} if kind == "svg" else None)
                figure.set_layout_engine("none")  # laid out once for both kinds: that is half of what drawing costs
        verdicts = decide(each, dataset, partial(data.get, each, True))
        results += [
            Result(paper, claim, verdict, size, again)
            for claim, (verdict, again) in zip(each.claims, verdicts, strict=True)
        ]
    if experiment is None:
        _write(folder / "claims.json", [result.row() for result in results])
        _write(folder / "run.json", {"asked": asked, **environment(), "seconds": data.seconds})
    return Report(folder, tuple(results), _cpu(data.seconds))


def environment() -> dict[str, Any]:
    """Versions, platform and device, as plain words."""
    import jax

    from theorylab.engine.provenance import versions

    return {
        "versions": versions(),
        "platform": platform.platform(),
        "device": f"{jax.device_count()} x {jax.devices()[0].device_kind}",
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
    }


class _Data:
    """The data of a run: read where an equal run has finished them, otherwise made and kept.

    Of several processes the first asks for them, and the others help it to make what it must make.
    """

    def __init__(self, folder: Path, asked: dict[str, Any], fresh: bool, say: Callable[[str], Any]):
        self.folder, self.asked, self.fresh, self.say = folder, asked, fresh, say
        self.seconds: dict[str, dict[str, float]] = {}

    def path(self, experiment: Experiment, again: bool = False) -> Path:
        return self.folder / f"{experiment.name}{'.again' if again else ''}.nc"

    def has(self, experiment: Experiment, again: bool = False) -> bool:
        return not self.fresh and bool(self.asked["digest"]) and _asked(self.path(experiment, again)) == self.asked

    def get(self, experiment: Experiment, again: bool = False, needed: bool = True) -> Any:
        """The dataset; None where it is not needed, which the other processes must hear too."""
        from theorylab.engine.processes import agreed

        path = self.path(experiment, again)
        if again and needed:
            self.say("    a statistical claim missed its verdict: fresh draws decide it")
        if agreed(needed and not self.has(experiment, again)):
            dataset = self._make(experiment, again)
            with _replacing(path) as temporary:
                dataset.to_netcdf(temporary, engine="h5netcdf")
        if not needed:
            return None
        dataset = _load(path)  # figures and claims read what a later run will read
        before = self.seconds.get(experiment.name, {})
        took = json.loads(dataset.attrs[_RECORD])["seconds"]
        self.seconds[experiment.name] = {clock: round(took[clock] + before.get(clock, 0), 3) for clock in took}
        return dataset

    def help(self, experiment: Experiment) -> None:
        from theorylab.engine.processes import agreed

        for again in (False, True):
            if agreed(False):
                self._make(experiment, again)

    def _make(self, experiment: Experiment, again: bool) -> Any:
        asked = self.asked
        wall, cpu = time.perf_counter(), time.process_time()
        dataset = make(experiment, size=asked["size"], seed=asked["seed"], precision=asked["precision"], again=again)
        seconds = {"wall": round(time.perf_counter() - wall, 3), "cpu": round(time.process_time() - cpu, 3)}
        plain = {name: value if isinstance(value, str | int | float) else json.dumps(value, default=str)
                 for name, value in dataset.attrs.items()}  # fmt: skip
        return dataset.assign_attrs(plain | {_RECORD: json.dumps({"asked": asked, "seconds": seconds})})


def _open(folder: Path) -> None:
    """Make the folder, and try it before hours go into what it shall keep."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise OSError(f"cannot write into {folder} ({error.strerror}): name another folder with --out") from error


def _asked(path: Path) -> dict[str, Any] | None:
    """What was asked of the run that made a dataset, or None where there is none."""
    import h5netcdf

    if not path.exists():
        return None
    with h5netcdf.File(path, "r") as file:
        return json.loads(str(file.attrs[_RECORD]))["asked"]


def _load(path: Path) -> Any:
    import xarray

    with xarray.open_dataset(path, engine="h5netcdf") as file:
        return file.load()


def _finished(paper: Paper, experiments: Sequence[Experiment], folder: Path, asked: dict[str, Any]) -> Report | None:
    """The report of an equal whole run by this very code, when all files of these experiments are there."""
    names = [f"{experiment.name}.{kind}" for experiment in experiments for kind in ("nc", "png", "svg")]
    if not all((folder / name).exists() for name in (*names, "claims.json", "run.json")):
        return None
    record = json.loads((folder / "run.json").read_text())
    if record["asked"] != asked or not asked["digest"]:
        return None
    rows = {row["claim"]: row for row in json.loads((folder / "claims.json").read_text())}
    names = [field.name for field in fields(Verdict)]
    results = (
        Result(paper, claim, Verdict(**{name: row[name] for name in names}), asked["size"], row["again"])
        for experiment in experiments
        for claim in experiment.claims
        for row in [rows[claim.id]]
    )
    seconds = {experiment.name: record["seconds"][experiment.name] for experiment in experiments}
    return Report(folder, tuple(results), _cpu(seconds))


def _cpu(seconds: Mapping[str, Mapping[str, float]]) -> dict[str, float]:
    return {name: clocks["cpu"] for name, clocks in seconds.items()}


def _write(path: Path, value: Any) -> None:
    with _replacing(path) as temporary:
        temporary.write_text(json.dumps(value, indent=1, allow_nan=False, ensure_ascii=False) + "\n", encoding="utf-8")


@contextlib.contextmanager
def _replacing(path: Path) -> Iterator[Path]:
    """A temporary neighbour that takes the path's place when all is written, so that no file is ever half."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        yield temporary
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
