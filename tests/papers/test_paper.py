"""Verdicts are arithmetic; cards refuse what cannot be true."""

import dataclasses
import json

import numpy as np
import pytest

from theorylab.numerics import Estimate
from theorylab.papers import Claim, Experiment, Paper, Verdict

CLAIM = Claim("slope", "it rises", "derived here", lambda dataset: Verdict.compare(1, "==", 1))
SIZES = {"small": 1, "paper": 2, "large": 3}
EXPERIMENT = Experiment("line", "a line", sizes=SIZES, run=lambda setting, key: None, plot=lambda dataset: None,
                        claims=(CLAIM,))  # fmt: skip
CARD = dict(slug="toy", title="A toy", authors=("A. Nobody",), venue="Nowhere", year=2026, room="games", setting="",
            experiments=(EXPERIMENT,))  # fmt: skip


def deciding(*claims):
    return {"experiments": (dataclasses.replace(EXPERIMENT, claims=claims),)}


@pytest.mark.parametrize(
    "measured, relation, predicted, tolerance, verdict",
    [
        (1.05, "==", 1, 0.1, "holds"),
        (1.15, "==", 1, 0.1, "fails"),
        (1.05, "<=", 1, 0.1, "holds"),
        (1.15, "<=", 1, 0.1, "fails"),
        (0.95, ">=", 1, 0.1, "holds"),
        (0.85, ">=", 1, 0.1, "fails"),
        (np.float32(2), "==", np.asarray(2), 0, "holds"),
        (float("nan"), "==", 1, 0.1, "undecided"),
        (1.0, "<=", float("inf"), 0, "undecided"),
        (1.0, "==", 1, float("nan"), "undecided"),
    ],
)
def test_compare(measured, relation, predicted, tolerance, verdict):
    """The tolerance is slack; what is not finite decides nothing and becomes null."""
    result = Verdict.compare(measured, relation, predicted, tolerance)
    assert result.verdict == verdict
    json.dumps(dataclasses.asdict(result), allow_nan=False)


@pytest.mark.parametrize(
    "measured, relation, predicted, error, verdict",
    [
        (0.96, "<=", 1, 0.01, "holds"),
        (0.98, "<=", 1, 0.01, "undecided"),
        (1.02, "<=", 1, 0.01, "undecided"),
        (1.04, "<=", 1, 0.01, "fails"),
        (1.04, ">=", 1, 0.01, "holds"),
        (0.96, ">=", 1, 0.01, "fails"),
        (1.0, ">=", 1, 0.0, "holds"),
        (1.02, "==", 1, 0.01, "holds"),
        (1.04, "==", 1, 0.01, "fails"),
        (1.02, "==", 1, 0.5, "undecided"),
        (0.0, "==", 0, 0.5, "undecided"),
        (float("inf"), ">=", 1, 0.01, "undecided"),
    ],
)
def test_estimate(measured, relation, predicted, error, verdict):
    """Three standard errors decide; an error larger than the prediction decides nothing."""
    assert Verdict.estimate(Estimate(measured, error), relation, predicted).verdict == verdict


def test_estimate_errs_at_three_sigma():
    """A true inequality at its border is decided wrongly as often as a Gaussian passes three sigma on one side."""
    samples = np.random.default_rng(0).normal(1.0, 0.1, 20_000)
    wrong = np.mean([Verdict.estimate(Estimate(m, 0.1), "<=", 1.0).verdict != "undecided" for m in samples])
    rate = 0.0027  # both sides together
    assert abs(wrong - rate) < 4 * np.sqrt(rate / len(samples))  # four standard errors of a frequency


def test_few_draws_err_as_rarely():
    """Means of three draws, judged by their own spread, are refused as often as three sigma refuse: by 3s, 35 times."""
    draws = np.random.default_rng(0).normal(1.0, 0.01, (4000, 3))
    errors = draws.std(axis=1, ddof=1) / np.sqrt(3)
    refused = [
        Verdict.estimate(Estimate(m, s), "==", 1.0, draws=3).verdict == "fails"
        for m, s in zip(draws.mean(1), errors, strict=True)
    ]
    assert np.mean(refused) < 0.0027 + 4 * np.sqrt(0.0027 / len(draws))  # four standard errors of a frequency


