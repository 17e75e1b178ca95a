"""What a paper is here: a citation, experiments that make data, and claims that read them."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, SupportsFloat, get_args

Size = Literal["small", "paper", "large"]
Outcome = Literal["holds", "fails", "undecided"]
Relation = Literal["==", "<=", ">="]


@dataclass(frozen=True)
class Verdict:
    """What the data say of a claim, with the numbers behind it.

    The sentence is `measured relation predicted`, up to `tolerance`. Make one with `compare` where the tolerance is
    rounding, or with `estimate` where it is a standard error.

    **Arguments**: `verdict`, `"holds" | "fails" | "undecided"`; `measured`, `predicted` and `tolerance`, finite
    numbers, or None where there is none (then only `"undecided"` is possible); `relation`, `"==" | "<=" | ">="`.

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

    def __post_init__(self) -> None:
        _one_of("verdict", self.verdict, Outcome)
        _one_of("relation", self.relation, Relation)
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
        cls, measured: SupportsFloat, relation: Relation, predicted: SupportsFloat, tolerance: SupportsFloat = 0.0
    ) -> "Verdict":
        r"""The verdict where the only doubt is rounding: the tolerance is slack.

        `==` holds when $|m - p| \le \tau$, `<=` when $m \le p + \tau$, `>=` when $m \ge p - \tau$; otherwise it fails.

        **Arguments**: `measured` $m$, `predicted` $p$ and `tolerance` $\tau \ge 0$, in the same unit.

        **Returns** the `Verdict`; `"undecided"`, with None in its place, where a number is not finite.

        **Raises** `ValueError` for a negative tolerance or an unknown relation.

        **Source**: derived here.

            >>> import theorylab as tl
            >>> tl.papers.Verdict.compare(1.95, "==", 2, 0.1).verdict
            'holds'
            >>> tl.papers.Verdict.compare(float("nan"), "<=", 1.0).verdict
            'undecided'
        """
        _one_of("relation", relation, Relation)
        m, p, tau = (_finite(number) for number in (measured, predicted, tolerance))
        if m is None or p is None or tau is None:
            return cls("undecided", m, p, relation, tau)
        holds = {"==": abs(m - p) <= tau, "<=": m <= p + tau, ">=": m >= p - tau}[relation]
        return cls("holds" if holds else "fails", m, p, relation, tau)

    @classmethod
    def estimate(
        cls, measured: SupportsFloat, relation: Relation, predicted: SupportsFloat, standard_error: SupportsFloat
    ) -> "Verdict":
        r"""The verdict where the measured number is an estimate: three standard errors of doubt.

        With $\tau = 3 s$, an inequality is decided only where the estimate is further than $\tau$ from the border:
        `<=` holds when $m \le p - \tau$, fails when $m \ge p + \tau$, and is undecided between (`>=` is its mirror).
        `==` fails when $|m - p| > \tau$, and otherwise holds if the estimate could have told $p$ from zero,
        $\tau \le |p|$; if it could not, it is undecided.

        **Arguments**: `measured` $m$, `predicted` $p$, `standard_error` $s \ge 0$ of $m - p$, in the same unit.

        **Returns** the `Verdict`, whose tolerance is $\tau$; `"undecided"` where a number is not finite.

        **Raises** `ValueError` for a negative standard error or an unknown relation.

        **Source**: derived here; a three-sigma rule.

            >>> import theorylab as tl
            >>> [tl.papers.Verdict.estimate(0.9, "<=", 1.0, s).verdict for s in (0.01, 0.1)]
            ['holds', 'undecided']
        """
        _one_of("relation", relation, Relation)
        m, p, s = (_finite(number) for number in (measured, predicted, standard_error))
        if m is None or p is None or s is None:
            return cls("undecided", m, p, relation, None if s is None else 3 * s)
        tau = 3 * s
        holds, fails = {
            "==": (abs(m - p) <= tau <= abs(p), abs(m - p) > tau),
            "<=": (m <= p - tau, m > p and m >= p + tau),
            ">=": (m >= p + tau, m < p and m <= p - tau),
        }[relation]
        return cls("holds" if holds else "fails" if fails else "undecided", m, p, relation, tau)


