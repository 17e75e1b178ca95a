"""The command line: `theorylab list | show | run | check | cite | doctor | new`."""

import contextlib
import json
import os
import shutil
import signal
import sys
import textwrap
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, fields
from functools import partial
from pathlib import Path
from typing import Any, Literal, cast, get_args

import tyro
from tyro.conf import Positional

from theorylab import __version__
from theorylab.papers import Paper, Size, cite, find, plain, slugs
from theorylab.papers.registry import UnknownName, choose

# jax, xarray, matplotlib and rich load inside the commands that use them: `list`, `show` and `cite` answer at once

CPU_SECONDS = 20  # of a paper's small run, with its compile


@dataclass(frozen=True)
class List:
    """List the papers."""

    room: str | None = None
    """only those of this room"""
    status: str | None = None
    """only those whose worst expected verdict is this: holds, fails, undecided"""
    stale: bool = False
    """only those whose committed results, in a clone, are not of their present code"""
    json: bool = False
    """JSON on stdout"""

    def __call__(self) -> int:
        rooms = slugs()
        if self.room is not None:
            choose("room", self.room, sorted(set(rooms.values())))
        if self.status is not None:
            choose("status", self.status, ("holds", "fails", "undecided"))
        kept = _stale() if self.stale else rooms
        papers = [find(slug) for slug, room in rooms.items() if self.room in (None, room) and slug in kept]
        papers = [paper for paper in papers if self.status in (None, paper.status)]
        if self.json:
            _print_json([_card(paper) for paper in papers])
            return 0
        print(f"{'paper':<24}  {'room':<12}  claims  contradicted as documented  open")
        for paper in papers:
            expected = [claim.expected for claim in paper.claims]
            fails, undecided = (expected.count(word) for word in ("fails", "undecided"))
            print(f"{paper.slug:<24}  {paper.room:<12}  {len(expected):>6}  {fails:>26}  {undecided:>4}")
            print(_wrapped(paper.title, "  "))
        return 0


@dataclass(frozen=True)
class Show:
    """Show a paper: citation, setting, claims, experiments."""

    slug: Positional[str]
    json: bool = False
    """JSON on stdout"""

    def __call__(self) -> int:
        paper = find(self.slug)
        if self.json:
            _print_json(_card(paper))
            return 0
        arxiv = f", arXiv {paper.arxiv}" if paper.arxiv else ""
        for line in (paper.title, ", ".join(paper.authors), f"{paper.venue}, {paper.year}{arxiv}", ""):
            print(_wrapped(line))
        timed = ", with CPU seconds on one core" if any(each.seconds for each in paper.experiments) else ""
        print(f"{_wrapped(paper.setting)}\n\nExperiments{timed}")
        for experiment in paper.experiments:
            times = ", ".join(f"{size} {seconds:.3g} s" for size, seconds in experiment.seconds.items())
            print(_wrapped(f"{experiment.name}: {experiment.title}{times and f' ({times})'}", "  ", "    "))
        print("\nClaims")
        for claim in paper.claims:
            expected = "" if claim.expected == "holds" else f" Expected: {claim.expected}. {claim.why}"
            print(_wrapped(f"{claim.id}: {claim.statement} [{claim.source}]{expected}", "  ", "    "))
        print(f"\nRun it: theorylab run {paper.slug} --size small   (or paper, or large)")
        print(f"One experiment: theorylab run {paper.slug} --experiment {paper.experiments[0].name}")
        return 0


@dataclass(frozen=True)
class Run:
    """Run a paper: data, figures and claims under <out>/<slug>/<size>/."""

    slug: Positional[str]
    experiment: str | None = None
    """only this one, with its figure and its claims"""
    size: str = "small"
    """small: seconds; paper: the paper's own setting; large: for an accelerator"""
    out: Path = Path("runs")
    """the folder above"""
    seed: int = 0
    """of the random key"""
    json: bool = False
    """JSON on stdout"""
    fresh: bool = False
    """run again what has already been run"""

    def __call__(self) -> int:
        asked = {"experiment": self.experiment, "seed": self.seed, "fresh": self.fresh}
        return _run([find(self.slug)], self.size, self.out, self.json, **asked)


@dataclass(frozen=True)
class Check:
    """Check the claims of several papers: the health of the library."""

    slugs: Positional[tuple[str, ...]] = ()
    all: bool = False
    """every paper"""
    stale: bool = False
    """every paper whose committed results, in a clone, are not of its present code"""
    size: str = "small"
    """small: seconds; paper: the paper's own setting; large: for an accelerator"""
    out: Path = Path("runs")
    """the folder above"""
    json: bool = False
    """JSON on stdout"""

    def __call__(self) -> int:
        _in_one_way("check", "--all or --stale", self.slugs, self.all, self.stale)
        chosen = self.slugs or (_stale() if self.stale else slugs())
        if not chosen:
            print("nothing to check: no code has changed since the results were committed", file=sys.stderr)
        return _run([find(slug) for slug in chosen], self.size, self.out, self.json) if chosen else 0


