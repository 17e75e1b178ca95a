"""What every paper promises: each one finds itself here, and runs its small experiments."""

import time

import jax
import pytest

import theorylab as tl
from tests.figures.ink import crowded, hidden
from theorylab.engine.keys import stream

# of a small experiment with its compile, all threads together; the quicker compiler of conftest.py is in jax 0.10 alone
CPU_SECONDS = 12 if jax.__version_info__ < (0, 11) else 15
PAPERS = [tl.papers.find(slug) for slug in tl.papers.slugs()]
EXPERIMENTS = [(paper, experiment) for paper in PAPERS for experiment in paper.experiments]


def test_there_are_papers():
    assert PAPERS, "the registry is empty: theorylab/papers/<room>/<slug>.py should have been found"


@pytest.mark.parametrize("paper", PAPERS, ids=lambda paper: paper.slug)
def test_every_experiment_decides_claims(paper):
    assert all(experiment.claims for experiment in paper.experiments)


@pytest.fixture(scope="module", params=EXPERIMENTS, ids=lambda pair: f"{pair[0].slug}-{pair[1].name}")
def ran(request):
    """A small experiment as `theorylab run` runs it: paper, experiment, dataset, CPU seconds."""
    paper, experiment = request.param
    key = stream(jax.random.key(0), experiment.name)
    with jax.enable_x64(paper.precision == "float64"), jax.numpy_dtype_promotion("standard"):
        start = time.process_time()
        dataset = experiment.run(experiment.sizes["small"], key).load()
        return paper, experiment, dataset, time.process_time() - start


def test_small_is_small(ran):
    assert ran[3] <= CPU_SECONDS


def test_nothing_is_missing(ran):
    dataset = ran[2]
    missing = [name for name, variable in dataset.variables.items() if variable.isnull().any()]
    assert not missing, f"{missing} have NaN: a lane failed, or a prediction was not made"


def test_its_claims_are_as_expected(ran):
    _, experiment, dataset, _ = ran
    claims = experiment.claims
    found = {claim.id: claim.check(dataset) for claim in claims}
    wrong = {claim.id: found[claim.id] for claim in claims if found[claim.id].verdict != claim.expected}
    assert not wrong


def test_every_verdict_says_what_it_measures(ran):
    paper, experiment, dataset, _ = ran
    dumb = [claim.id for claim in experiment.claims if not claim.check(dataset).quantity]
    assert not dumb, f"{dumb} of {paper.slug}: give Verdict.compare (or estimate, worst, agree) a quantity"


def test_its_figure_can_be_read(ran):
    """Every panel has data; no legend lies on a curve, no word on another, and none is cut."""
    _, experiment, dataset, _ = ran
    with tl.figures.style():
        figure = experiment.plot(dataset)
        assert figure.axes and all(axes.has_data() for axes in figure.axes)
        assert crowded(figure) == []
        on_curves = {words: share for words, share in hidden(figure).items() if share}
        assert not on_curves, f"{on_curves}: place legends with theorylab.figures.legend"
