"""The command line: what it prints, what it exits with, and how fast it answers."""

import json
import os
import resource
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

import theorylab
import theorylab.papers
from theorylab import cli
from theorylab.report import committed
from theorylab.report.digests import digest

TOY = """
from theorylab.papers import Claim, Experiment, Paper, Verdict
import theorylab.figures as figures

SIZES = {{"small": 1, "paper": 2, "large": 3}}

def run(setting, key):
    import xarray
    print("noise on stdout")
    import jax
    return xarray.Dataset({{"y": ("x", [0.0, {slope}]), "draw": jax.random.uniform(key)}})

def plot(dataset):
    figure, axes = figures.panels(1)
    figures.predicted(axes[0], [0, 1], [0, 1])
    return figure

PAPER = Paper(slug="{slug}", title="A toy", authors=("Nobody",), venue="Nowhere", year=2026, room="toys",
    setting="A line.",
    experiments=(Experiment("line", "a line", sizes=SIZES, run=run, plot=plot, seconds={{"small": 0.5, "paper": 100.0}},
        claims=(Claim("slope", "the slope is one", "derived here",
                      lambda ds: Verdict.compare(ds.y[1], "==", 1.0, quantity="slope of the line"),
                      expected="{expected}", why="for the test"),)),{more_experiments}))
"""
OPPOSITE = """Claim("curved", "the slope is two", "derived here",
    lambda ds: Verdict.compare(ds.y[1], "==", 2.0, quantity="slope of the curve"))"""
SECOND = f"""Experiment("curve", "a curve", sizes=SIZES, run=run, plot=plot, claims=({OPPOSITE},))"""
THIRD = """Experiment("ring", "a ring", sizes=SIZES, run=run, plot=plot, seconds={"small": 0.5, "paper": 1900.0})"""
PAPERS = {  # slug: slope, expected
    "toy_holds": ("1.0", "holds"),
    "toy_fails": ("2.0", "holds"),
    "toy_contradicted": ("2.0", "fails"),
    "toy_surprise": ("1.0", "fails"),
    "toy_nan": ("float('nan')", "holds"),
    "toy_many": ("1.0", "holds"),  # three experiments; the claim on the second is false, the third has none
}


@pytest.fixture
def theorylab_(tmp_path, monkeypatch, capsys):
    """Runs the command in this process, on papers made for the test; gives status, stdout and stderr."""
    room = tmp_path / "papers" / "toys"
    room.mkdir(parents=True)
    (room / "__init__.py").write_text("")
    more = dict.fromkeys(PAPERS, ("", "")) | {"toy_many": (f"{SECOND}, {THIRD}", f"{OPPOSITE},")}
    for slug, (slope, expected) in PAPERS.items():
        paper = {"slug": slug, "slope": slope, "expected": expected}
        experiments, claims = more[slug]
        (room / f"{slug}.py").write_text(TOY.format(more_experiments=experiments, more_claims=claims, **paper))
    monkeypatch.setattr(theorylab.papers, "__path__", [*theorylab.papers.__path__, str(tmp_path / "papers")])
    monkeypatch.setattr(cli, "start_jax", lambda size: 0)
    monkeypatch.chdir(tmp_path)

    def call(*words):
        try:
            status = cli.main(words)
        except SystemExit as stop:
            status = stop.code
        return status, *capsys.readouterr()

    yield call
    for name in [name for name in sys.modules if name.startswith("theorylab.papers.toys")]:
        del sys.modules[name]


@pytest.mark.parametrize(
    "slug, size, status",
    [
        ("toy_holds", "small", 0),
        ("toy_fails", "small", 1),
        ("toy_contradicted", "small", 0),
        ("toy_surprise", "small", 1),
        ("toy_nan", "small", 0),
        ("toy_nan", "paper", 1),
    ],
)
def test_exit_status_and_pure_json(theorylab_, slug, size, status):
    code, out, err = theorylab_("run", slug, "--size", size, "--json")
    (row,) = json.loads(out, parse_constant=pytest.fail)
    assert code == status and "noise" in err
    assert list(row) == ["paper", "claim", "source", "statement", "expected", "why",
                         "verdict", "measured", "predicted", "relation", "tolerance",
                         "quantity", "statistical", "again"]  # fmt: skip
    assert (row["measured"] is None) == (slug == "toy_nan") == (row["verdict"] == "undecided")