@dataclass(frozen=True)
class Cite:
    """Print BibTeX entries."""

    slugs: Positional[tuple[str, ...]] = ()
    all: bool = False
    """every paper"""

    def __call__(self) -> int:
        _in_one_way("cite", "--all", self.slugs, self.all)
        print(cite(self.slugs or tuple(slugs())), end="")
        return 0


@dataclass(frozen=True)
class Doctor:
    """Look at this machine: versions, devices, one compile, one solve; say what is wrong, and the cure."""

    json: bool = False
    """JSON on stdout"""

    def __call__(self) -> int:
        from theorylab.report.doctor import examine

        start_jax("paper")
        findings = examine(cache_folder())
        if self.json:
            _print_json(findings)
        else:
            for name, value in findings.items():
                if name != "problems":
                    print(f"{name:<18} {json.dumps(value) if isinstance(value, dict | list) else value}")
            for problem in findings["problems"]:
                print(f"\nwrong: {problem['what']}\ncure:  {problem['cure']}")
            print("" if findings["problems"] else "\nnothing is wrong")
        return 1 if findings["problems"] else 0


@dataclass(frozen=True)
class New:
    """Write a skeleton into a clone: `theorylab new paper <room> <slug>`, or `theorylab new room <name>`."""

    what: Positional[Literal["paper", "room"]]
    names: Positional[tuple[str, ...]]
    """of a paper, its room and its slug; of a room, its name"""
    root: Path = Path()
    """the clone"""

    def __call__(self) -> int:
        from theorylab.report.new import new_paper, new_room

        if len(self.names) != {"paper": 2, "room": 1}[self.what]:
            raise UnknownName("new what? `theorylab new paper <room> <slug>`, or `theorylab new room <name>`")
        try:
            written = (new_paper if self.what == "paper" else new_room)(*self.names, root=self.root)
        except ValueError as error:
            raise UnknownName(str(error)) from None
        for path in written:
            print(path)
        return 0


COMMANDS = {"list": List, "show": Show, "run": Run, "check": Check, "cite": Cite, "doctor": Doctor, "new": New}


def main(arguments: Sequence[str] | None = None) -> int:
    """Parse the command line, do what it says, and give the exit status.

    **Arguments**: `arguments`, the words after `theorylab`; None takes those of this process.

    **Returns** 0; 1 when a verdict is not the expected one, or something is wrong with the machine; 2 when a name is
    unknown (as does the parser, by `SystemExit`); 130 after Ctrl-C, 143 after SIGTERM, and 141 when the reader of its
    output has gone (`theorylab list | head -1`).

    **Source**: derived here.

        >>> from theorylab.cli import main
        >>> main(["cite", "seg_rr"])
        @inproceedings{seg_rr,
        ...
        0
    """
    words = list(sys.argv[1:] if arguments is None else arguments)
    try:
        try:
            return _obey(words)
        finally:
            sys.stdout.flush()  # a reader that has gone is met here, not when Python ends
    except Interrupted as error:
        say = "interrupted: finished experiments are kept, and the same command goes on with the others"
        print(f"\ntheorylab: {say}", file=sys.stderr)
        return 128 + error.signal
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # for what Python still writes when it ends
        return 128 + 13  # as a shell says SIGPIPE
    except (UnknownName, OSError) as error:
        print(f"theorylab: {error}", file=sys.stderr)
        return 2 if isinstance(error, UnknownName) else 1


def _obey(words: list[str]) -> int:
    if words == ["--version"]:
        print(f"theorylab {__version__}")
        return 0
    if words and not words[0].startswith("-"):
        choose("command", words[0], COMMANDS)
    command = tyro.extras.subcommand_cli_from_dict(
        COMMANDS,
        prog="theorylab",
        description=f"Machine-learning theory as a library, version {__version__} (--version prints it).",
        args=words,
        config=(tyro.conf.FlagCreatePairsOff,),
    )
    with _terminable():
        return command()


class Interrupted(BaseException):
    """A signal that asks the command to end."""

    def __init__(self, number: int):
        super().__init__(signal.Signals(number).name)
        self.signal = number


