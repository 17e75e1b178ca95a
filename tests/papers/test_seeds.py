"""Verdicts survive any seed: small runs at eight of them. `-m slow -k seg_rr-toy -s` runs one and says what it saw."""

import jax
import pytest
from scipy import stats

import theorylab as tl
from theorylab.report import Result
from theorylab.report.experiments import make

SEEDS = range(8)
RATE = 0.0027  # of three sigma, both sides together: a statistical verdict errs no more often
CHANCE = 1e-3  # of more statistical misses than are allowed, were each as likely as that
PAPERS = [tl.papers.find(slug) for slug in tl.papers.slugs()]
EXPERIMENTS = [(paper, experiment) for paper in PAPERS for experiment in paper.experiments]


def allowed(verdicts):
    """The most misses of so many statistical verdicts."""
    return int(stats.binom.isf(CHANCE, verdicts, RATE))


@pytest.fixture(scope="module")
def statistical():
    """Whether each statistical verdict of the experiments that ran was expected: judged together, at the end."""
    verdicts: list[bool] = []
    yield verdicts
    misses = verdicts.count(False)
    assert misses <= allowed(len(verdicts)), f"{misses} of {len(verdicts)} statistical verdicts are not expected"


@pytest.mark.slow
@pytest.mark.parametrize("pair", EXPERIMENTS, ids=lambda pair: f"{pair[0].slug}-{pair[1].name}")
def test_verdicts_survive_any_seed(pair, statistical, ran):
    """Without the second try that a statistical one has in a run."""
    paper, experiment = pair
    exact, noisy = [], []
    for seed in SEEDS:
        if seed == 0:
            dataset = ran(paper, experiment).dataset
        else:
            with jax.numpy_dtype_promotion("standard"):
                dataset = make(experiment, size="small", seed=seed, precision=paper.precision)
        for claim in experiment.claims:
            verdict = claim.check(dataset)
            expected = Result(paper, claim, verdict, "small").as_expected
            if not expected or verdict.verdict == "undecided":
                print(f"\nseed {seed}, {paper.slug}: {claim.id} {'' if expected else 'is not expected: '}{verdict}")
            (noisy if verdict.statistical else exact).append((seed, claim.id, expected))
    statistical += [expected for *_, expected in noisy]
    assert not [(seed, claim) for seed, claim, expected in exact if not expected]
    misses = [(seed, claim) for seed, claim, expected in noisy if not expected]
    assert len(misses) <= allowed(len(noisy)), misses