def test_the_table_and_the_second_run(theorylab_):
    code, out, err = theorylab_("run", "toy_holds")
    assert code == 0 and "holds" in out and "[1/1] line" in err and "noise" not in out
    assert "slope of the line" in out and "1 hold, 0 unexpected" in out
    _, again, err = theorylab_("run", "toy_holds")
    assert again == out and "read from" in err and "noise" not in err
    assert "noise" in theorylab_("run", "toy_holds", "--fresh")[2]


def test_check_covers_several_and_fails_with_one(theorylab_):
    code, out, err = theorylab_("check", "toy_holds", "toy_contradicted", "--json")
    assert err.startswith("2 papers, if none is finished yet: about 1.0 seconds on one core, measured")
    assert code == 0 and [row["paper"] for row in json.loads(out)] == ["toy_holds", "toy_contradicted"]
    code, out, err = theorylab_("check", "toy_holds", "toy_surprise")
    assert code == 1 and "not as expected: toy_surprise: slope" in err


@pytest.mark.parametrize(
    "words, hint",
    [
        (("run", "toy_hold"), "did you mean 'toy_holds'?"),
        (("show", "toyfails"), "did you mean 'toy_fails'?"),
        (("cite", "toy_holdss"), "did you mean 'toy_holds'?"),
        (("cite",), "--all"),
        (("cite", "toy_holds", "--all"), "--all"),
        (("run", "toy_many", "--experiment", "curv"), "did you mean 'curve'?"),
        (("run", "toy_holds", "--size", "smal"), "did you mean 'small'?"),
        (("check", "toy_holds", "--size", "papers"), "did you mean 'paper'?"),
        (("list", "--room", "toy"), "did you mean 'toys'?"),
        (("list", "--status", "fail"), "did you mean 'fails'?"),
        (("lst",), "did you mean 'list'?"),
        (("check",), "--all or --stale"),
        (("check", "--all", "--stale"), "--all or --stale"),
        (("check", "toy_holds", "--stale"), "--all or --stale"),
        (("run", "toy_holds", "--jsn"), "--json"),
        (("run",), "required"),
    ],
)
def test_typos(theorylab_, words, hint):
    code, out, err = theorylab_(*words)
    assert code == 2 and hint in err and "Traceback" not in err and out == ""


def test_a_folder_that_cannot_be_written(theorylab_, tmp_path):
    (tmp_path / "file").write_text("in the way")
    code, _, err = theorylab_("run", "toy_holds", "--out", str(tmp_path / "file"))
    assert code == 1 and str(tmp_path / "file" / "toy_holds") in err and "--out" in err and "Traceback" not in err


def test_a_read_only_folder_is_found_before_anything_runs(theorylab_, tmp_path, monkeypatch):
    """But what was finished there before can still be read."""
    theorylab_("run", "toy_holds")

    def refused(**keywords):
        raise PermissionError(13, "Permission denied")  # which root never hears

    monkeypatch.setattr(tempfile, "TemporaryFile", refused)
    code, _, err = theorylab_("run", "toy_fails")
    assert code == 1 and "Permission denied" in err and "runs/toy_fails/small" in err and "--out" in err
    assert "noise" not in err
    assert theorylab_("run", "toy_holds")[0] == 0


def test_one_experiment(theorylab_):
    """Its claims alone are reported and decide the status; a whole run later makes all the rest."""
    code, out, err = theorylab_("run", "toy_many", "--experiment", "curve", "--json")
    assert code == 1 and [row["claim"] for row in json.loads(out)] == ["curved"]
    assert {path.name for path in Path("runs/toy_many/small").iterdir()} == {"curve.nc", "curve.png", "curve.svg"}
    code, out, err = theorylab_("run", "toy_many", "--experiment", "line", "--json")
    assert code == 0 and [row["claim"] for row in json.loads(out)] == ["slope"]
    code, out, err = theorylab_("run", "toy_many", "--json")
    assert code == 1 and [row["claim"] for row in json.loads(out)] == ["slope", "curved"]
    assert err.count("data read from") == 2 and err.count("noise") == 1


