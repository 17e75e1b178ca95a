"""What data say of a claim: a word, and the numbers behind it."""

import math
from dataclasses import dataclass, replace
from typing import Any, Literal, SupportsFloat, get_args

import numpy as np
from numpy.typing import ArrayLike

from theorylab.numerics import Estimate

Outcome = Literal["holds", "fails", "undecided"]
Relation = Literal["==", "<=", ">="]


@dataclass(frozen=True)
class Verdict:
    """What the data say of a claim, with the numbers behind it.

    The sentence is `measured relation predicted`, up to `tolerance`. Make one with `compare` where the tolerance is
    rounding, or with `estimate` where it is a standard error; `worst` and `agree` do so for many numbers at once.

    **Arguments**: `verdict`, `"holds" | "fails" | "undecided"`; `measured`, `predicted` and `tolerance`, finite
    numbers, or None where there is none (then only `"undecided"` is possible); `relation`, `"==" | "<=" | ">="`;
    `quantity`, in words and with its unit, what the numbers measure, so that "2.29 <= 7.258" can be read;
    `statistical`, whether the measured number is a draw, so that the verdict may err, as rarely as three sigma.

    **Raises** `ValueError` when a number is not finite, the tolerance is negative, or a word is unknown.

    **Source**: derived here.

        >>> import theorylab as tl
        >>> tl.papers.Verdict("undecided", None, 2.0, "==", 0.1).measured is None
        True
    """

    verdict: Outcome
    measured: float | None
    predicted: float | None
    relation: Relation
    tolerance: float | None
    quantity: str = ""
    statistical: bool = False

    def __post_init__(self) -> None:
        one_of("verdict", self.verdict, Outcome)
        one_of("relation", self.relation, Relation)
        numbers = {"measured": self.measured, "predicted": self.predicted, "tolerance": self.tolerance}
        for name, number in numbers.items():
            if number is None:
                if self.verdict != "undecided":
                    raise ValueError(
                        f"{name} is None but the verdict is {self.verdict!r}: say 'undecided', or measure it"
                    )
            elif not math.isfinite(number):
                raise ValueError(
                    f"{name} = {number} is not finite: make the verdict with Verdict.compare, which says 'undecided'"
                )
        if self.tolerance is not None and self.tolerance < 0:
            raise ValueError(
                f"tolerance = {self.tolerance} is negative: give the size of the rounding or standard error"
            )

    @classmethod
    def compare(
        cls,
        measured: SupportsFloat,
        relation: Relation,
        predicted: SupportsFloat,
        tolerance: SupportsFloat = 0.0,
        *,
        quantity: str = "",
    ) -> "Verdict":
        r"""The verdict where the only doubt is rounding: the tolerance is slack.

        `==` holds when $|m - p| \le \tau$, `<=` when $m \le p + \tau$, `>=` when $m \ge p - \tau$; otherwise it fails.

        **Arguments**: `measured` $m$, `predicted` $p$ and `tolerance` $\tau \ge 0$, in the same unit; `quantity`, what
        they measure.

        **Returns** the `Verdict`; `"undecided"`, with None in its place, where a number is not finite.

        **Raises** `ValueError` for a negative tolerance or an unknown relation.

        **Source**: derived here.

            >>> import theorylab as tl
            >>> tl.papers.Verdict.compare(1.95, "==", 2, 0.1).verdict
            'holds'
            >>> tl.papers.Verdict.compare(float("nan"), "<=", 1.0).verdict
            'undecided'
        """
        one_of("relation", relation, Relation)
        m, p, tau = (_finite(number) for number in (measured, predicted, tolerance))
        if m is None or p is None or tau is None:
            return cls("undecided", m, p, relation, tau, quantity)
        holds = {"==": abs(m - p) <= tau, "<=": m <= p + tau, ">=": m >= p - tau}[relation]
        return cls("holds" if holds else "fails", m, p, relation, tau, quantity)

    @classmethod
    def estimate(
        cls,
        measured: Estimate,
        relation: Relation,
        predicted: SupportsFloat,
        *,
        draws: int | None = None,
        quantity: str = "",
    ) -> "Verdict":
        r"""The verdict where the measured number is an estimate: three standard errors of doubt.

        With $\tau = 3 s$, an inequality is decided only where the estimate is further than $\tau$ from the border:
        `<=` holds when $m \le p - \tau$, fails when $m \ge p + \tau$, and is undecided between (`>=` is its mirror).
        `==` fails when $|m - p| > \tau$, and otherwise holds if the estimate could have told $p$ from zero,
        $\tau \le |p|$; if it could not, it is undecided.

        **Arguments**: `measured`, an `Estimate` of $m$ with standard error $s \ge 0$; `predicted` $p$, in its unit;
        `draws`, how many independent normal ones m is the mean of and s was found from, where they are few: $\tau$ is
        then the quantile of Student's t that errs as rarely as $3s$ of a known s; `quantity`, what they measure.

        **Returns** the `Verdict`, whose tolerance is $\tau$; `"undecided"` where a number is not finite.

        **Raises** `ValueError` for a negative standard error or an unknown relation.

        **Source**: derived here; a three-sigma rule.

            >>> import theorylab as tl
            >>> near, far = (tl.numerics.Estimate(0.9, s) for s in (0.01, 0.1))
            >>> [tl.papers.Verdict.estimate(one, "<=", 1.0).verdict for one in (near, far)]
            ['holds', 'undecided']
        """
        one_of("relation", relation, Relation)
        m, p, s = map(_finite, (measured.value, predicted, measured.standard_error))
        tau = None if s is None else s * (3 if draws is None else _student(draws))
        if m is None or p is None or tau is None:
            return cls("undecided", m, p, relation, tau, quantity, statistical=True)
        holds, fails = {
            "==": (abs(m - p) <= tau <= abs(p), abs(m - p) > tau),
            "<=": (m <= p - tau, m > p and m >= p + tau),
            ">=": (m >= p + tau, m < p and m <= p - tau),
        }[relation]
        outcome = "holds" if holds else "fails" if fails else "undecided"
        return cls(outcome, m, p, relation, tau, quantity, statistical=True)

    @classmethod
    def worst(
        cls,
        measured: Estimate,
        relation: Relation,
        predicted: ArrayLike | float | int,
        *,
        draws: int | None = None,
        quantity: str = "",
    ) -> "Verdict":
        """The `estimate` that is nearest to breaking an inequality: it holds when all do.

        **Arguments**: `measured`, an `Estimate` of an array; `relation`, `"<="` or `">="`; `predicted`, of a shape that
        broadcasts with it; `draws`, as in `estimate`; `quantity`, what they measure.

        **Returns** the `Verdict` on one of the numbers; `"undecided"` where one is not finite.

        **Raises** `ValueError` for another relation.

        **Source**: derived here.

            >>> import theorylab as tl
            >>> tl.papers.Verdict.worst(tl.numerics.Estimate([0.1, 0.9, 0.5], [0.01, 0.01, 0.01]), "<=", 1.0).measured
            0.9
        """
        if relation not in ("<=", ">="):
            raise ValueError(f"relation = {relation!r} has no worst side: use '<=' or '>=', or `agree` for equalities")
        together = np.broadcast_arrays(*(np.asarray(one, float) for one in (*measured, predicted)))
        values, errors, borders = map(np.ravel, together)
        most = 3 if draws is None else _student(draws)
        excess = (1 if relation == "<=" else -1) * (values - borders) + most * errors
        at = int(np.argmax(excess))  # argmax finds a nan first
        return cls.estimate(Estimate(values[at], errors[at]), relation, borders[at], draws=draws, quantity=quantity)

    @classmethod
    def agree(cls, samples: ArrayLike, predicted: ArrayLike, *, quantity: str = "the means") -> "Verdict":
        r"""Whether the means of samples agree with predictions, all together at three sigma.

        Measured is the largest $|z| = |\bar x - p| / (s + 10^{-9}|p|)$, with $s$ the standard error of the mean;
        it may reach the quantile of Student's t at $0.0027/m$, both sides together, for $m$ numbers (Bonferroni).

        **Arguments**: `samples` (s, *shape), s >= 2 independent draws of each number; `predicted` (*shape), where nan
        marks a number without prediction; `quantity`, whose means they are, in words.

        **Returns** the `Verdict`; `"undecided"` where a mean is not finite or nothing is predicted.

        **Source**: derived here; the term in p is for numbers without spread, which rounding alone moves, theirs and
        that of an eigenvalue.

            >>> import numpy as np, theorylab as tl
            >>> samples = np.random.default_rng(0).normal([1.0, 2.0], 0.1, (50, 2))
            >>> [tl.papers.Verdict.agree(samples, p).verdict for p in ([1.0, 2.0], [1.0, 2.2])]
            ['holds', 'fails']
        """
        samples, predicted = np.asarray(samples, float), np.asarray(predicted, float)
        known = np.isfinite(predicted)
        error = samples.std(axis=0, ddof=1) / np.sqrt(len(samples)) + 1e-9 * np.abs(predicted)
        z = (np.abs(samples.mean(axis=0) - predicted) / error)[known]
        quantity = f"largest deviation of {quantity} from theory, in standard errors"
        if z.size == 0:
            return cls("undecided", None, None, "<=", None, quantity, statistical=True)
        most = _student(len(samples), z.size)
        return replace(cls.compare(z.max(), "<=", most, quantity=quantity), statistical=True)


def one_of(name: str, value: str, words: Any) -> None:
    """Refuse a word that the `Literal` does not have."""
    if value not in get_args(words):
        raise ValueError(f"{name} = {value!r} is unknown: use one of {', '.join(get_args(words))}")


def _student(draws: int, numbers: int = 1) -> float:
    """What the mean of so many draws may be off in units of its standard error, as rarely as three sigma: for so many
    such means together."""
    from scipy import special

    return -special.stdtrit(draws - 1, 0.00135 / numbers)


def _finite(number: Any) -> float | None:
    value = float(number)
    return value if math.isfinite(value) else None
