"""A run keeps what it made, reads it again when it is equal, and never leaves half a file."""

import dataclasses
import json
from types import MappingProxyType

import jax
import numpy as np
import pytest
import xarray

import theorylab.figures as figures
from theorylab.papers import Claim, Experiment, Paper, Verdict
from theorylab.report import run
from theorylab.report.digests import digest


class Counter:
    """A paper of one line whose slope is the seed's draw; it counts what it is asked to do."""

    sizes = MappingProxyType({"small": 1, "paper": 2, "large": 3})

    def __init__(self):
        self.runs = self.plots = self.checks = 0

    def run(self, setting, key):
        self.runs += 1
        print("an experiment may print")
        slope = jax.random.uniform(key, dtype=float)
        variables = {"y": ("x", np.asarray([0.0, slope])), "ok": ("x", [True, False])}
        return xarray.Dataset(variables, {"x": [0.0, 1.0]}, {"nested": {"a": (1, 2)}, "none": None})

    def plot(self, dataset):
        self.plots += 1
        figure, axes = figures.panels(1)
        figures.measured(axes[0], dataset.x, dataset.y, label="line")
        return figure

    def check(self, dataset):
        self.checks += 1
        return Verdict.compare(dataset.y[1], "<=", 1.0)

    def counts(self):
        return self.runs, self.plots, self.checks

    def paper(self, **change):
        def nothing(dataset):
            return Verdict.compare(np.nan, "==", 1.0)

        claims = (
            Claim("bounded", "the slope is at most one", "derived here", self.check),
            Claim("lost", "no number", "derived here", nothing),
        )
        line = Experiment("line", "a line", sizes=self.sizes, run=self.run, plot=self.plot, claims=claims)
        card = dict(
            slug="toy", title="A toy", authors=("Nobody",), venue="Nowhere", year=2026, room="games", setting=""
        )
        return Paper(**card | {"experiments": (line,)} | change)


@pytest.fixture
def toy():
    return Counter()


def said_by(report):
    return [(result.verdict, result.again) for result in report.results]


def test_files_and_their_content(toy, tmp_path, capsys):
    report = run(toy.paper(), out=tmp_path, seed=3)
    folder = tmp_path / "toy" / "small"
    assert capsys.readouterr().out == ""
    assert {path.name for path in folder.iterdir()} == {"line.nc", "line.png", "line.svg", "claims.json", "run.json"}
    record = json.loads((folder / "run.json").read_text())
    asked = {"slug": "toy", "size": "small", "seed": 3, "precision": "float64", "digest": digest(toy.paper())}
    assert record["asked"] == asked and len(asked["digest"]) == 16
    assert record["versions"]["jax"] == jax.__version__ and set(record["seconds"]["line"]) == {"wall", "cpu"}
    assert report.seconds == {"line": record["seconds"]["line"]["cpu"]}
    rows = json.loads((folder / "claims.json").read_text(), parse_constant=pytest.fail)
    assert [(row["verdict"], row["measured"] is None) for row in rows] == [("holds", False), ("undecided", True)]
    assert [row["verdict"] for row in rows] == [result.verdict.verdict for result in report.results]


def test_an_equal_run_is_read_and_a_fresh_one_is_not(toy, tmp_path):
    first = run(toy.paper(), out=tmp_path)
    second = run(toy.paper(), out=tmp_path)
    assert toy.counts() == (1, 1, 1)
    assert said_by(first) == said_by(second) and first.seconds == second.seconds
    run(toy.paper(), out=tmp_path, fresh=True)
    assert toy.counts() == (2, 2, 2)


@pytest.mark.parametrize("lost", ["line.png", "line.svg", "claims.json", "run.json"])
def test_what_is_missing_is_made_again_from_the_data(toy, tmp_path, lost):
    folder = run(toy.paper(), out=tmp_path).folder
    (folder / lost).unlink()
    run(toy.paper(), out=tmp_path)
    assert toy.counts() == (1, 2, 2) and (folder / lost).exists()


def test_another_seed_size_or_precision_is_another_run(toy, tmp_path):
    values = [float(run(toy.paper(), out=tmp_path, seed=seed).results[0].verdict.measured or 0) for seed in (0, 1, 0)]
    assert toy.runs == 3 and values[0] == values[2] != values[1]
    run(toy.paper(), out=tmp_path, size="paper")
    run(toy.paper(precision="float32"), out=tmp_path)
    assert toy.runs == 5