def test_one_experiment_of_a_finished_run(theorylab_):
    """It is read where it is equal; with another seed it is made, and the whole run no longer counts as finished."""
    theorylab_("run", "toy_many")
    assert "finished before" in theorylab_("run", "toy_many", "--experiment", "line")[2]
    assert "noise" in theorylab_("run", "toy_many", "--experiment", "line", "--seed", "1")[2]
    err = theorylab_("run", "toy_many")[2]
    assert err.count("data read from") == 2 and err.count("noise") == 1
    assert "finished before" in theorylab_("run", "toy_many")[2]


def test_the_time_that_it_takes(theorylab_):
    """Said before anything runs and after each experiment; what was not measured, and what is long, is said to be."""
    lines = theorylab_("run", "toy_many", "--experiment", "line", "--size", "paper")[2].splitlines()
    assert lines[0] == "toy_many: about 2 minutes on one core, measured"
    lines = theorylab_("run", "toy_many", "--size", "paper", "--seed", "1")[2].splitlines()
    assert lines[0].startswith("toy_many: it takes long: about 33 minutes on one core, measured, and 1 experiment")
    left = [line for line in lines if line.endswith(" left")]
    assert len(left) == 2 and "1 experiment not measured" in left[0] and "not measured" not in left[1]
    assert "not measured" in theorylab_("run", "toy_many", "--experiment", "curve")[2].splitlines()[0]


def test_list_filters(theorylab_):
    def slugs(*words):
        return [card["slug"] for card in json.loads(theorylab_("list", "--json", *words)[1])]

    assert set(slugs("--room", "toys")) == set(PAPERS) and "seg_rr" in slugs()
    assert set(slugs("--room", "toys", "--status", "fails")) == {"toy_contradicted", "toy_surprise"}


@pytest.fixture
def results(tmp_path, monkeypatch):
    """Results as a clone has them, of all papers but two: one has none, and those of the other are of other code."""
    for slug in theorylab.papers.slugs():
        (tmp_path / "results" / slug).mkdir(parents=True)
        code = "other" if slug == "toy_many" else digest(slug)
        (tmp_path / "results" / slug / "claims.json").write_text(json.dumps({"digest": code}))
    (tmp_path / "results" / "toy_holds" / "claims.json").unlink()
    monkeypatch.setattr(committed, "RESULTS", tmp_path / "results")
    return tmp_path / "results"


def test_results_of_other_code_are_listed_checked_and_told(theorylab_, results):
    cards = json.loads(theorylab_("list", "--stale", "--json")[1])
    assert [card["slug"] for card in cards] == ["toy_holds", "toy_many"]
    code, out, err = theorylab_("check", "--stale", "--json")
    assert code == 1 and {row["paper"] for row in json.loads(out)} == {"toy_holds", "toy_many"}
    assert (
        "results in git are not those of this code: toy_holds, toy_many; python -m theorylab.report.pages runs" in err
    )
    assert "results in git" not in theorylab_("check", "toy_nan")[2]
    for slug in ("toy_holds", "toy_many"):
        (results / slug / "claims.json").write_text(json.dumps({"digest": digest(slug)}))
    code, out, err = theorylab_("check", "--stale")
    assert (code, out) == (0, "") and "no code has changed" in err


def test_an_installed_package_has_no_results(theorylab_, monkeypatch, tmp_path):
    monkeypatch.setattr(committed, "RESULTS", tmp_path / "none")
    code, out, err = theorylab_("check", "--stale")
    assert (code, out) == (1, "") and "results stand in a clone" in err and "Traceback" not in err


def test_cpu_seconds_are_told_and_too_many_are_flagged(theorylab_, monkeypatch):
    code, out, err = theorylab_("check", "toy_holds", "toy_contradicted")
    assert out.count("/small (0 CPU seconds)") == 2 and "more than" not in err
    monkeypatch.setattr(cli, "CPU_SECONDS", 0)
    code, out, err = theorylab_("check", "toy_holds", "toy_contradicted")
    assert code == 0 and "more than the 0 CPU seconds that a paper's small run may take: toy_holds 0, toy_cont" in err