@contextlib.contextmanager
def _terminable() -> Iterator[None]:
    """SIGINT and SIGTERM as `Interrupted`, which unwinds the command and so leaves no half-written file."""

    def end(number: int, frame: Any) -> None:
        raise Interrupted(number)

    before = {number: signal.signal(number, end) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def cache_folder() -> Path:
    """Where compiled programs are kept: `THEORYLAB_CACHE`, or `theorylab` in the user's cache folder."""
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(os.environ.get("THEORYLAB_CACHE") or Path(base) / "theorylab") / "xla"


def start_jax(size: Size) -> int:
    """What must be set before JAX starts: a CPU device for each core, and a lasting cache of compiled programs; then
    the other processes are joined, where `srun` or `mpirun` started several. Which of them this is.

    A small run stays on one device: its programs take seconds to compile for several, and no time to run.
    """
    import jax

    from theorylab.engine import launch

    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    jax.config.update("jax_num_cpu_devices", 1 if size == "small" else cores)
    jax.config.update("jax_compilation_cache_dir", str(cache_folder()))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0)
    jax.config.update("jax_persistent_cache_min_entry_size_bytes", -1)
    process, processes = launch()
    if processes > 1:
        # Gloo greets on stdout, which is for results
        sys.stdout = os.fdopen(os.dup(1), "w")
        os.dup2(2, 1)
    return process


def _in_one_way(verb: str, options: str, *ways: Any) -> None:
    """Refuse a command on several papers that says in no way, or in two, which they are."""
    if sum(map(bool, ways)) != 1:
        raise UnknownName(f"{verb} which papers? give their slugs (`theorylab list` shows them), or {options}")


def _stale() -> list[str]:
    from theorylab.report import committed

    return committed.stale(committed.RESULTS)


def _run(papers: Sequence[Paper], size: str, out: Path, as_json: bool, **asked: Any) -> int:
    size = cast(Size, choose("size", size, get_args(Size)))
    first = start_jax(size) == 0
    from theorylab.report import run
    from theorylab.report.claims import closing, table
    from theorylab.report.times import promise

    say: Callable[[str], Any] = partial(print, file=sys.stderr, flush=True) if first else lambda line: None
    if len(papers) > 1:
        together = promise([experiment.seconds.get(size) for paper in papers for experiment in paper.experiments])
        say(f"{len(papers)} papers, if none is finished yet: {together}")
    reports = [run(paper, size=size, out=out, say=say, **asked) for paper in papers]
    results = [result for report in reports for result in report.results]
    if not first:
        return 0  # the first process has said it all
    if as_json:
        _print_json([result.row() for result in results])
    else:
        from rich.console import Console

        console = Console()
        with console.capture() as text:  # written by `print`, for rich ends the program itself where a pipe is closed
            console.print(table(results))
        print(f"{text.get()}{closing(results)}\n")
        for report in reports:
            print(f"data and figures: {report.folder} ({sum(report.seconds.values()):.0f} CPU seconds)")
    if size == "small" and not asked.get("experiment"):
        _say_what_rots(papers, reports, out, say)
    unexpected = [f"{result.paper.slug}: {result.claim.id}" for result in results if not result.as_expected]
    if unexpected:
        say(f"not as expected: {', '.join(unexpected)}")
    return 1 if unexpected else 0


def _say_what_rots(papers: Sequence[Paper], reports: Sequence[Any], out: Path, say: Callable[[str], Any]) -> None:
    """Which of these papers take too long, and which have results in git that are not those of their code."""
    from theorylab.report.committed import RESULTS, is_stale

    took = {paper.slug: sum(report.seconds.values()) for paper, report in zip(papers, reports, strict=True)}
    slow = [f"{slug} {seconds:.0f}" for slug, seconds in took.items() if seconds > CPU_SECONDS]
    if slow:
        say(f"more than the {CPU_SECONDS} CPU seconds that a paper's small run may take: {', '.join(slow)}")
    known = took.keys() & slugs() if RESULTS.is_dir() else ()
    rotten = sorted(slug for slug in known if is_stale(slug, RESULTS))
    if rotten:
        say(
            f"results in git are not those of this code: {', '.join(rotten)};"
            f" python -m theorylab.report.pages {out} {RESULTS} renews them"
        )


def _card(paper: Paper) -> dict[str, Any]:
    card = {field.name: getattr(paper, field.name) for field in fields(paper) if field.name != "experiments"}
    experiments = [{name: getattr(each, name) for name in ("name", "title", "seconds")} for each in paper.experiments]
    claims = [
        {k: v for k, v in asdict(claim).items() if k != "check"} | {"experiment": each.name}
        for each in paper.experiments
        for claim in each.claims
    ]
    return card | {"status": paper.status, "experiments": experiments, "claims": claims}


def _wrapped(text: str, first: str = "", later: str | None = None) -> str:
    """Text that fits the terminal."""
    width = min(shutil.get_terminal_size().columns, 100)
    return textwrap.fill(plain(text), width, initial_indent=first, subsequent_indent=first if later is None else later)


def _print_json(value: Any) -> None:
    print(json.dumps(value, indent=1, allow_nan=False, ensure_ascii=False))
