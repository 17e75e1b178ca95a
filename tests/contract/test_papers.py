"""What every paper promises: each one finds itself here, and runs its small experiments, by default the first alone."""

import pytest

import theorylab as tl
from tests.figures.ink import crowded, hidden

FIRST, OTHER = 4, 8  # CPU seconds of a small experiment with its compile, all threads together, on a fast machine
SLOWER = 3  # times as much on a slow machine that is busy, with what the first experiment of all must import
PAPERS = [tl.papers.find(slug) for slug in tl.papers.slugs()]
EXPERIMENTS = [
    pytest.param(paper, experiment, id=f"{paper.slug}-{experiment.name}", marks=[pytest.mark.slow] if number else [])
    for paper in PAPERS
    for number, experiment in enumerate(paper.experiments)
]
each_experiment = pytest.mark.parametrize(("paper", "experiment"), EXPERIMENTS)


def test_there_are_papers():
    assert PAPERS, "the registry is empty: theorylab/papers/<room>/<slug>.py should have been found"


@pytest.mark.parametrize("paper", PAPERS, ids=lambda paper: paper.slug)
def test_every_experiment_decides_claims(paper):
    assert all(experiment.claims for experiment in paper.experiments)


@each_experiment
def test_small_is_small(paper, experiment, ran):
    budget = FIRST if experiment is paper.experiments[0] else OTHER
    assert ran(paper, experiment).seconds <= SLOWER * budget


@each_experiment
def test_nothing_is_missing(paper, experiment, ran):
    variables = ran(paper, experiment).dataset.variables
    missing = [name for name, variable in variables.items() if variable.isnull().any()]
    assert not missing, f"{missing} have NaN: a lane failed, or a prediction was not made"


@each_experiment
def test_its_claims_are_as_expected(paper, experiment, ran):
    """A statistical one has a second try, with fresh draws."""
    decided = zip(experiment.claims, ran(paper, experiment).verdicts, strict=True)
    wrong = {claim.id: found for claim, found in decided if found[0].verdict != claim.expected}
    assert not wrong


@each_experiment
def test_every_verdict_says_what_it_measures(paper, experiment, ran):
    decided = zip(experiment.claims, ran(paper, experiment).verdicts, strict=True)
    dumb = [claim.id for claim, (verdict, _) in decided if not verdict.quantity]
    assert not dumb, f"{dumb} of {paper.slug}: give the check a quantity"


@each_experiment
def test_its_figure_can_be_read(paper, experiment, ran):
    """Every panel has data; no legend lies on a curve, no word on another, and none is cut."""
    with tl.figures.style():
        figure = experiment.plot(ran(paper, experiment).dataset)
        assert figure.axes and all(axes.has_data() for axes in figure.axes)
        assert crowded(figure) == []
        on_curves = {words: share for words, share in hidden(figure).items() if share}
        assert not on_curves, f"{on_curves}: place legends with theorylab.figures.legend"