def test_precision_is_that_of_the_paper(toy, tmp_path):
    for precision in ("float32", "float64"):
        folder = run(toy.paper(precision=precision), out=tmp_path).folder
        with xarray.open_dataset(folder / "line.nc", engine="h5netcdf") as dataset:
            slope = float(dataset.y[1])
        assert (slope == float(np.float32(slope))) == (precision == "float32")


@pytest.mark.parametrize("digest", ["other", ""])
def test_what_other_or_unknown_code_has_made_is_made_again(toy, tmp_path, monkeypatch, digest):
    run(toy.paper(), out=tmp_path)
    monkeypatch.setattr("theorylab.report.runs.digest", lambda paper: digest)
    for runs in (2, 2 if digest else 3):
        run(toy.paper(), out=tmp_path)
        assert toy.runs == runs


class Draw(Counter):
    """The same with a statistical claim, which the first draws miss."""

    def check(self, dataset):
        verdict = super().check(dataset)
        return dataclasses.replace(verdict, verdict="fails" if self.checks == 1 else "holds", statistical=True)


def test_a_statistical_claim_that_misses_is_decided_by_fresh_draws(tmp_path):
    """And says so; the draws are kept, and not made again with figures that were lost."""
    draw, said = Draw(), []
    report = run(draw.paper(), out=tmp_path, say=said.append)
    assert draw.counts() == (2, 1, 2) and report.as_expected and any("fresh draws decide" in line for line in said)
    assert [result.again for result in report.results] == [True, False]
    folder = report.folder
    first, again = (float(xarray.load_dataset(folder / f"line{kind}.nc", engine="h5netcdf").y[1])
                    for kind in ("", ".again"))  # fmt: skip
    assert report.results[0].verdict.measured == again != first
    assert [row["again"] for row in json.loads((folder / "claims.json").read_text())] == [True, False]
    assert said_by(run(draw.paper(), out=tmp_path)) == said_by(report) and draw.runs == 2
    (folder / "line.png").unlink()
    draw.checks = 0
    assert said_by(run(draw.paper(), out=tmp_path)) == said_by(report) and draw.runs == 2
    draw.checks = 0
    assert said_by(run(draw.paper(), out=tmp_path, fresh=True)) == said_by(report) and draw.runs == 4


def test_a_second_miss_is_a_failure(tmp_path):
    class Miss(Draw):
        def check(self, dataset):
            return dataclasses.replace(super().check(dataset), verdict="fails")

    miss = Miss()
    report = run(miss.paper(), out=tmp_path)
    assert miss.runs == 2 and not report.as_expected and report.results[0].again


def test_an_exact_claim_has_no_second_try(tmp_path):
    class Exact(Counter):
        def check(self, dataset):
            return dataclasses.replace(super().check(dataset), verdict="fails")

    exact = Exact()
    assert not run(exact.paper(), out=tmp_path).as_expected and exact.counts() == (1, 1, 1)


def test_a_run_that_breaks_leaves_no_half_file_and_goes_on_where_it_stopped(toy, tmp_path):
    def broken(dataset):
        raise RuntimeError("no ink")

    paper = toy.paper()
    later = Experiment("later", "breaks", sizes=toy.sizes, run=toy.run, plot=broken)
    with pytest.raises(RuntimeError, match="no ink"):
        run(dataclasses.replace(paper, experiments=(*paper.experiments, later)), out=tmp_path)
    folder = tmp_path / "toy" / "small"
    assert not any(path.name.startswith(".") for path in folder.iterdir()) and not (folder / "run.json").exists()
    mended = dataclasses.replace(later, plot=toy.plot)
    run(dataclasses.replace(paper, experiments=(*paper.experiments, mended)), out=tmp_path)
    assert toy.runs == 2


def test_experiments_draw_apart(tmp_path):
    """Each experiment has a key of its own, by its name: adding one never shifts another."""
    toy = Counter()
    paper = toy.paper()
    second = dataclasses.replace(paper.experiments[0], name="second", claims=())
    folder = run(dataclasses.replace(paper, experiments=(second, *paper.experiments)), out=tmp_path / "two").folder
    alone = run(paper, out=tmp_path / "one").folder
    values = [float(xarray.load_dataset(path, engine="h5netcdf").y[1])
              for path in (folder / "second.nc", folder / "line.nc", alone / "line.nc")]  # fmt: skip
    assert values[0] != values[1] == values[2]