def test_list_counts_under_a_header(theorylab_):
    lines = theorylab_("list", "--room", "toys")[1].splitlines()
    rows = {line.split()[0]: line.split()[1:] for line in lines[1:] if not line.startswith(" ")}
    assert lines[0].split() == ["paper", "room", "claims", "contradicted", "as", "documented", "open"]
    assert rows["toy_many"] == ["toys", "2", "0", "0"] and rows["toy_contradicted"] == ["toys", "1", "1", "0"]
    assert set(rows) == set(PAPERS)


@pytest.mark.parametrize("words", [["list"], ["show", "opsa_robust_recovery"], ["--help"], ["run", "--help"]])
def test_it_fits_80_columns(theorylab_, monkeypatch, words):
    monkeypatch.setenv("COLUMNS", "80")
    code, out, _ = theorylab_(*words)
    assert code == 0 and out and max(map(len, out.splitlines())) <= 80


@pytest.mark.parametrize("words", [["list"], ["cite", "seg_rr"], ["run", "toy_holds"], ["--help"]])
def test_a_reader_that_goes_away(theorylab_, monkeypatch, words):
    """As with `theorylab list | head -1`: no traceback, and what a shell says of SIGPIPE."""
    reader, writer = os.pipe()
    os.close(reader)
    with open(writer, "w") as pipe:
        monkeypatch.setattr(sys, "stdout", pipe)
        code = cli.main(words)
    assert code == 141


def test_version_and_module():
    done = subprocess.run([sys.executable, "-m", "theorylab", "--version"], capture_output=True, text=True)
    assert done.stdout == f"theorylab {theorylab.__version__}\n" and done.returncode == 0


def test_show_and_cite(theorylab_):
    _, out, _ = theorylab_("show", "toy_contradicted")
    assert all(
        words in out for words in ("A toy", "A line.", "line: a line", "Expected: fails. for the test", "theorylab run")
    )
    card = json.loads(theorylab_("show", "toy_contradicted", "--json")[1], parse_constant=pytest.fail)
    assert card["claims"][0]["id"] == "slope" and card["experiments"][0]["seconds"] == {"small": 0.5, "paper": 100.0}
    assert theorylab_("cite", "toy_holds", "toy_fails")[1].count("@inproceedings{") == 2
    assert theorylab_("cite", "--all")[1].count("\n@") == len(theorylab.papers.slugs()) - 1


def test_doctor(theorylab_, monkeypatch, tmp_path):
    monkeypatch.setenv("THEORYLAB_CACHE", str(tmp_path / "cache"))
    code, out, _ = theorylab_("doctor", "--json")
    findings = json.loads(out, parse_constant=pytest.fail)
    assert code == 0 and findings["problems"] == [] and findings["cache"] == str(tmp_path / "cache" / "xla")
    monkeypatch.setenv("THEORYLAB_CACHE", "/dev/null")
    code, out, _ = theorylab_("doctor")
    assert code == 1 and "cure:" in out


def test_cache_folder(monkeypatch, tmp_path):
    monkeypatch.delenv("THEORYLAB_CACHE", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert cli.cache_folder() == tmp_path / "theorylab" / "xla"


@pytest.mark.parametrize("words", [["list"], ["show", "seg_rr"], ["cite", "seg_rr"]])
def test_reading_is_light(words):
    """A CPU second each, without jax: measured in a process of its own."""
    code = ("import sys; from theorylab.cli import main; status = main(sys.argv[1:]);"
            "sys.exit(status or ('jax' in sys.modules) * 3)")  # fmt: skip
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run([sys.executable, "-c", code, *words], capture_output=True, text=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert done.returncode == 0 and done.stdout, done.stderr
    assert after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime < 1


@pytest.mark.parametrize(("size", "devices"), [("small", 1), ("paper", len(os.sched_getaffinity(0)))])
def test_jax_starts_as_set(tmp_path, size, devices):
    """A device for each core that the process may use, unless the run is small, and a lasting cache."""
    code = (
        f"from theorylab.cli import start_jax; start_jax({size!r});"
        "import jax; jax.jit(lambda x: x + 1)(1); print(jax.device_count())"
    )
    environment = os.environ | {"THEORYLAB_CACHE": str(tmp_path), "JAX_PLATFORMS": "cpu"}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=environment)
    assert int(done.stdout) == devices
    assert any((tmp_path / "xla").iterdir())
