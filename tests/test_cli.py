"""The command line: what it prints, what it exits with, and how fast it answers."""

import json
import os
import resource
import subprocess
import sys

import pytest

import theorylab.papers
from theorylab import cli

TOY = """
from theorylab.papers import Claim, Experiment, Paper, Verdict
import theorylab.figures as figures

def run(size, key):
    import xarray
    print("noise on stdout")
    return xarray.Dataset({{"y": ("x", [0.0, {slope}])}})

def plot(dataset):
    figure, axes = figures.panels(1)
    figures.predicted(axes[0], [0, 1], [0, 1])
    return figure

PAPER = Paper(slug="{slug}", title="A toy", authors=("Nobody",), venue="Nowhere", year=2026, room="toys",
    setting="A line.",
    experiments=(Experiment("line", "a line", run, plot),),
    claims=(Claim("slope", "the slope is one", "derived here", lambda ds: Verdict.compare(ds.y[1], "==", 1.0),
                  experiment="line", expected="{expected}", why="for the test"),))
"""
PAPERS = {  # slug: slope, expected
    "toy_holds": ("1.0", "holds"),
    "toy_fails": ("2.0", "holds"),
    "toy_contradicted": ("2.0", "fails"),
    "toy_surprise": ("1.0", "fails"),
    "toy_nan": ("float('nan')", "holds"),
}


@pytest.fixture
def theorylab_(tmp_path, monkeypatch, capsys):
    """Runs the command in this process, on papers made for the test; gives status, stdout and stderr."""
    room = tmp_path / "papers" / "toys"
    room.mkdir(parents=True)
    (room / "__init__.py").write_text("")
    for slug, (slope, expected) in PAPERS.items():
        (room / f"{slug}.py").write_text(TOY.format(slug=slug, slope=slope, expected=expected))
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
                         "quantity", "statistical"]  # fmt: skip
    assert (row["measured"] is None) == (slug == "toy_nan") == (row["verdict"] == "undecided")


def test_the_table_and_the_second_run(theorylab_):
    code, out, err = theorylab_("run", "toy_holds")
    assert code == 0 and "holds" in out and "[1/1] line" in err and "noise" not in out
    _, again, err = theorylab_("run", "toy_holds")
    assert again == out and "read from" in err and "noise" not in err
    assert "noise" in theorylab_("run", "toy_holds", "--fresh")[2]


def test_check_covers_several_and_fails_with_one(theorylab_):
    code, out, _ = theorylab_("check", "toy_holds", "toy_contradicted", "--json")
    assert code == 0 and [row["paper"] for row in json.loads(out)] == ["toy_holds", "toy_contradicted"]
    code, out, err = theorylab_("check", "toy_holds", "toy_surprise")
    assert code == 1 and "not as expected: toy_surprise: slope" in err


@pytest.mark.parametrize(
    "words, hint",
    [
        (("run", "toy_hold"), "did you mean 'toy_holds'?"),
        (("show", "toyfails"), "did you mean 'toy_fails'?"),
        (("cite", "toy_holdss"), "did you mean 'toy_holds'?"),
        (("run", "toy_holds", "--size", "smal"), "did you mean 'small'?"),
        (("check", "toy_holds", "--size", "papers"), "did you mean 'paper'?"),
        (("list", "--room", "toy"), "did you mean 'toys'?"),
        (("list", "--status", "fail"), "did you mean 'fails'?"),
        (("lst",), "did you mean 'list'?"),
        (("check",), "--all"),
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
    assert code == 1 and "file" in err and "Traceback" not in err


def test_list_filters(theorylab_):
    def slugs(*words):
        return [card["slug"] for card in json.loads(theorylab_("list", "--json", *words)[1])]

    assert set(slugs("--room", "toys")) == set(PAPERS) and "seg_rr" in slugs()
    assert set(slugs("--room", "toys", "--status", "fails")) == {"toy_contradicted", "toy_surprise"}
    assert len(theorylab_("list", "--room", "toys")[1].splitlines()) == len(PAPERS)


def test_show_and_cite(theorylab_):
    _, out, _ = theorylab_("show", "toy_contradicted")
    assert all(
        words in out for words in ("A toy", "A line.", "line: a line", "Expected: fails. for the test", "theorylab run")
    )
    card = json.loads(theorylab_("show", "toy_contradicted", "--json")[1], parse_constant=pytest.fail)
    assert card["claims"][0]["id"] == "slope" and card["experiments"] == [{"name": "line", "title": "a line"}]
    assert theorylab_("cite", "toy_holds", "toy_fails")[1].count("@inproceedings{") == 2


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