@pytest.mark.parametrize(
    "arguments, words",
    [
        (("hold", 1.0, 1.0, "==", 0.0), "verdict = 'hold'"),
        (("holds", 1.0, 1.0, "<", 0.0), "relation = '<'"),
        (("holds", None, 1.0, "==", 0.0), "measured is None"),
        (("holds", float("nan"), 1.0, "==", 0.0), "not finite"),
        (("holds", 1.0, 1.0, "==", -1.0), "negative"),
    ],
)
def test_verdict_refuses(arguments, words):
    with pytest.raises(Exception) as caught:  # the type checker of the tests may speak first, of the same argument
        Verdict(*arguments)
    assert words in str(caught.value) or repr(arguments[0]) in str(caught.value) or "relation" in str(caught.value)


@pytest.mark.parametrize(
    "change, words",
    [
        ({"slug": "two words"}, "not an identifier"),
        ({"authors": ()}, "no authors"),
        (deciding(), "no claims"),
        ({"experiments": ()}, "no experiments"),
        (deciding(CLAIM, CLAIM), "two claims called 'slope'"),
        ({"experiments": (EXPERIMENT, EXPERIMENT)}, "two experiments called 'line'"),
    ],
)
def test_paper_refuses(change, words):
    with pytest.raises(ValueError, match=words):
        Paper(**CARD | change)


@pytest.mark.parametrize("sizes", [{"small": 1}, SIZES | {"huge": 4}])
def test_experiment_refuses_sizes_that_are_missing_or_unknown(sizes):
    with pytest.raises(ValueError, match="give small, paper, large"):
        dataclasses.replace(EXPERIMENT, sizes=sizes)


def test_claim_that_fails_says_why():
    with pytest.raises(ValueError, match="without a reason"):
        dataclasses.replace(CLAIM, expected="fails")


@pytest.mark.parametrize(
    "expected, status",
    [(("holds",), "holds"), (("holds", "undecided"), "undecided"), (("undecided", "fails", "holds"), "fails")],
)
def test_status_is_the_worst(expected, status):
    claims = tuple(dataclasses.replace(CLAIM, id=word, expected=word, why="shown") for word in expected)
    assert Paper(**CARD | deciding(*claims)).status == status


def test_a_verdict_knows_whether_it_may_err():
    """Numbers of rounding do not, estimates do: also one that is undecided."""
    assert not Verdict.compare(1.0, "<=", 1.0).statistical
    assert (
        Verdict.estimate(Estimate(1.0, 0.1), "<=", 1.0).statistical
        and Verdict.worst(Estimate([np.nan], [1.0]), "<=", 1).statistical
    )
    assert Verdict.agree(np.ones((3, 1)), [1.0]).statistical and Verdict.agree(np.ones((3, 1)), [np.nan]).statistical


def test_worst_is_the_weakest_link():
    """It holds when all hold; one that is undecided or not a number makes the whole undecided."""
    assert Verdict.worst(Estimate([[0.1, 0.5]], [[0.01, 0.1]]), "<=", 1).verdict == "holds"
    assert Verdict.worst(Estimate([0.1, 0.9], [0.01, 0.1]), "<=", 1).verdict == "undecided"
    assert Verdict.worst(Estimate([3.0, 2.0, 0.5], [0.1] * 3), ">=", 1).verdict == "fails"
    assert Verdict.worst(Estimate([0.1, np.nan], [0.01, 0.01]), "<=", 1).verdict == "undecided"
    with pytest.raises(ValueError, match="no worst side"):
        Verdict.worst(Estimate([1.0], [0.1]), "==", 1)


def test_agree_errs_as_often_as_it_says():
    """True means of few Gaussian samples are refused at the rate of three sigma, however many they are together."""
    draws = np.random.default_rng(1).normal(2.0, 1.0, (4000, 5, 6))
    refused = np.mean([Verdict.agree(samples, np.full(6, 2.0)).verdict == "fails" for samples in draws])
    assert refused < 0.0027 + 4 * np.sqrt(0.0027 / len(draws))  # four standard errors of a frequency
    shifted = Verdict.agree(draws.reshape(-1, 6), np.asarray([2.0, 2.0, 2.0, 2.0, 2.0, 2.1]))
    assert shifted.verdict == "fails"
    assert Verdict.agree(draws[0], np.full(6, np.nan)).verdict == "undecided"
    assert Verdict.agree(np.ones((3, 2)), [1.0, 1.0 + 1e-12]).verdict == "holds"  # rounding, where there is no spread
