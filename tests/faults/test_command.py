"""The command line, interrupted between experiments and in one: what is finished is kept, and the status says why."""

import signal

import pytest
import xarray

import theorylab.figures as figures
from theorylab import cli
from theorylab.papers import Claim, Experiment, Paper, Verdict


@pytest.fixture
def ran(monkeypatch):
    """The experiments that ran, of a paper whose second one gets a signal in its first run."""
    names = []

    def experiment(name, number=None, claims=()):
        def run(setting, key):
            names.append(name)
            if number is not None and names.count(name) == 1:
                signal.raise_signal(number)
            return xarray.Dataset({"y": ("x", [0.0, 1.0])})

        def plot(dataset):
            figure, axes = figures.panels(1)
            figures.predicted(axes[0], [0, 1], dataset.y)
            return figure

        sizes = {"small": 1, "paper": 2, "large": 3}
        return Experiment(name, name, sizes=sizes, run=run, plot=plot, claims=claims)

    def paper(number):
        line = Claim("line", "it rises", "derived here", lambda ds: Verdict.compare(ds.y[1], "==", 1.0))
        card = {"title": "A toy", "authors": ("Nobody",), "venue": "Nowhere", "year": 2026, "room": "games"}
        both = (experiment("one", claims=(line,)), experiment("two", number))
        monkeypatch.setattr(cli, "find", lambda slug: Paper(slug=slug, setting="", experiments=both, **card))
        return names

    monkeypatch.setattr(cli, "start_jax", lambda size: 0)
    return paper


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_keeps_what_is_finished(ran, tmp_path, capsys, number, status):
    names, handlers = ran(number), [signal.getsignal(n) for n in (signal.SIGINT, signal.SIGTERM)]
    words = ["run", "toy", "--out", str(tmp_path)]
    assert cli.main(words) == status
    assert "the same command goes on with the others" in capsys.readouterr().err
    assert {file.name for file in (tmp_path / "toy" / "small").iterdir()} == {"one.nc", "one.png", "one.svg"}
    assert [signal.getsignal(n) for n in (signal.SIGINT, signal.SIGTERM)] == handlers
    assert cli.main(words) == 0
    assert names == ["one", "two", "two"]