@dataclass(frozen=True)
class Claim:
    """A statement of a paper that a dataset can decide.

    **Arguments**: `id`, a short name, unique in its paper; `statement`, one sentence; `source`, where the paper makes
    it (or "derived here"); `check`, the dataset of `experiment` to a `Verdict`; `experiment`, that experiment's name;
    `expected`, the verdict that a healthy library gives; `why`, the reason where that is not `"holds"`.

    **Raises** `ValueError` for an unknown `expected`, or `expected="fails"` without a `why`.

    **Source**: derived here.

        >>> import theorylab as tl
        >>> claim = tl.papers.Claim("order", "the error is of first order in the step size", "derived here",
        ...     lambda ds: tl.papers.Verdict.compare(ds["order"], "==", 1, 0.1), experiment="orders")
        >>> claim.check({"order": 1.02}).verdict
        'holds'
    """

    id: str
    statement: str
    source: str
    check: Callable[[Any], Verdict]
    experiment: str
    expected: Outcome = "holds"
    why: str = ""

    def __post_init__(self) -> None:
        _one_of("expected", self.expected, Outcome)
        if self.expected == "fails" and not self.why:
            raise ValueError(
                f"claim {self.id!r} is expected to fail without a reason: say in `why` what contradicts it"
            )


@dataclass(frozen=True)
class Experiment:
    """A run that makes a dataset, and the figure that shows it.

    **Arguments**: `name`, an identifier, also the name of its files; `title`, what it shows, one sentence;
    `run(size, key)`, a `Size` and a JAX key to an `xarray.Dataset`, where `"small"` takes at most 15 CPU seconds with
    its compile; `plot(dataset)`, a `matplotlib.figure.Figure`.

    **Raises** `ValueError` when the name is not an identifier.

    **Source**: derived here.

        >>> import theorylab as tl
        >>> tl.papers.Experiment("orders", "the order of the error", lambda size, key: None, lambda ds: None).name
        'orders'
    """

    name: str
    title: str
    run: Callable[[Size, Any], Any]
    plot: Callable[[Any], Any]

    def __post_init__(self) -> None:
        if not self.name.isidentifier():
            raise ValueError(f"experiment name {self.name!r} is not an identifier: it names files, use letters and _")


@dataclass(frozen=True, kw_only=True)
class Paper:
    """A paper: citation, setting, experiments, claims.

    **Arguments**: `slug`, its name here and its BibTeX key; `title`, `authors`, `venue`, `year`, `arxiv` as printed;
    `room`, the package that holds its concepts; `setting`, the problem in a few sentences; `experiments`; `claims`;
    `precision`, the floating-point type that its numbers need; `source_quality`, what was read of the paper and its
    code; `entry` and `bibtex`, the type and the further fields of its BibTeX entry.

    **Raises** `ValueError` for a slug that is not an identifier, no authors, experiments or claims, a name that is used
    twice, and a claim that reads an experiment which is not there.

    **Source**: derived here.

        >>> import theorylab as tl
        >>> tl.papers.find("seg_rr").year
        2024
    """

    slug: str
    title: str
    authors: tuple[str, ...]
    venue: str
    year: int
    room: str
    setting: str
    experiments: tuple[Experiment, ...]
    claims: tuple[Claim, ...]
    arxiv: str = ""
    precision: Literal["float32", "float64"] = "float64"
    source_quality: str = ""
    entry: str = "inproceedings"
    bibtex: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not self.slug.isidentifier():
            raise ValueError(f"slug {self.slug!r} is not an identifier: it names a module, use letters, digits and _")
        for name in ("authors", "experiments", "claims"):
            if not getattr(self, name):
                raise ValueError(f"paper {self.slug!r} has no {name}: give at least one")
        _one_of("precision", self.precision, Literal["float32", "float64"])
        names = [experiment.name for experiment in self.experiments]
        _unique(self.slug, "experiment", names)
        _unique(self.slug, "claim", [claim.id for claim in self.claims])
        for claim in self.claims:
            if claim.experiment not in names:
                raise ValueError(
                    f"claim {claim.id!r} of {self.slug!r} reads experiment {claim.experiment!r}:"
                    f" it has {', '.join(names)}"
                )

    @property
    def status(self) -> Outcome:
        """The worst verdict that is expected of its claims: `"fails"` before `"undecided"` before `"holds"`."""
        expected = {claim.expected for claim in self.claims}
        return "fails" if "fails" in expected else "undecided" if "undecided" in expected else "holds"


def _one_of(name: str, value: str, words: Any) -> None:
    if value not in get_args(words):
        raise ValueError(f"{name} = {value!r} is unknown: use one of {', '.join(get_args(words))}")


def _unique(slug: str, what: str, names: list[str]) -> None:
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise ValueError(f"paper {slug!r} has two {what}s called {twice[0]!r}: rename one")


def _finite(number: SupportsFloat) -> float | None:
    value = float(number)
    return value if math.isfinite(value) else None
