"""Run a paper: experiments to datasets, datasets to figures and claims, all kept in a folder."""

import contextlib
import hashlib
import json
import os
import platform
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, fields
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import theorylab.figures as figures
from theorylab.papers import Claim, Experiment, Paper, Size, Verdict, choose

from .claims import Result
from .times import duration, left, promise

_RECORD = "theorylab_run"  # the attribute of a dataset that says what was asked and what made it


@dataclass(frozen=True)
class Report:
    """A finished run.

    **Arguments**: `folder`, where its files are; `results`, one a claim.

    **Source**: derived here.

        >>> import theorylab as tl
        >>> tl.report.Report("runs/seg_rr/small", ()).as_expected
        True
    """

    folder: Path | str
    results: tuple[Result, ...]

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
    size, seed and precision) has finished is read again instead; one that other code has made is used, and said.

    **Arguments**: `paper`; `experiment`, the name of one, to run it and to check the claims that read it alone (then
    `claims.json` and `run.json`, which speak of all, are not written); `size`; `seed` of the key, from which each
    experiment has its own by its name; `out`, the folder above; `fresh=True` runs everything again; `say`, called with
    lines of progress, the first of which says how long it will take.

    Of several processes that were launched together each takes its share of the sweeps; the first alone reads, writes
    and checks, and the others report nothing.

    **Returns** the `Report`.

    **Raises** what an experiment raises; `UnknownName` for an experiment that the paper has not; `OSError` when the
    folder cannot be written.

    **Source**: derived here.

        >>> import tempfile, theorylab as tl
        >>> from theorylab.papers import Claim, Experiment, Paper, Verdict
        >>> import xarray
        >>> def draw(dataset):
        ...     figure, axes = tl.figures.panels(1)
        ...     tl.figures.measured(axes[0], dataset.x, dataset.y)
        ...     return figure
        >>> slope = Claim("slope", "it rises by two", "derived here",
        ...     lambda dataset: Verdict.compare(dataset.y[1] - dataset.y[0], "==", 2.0))
        >>> line = Experiment("line", "a line", sizes={"small": 3.0, "paper": 30.0, "large": 300.0},
        ...     run=lambda top, key: xarray.Dataset({"y": ("x", [top - 2, top])}), plot=draw, claims=(slope,))
        >>> toy = Paper(slug="toy", title="A toy", authors=("Nobody",), venue="Nowhere", year=2026, room="games",
        ...     setting="", experiments=(line,))
        >>> with tempfile.TemporaryDirectory() as out:
        ...     tl.report.run(toy, out=out).results[0].verdict.verdict
        'holds'
    """
    import jax

    from theorylab.engine.launch import agreed

    if experiment is not None:
        choose("experiment", experiment, [one.name for one in paper.experiments])
    experiments = [one for one in paper.experiments if experiment in (None, one.name)]
    claims = [claim for one in experiments for claim in one.claims]
    asked = {"slug": paper.slug, "size": size, "seed": seed, "precision": paper.precision}
    code = _code()
    folder = Path(out) / paper.slug / size
    if jax.process_index() > 0:
        for one in () if agreed(False) else experiments:
            if not agreed(False):
                _run(one, asked, code)
        return Report(folder, ())
    results = None if fresh else _finished(paper, experiments, claims, size, folder, asked, code)
    if results is None:
        _open(folder)
    if agreed(results is not None):
        say(f"{paper.slug}: finished before, read from {folder} (--fresh runs it again)")
        return Report(folder, results or ())

    for name in ("run.json", "claims.json"):
        (folder / name).unlink(missing_ok=True)
    saved = set() if fresh else {one.name for one in experiments if _asked(folder / f"{one.name}.nc") == asked}
    measured, took = [one.seconds.get(size) for one in experiments if one.name not in saved], []
    say(f"{paper.slug}: {promise(measured)}")
    verdicts, seconds = {}, {}
    for number, one in enumerate(experiments, 1):
        say(f"{paper.slug} [{number}/{len(experiments)}] {one.name}: {one.title}")
        path = folder / f"{one.name}.nc"
        if not agreed(one.name in saved):
            with _replacing(path) as temporary:
                _run(one, asked, code).to_netcdf(temporary, engine="h5netcdf")
        dataset = _load(path)  # figures and claims read what a later run will read
        record = json.loads(dataset.attrs[_RECORD])
        seconds[one.name] = record["seconds"]
        if one.name in saved:
            other = "" if record["code"] == code else "; other code of theorylab made it, --fresh runs it again"
            say(f"    data read from {path}{other}")
        else:
            took.append(seconds[one.name]["wall"])
            say("; ".join(filter(None, (f"    {duration(took[-1])}", left(measured, took)))))
        with figures.style():
            figure = one.plot(dataset)
            for kind in ("png", "svg"):
                with _replacing(folder / f"{one.name}.{kind}") as temporary:
                    figure.savefig(temporary, format=kind, metadata={"Date": None} if kind == "svg" else None)
                figure.set_layout_engine("none")  # laid out once for both kinds: that is half of what drawing costs
        verdicts |= {claim.id: claim.check(dataset) for claim in one.claims}
    results = tuple(Result(paper, claim, verdicts[claim.id], size) for claim in claims)
    if experiment is None:
        _write(folder / "claims.json", [result.row() for result in results])
        _write(folder / "run.json", {"asked": asked, "code": code, **environment(), "seconds": seconds})
    return Report(folder, results)


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


def _run(experiment: Experiment, asked: dict[str, Any], code: str) -> Any:
    import jax

    from theorylab.engine.keys import stream

    key = stream(jax.random.key(asked["seed"]), experiment.name)
    wall, cpu = time.perf_counter(), time.process_time()
    with jax.enable_x64(asked["precision"] == "float64"), contextlib.redirect_stdout(sys.stderr):
        dataset = experiment.run(experiment.sizes[asked["size"]], key).load()
    seconds = {"wall": round(time.perf_counter() - wall, 3), "cpu": round(time.process_time() - cpu, 3)}
    record = {"asked": asked, "code": code, "seconds": seconds}
    plain = {name: value if isinstance(value, str | int | float) else json.dumps(value, default=str)
             for name, value in dataset.attrs.items()}  # fmt: skip
    return dataset.assign_attrs(plain | {_RECORD: json.dumps(record)})


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


def _finished(
    paper: Paper,
    experiments: list[Experiment],
    claims: list[Claim],
    size: Size,
    folder: Path,
    asked: dict[str, Any],
    code: str,
) -> tuple[Result, ...] | None:
    """The results of an equal whole run by this very code, when all files of these experiments are there."""
    names = [f"{experiment.name}.{kind}" for experiment in experiments for kind in ("nc", "png", "svg")]
    if not all((folder / name).exists() for name in (*names, "claims.json", "run.json")):
        return None
    record = json.loads((folder / "run.json").read_text())
    if (record["asked"], record["code"]) != (asked, code):
        return None
    rows = {row["claim"]: row for row in json.loads((folder / "claims.json").read_text())}
    names = [field.name for field in fields(Verdict)]
    return tuple(
        Result(paper, claim, Verdict(**{name: rows[claim.id][name] for name in names}), size) for claim in claims
    )


def _code() -> str:
    """A digest of the package's sources: results of another one may differ."""
    digest, root = hashlib.sha256(), Path(__file__).parents[1]
    for path in sorted(root.rglob("*.py")):
        digest.update(path.relative_to(root).as_posix().encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()[:16]


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
