"""What a paper is here: a citation, experiments that make data, and claims that read them."""

from collections.abc import Callable, Mapping
from dataclasses import KW_ONLY, dataclass, field
from typing import Any, Literal, get_args

from .verdict import Outcome, Verdict, one_of

Size = Literal["small", "paper", "large"]


@dataclass(frozen=True)
class Claim:
    """A statement of a paper that a dataset can decide.

    **Arguments**: `id`, a short name, unique in its paper; `statement`, one sentence, with mathematics as `$LaTeX$`;
    `source`, where the paper makes it (or "derived here"); `check`, its experiment's dataset to a `Verdict`, such as
    `theorylab.papers.kit` makes; `expected`, the verdict that a healthy library gives; `why`, the reason where that is
    not `"holds"`, written like the statement. `plain` makes both readable without LaTeX.

    **Raises** `ValueError` for an unknown `expected`, or `expected="fails"` without a `why`.

    **Source**: derived here.

        >>> import theorylab as tl
        >>> claim = tl.papers.Claim("order", "the error is of first order in the step size", "derived here",
        ...     lambda ds: tl.papers.Verdict.compare(ds["order"], "==", 1, 0.1))
        >>> claim.check({"order": 1.02}).verdict
        'holds'
    """

    id: str
    statement: str
    source: str
    check: Callable[[Any], Verdict]
    _: KW_ONLY
    expected: Outcome = "holds"
    why: str = ""

    def __post_init__(self) -> None:
        one_of("expected", self.expected, Outcome)
        if self.expected == "fails" and not self.why:
            raise ValueError(
                f"claim {self.id!r} is expected to fail without a reason: say in `why` what contradicts it"
            )


@dataclass(frozen=True)
class Experiment:
    """A run that makes a dataset, the figure that shows it, and the claims that it decides.

    **Arguments**: `name`, an identifier, also the name of its files; `title`, what it shows, one sentence; `sizes`, a
    setting for each `Size`, of any type: `"small"` takes at most 8 CPU seconds with its compile, `"paper"` is the
    paper's own, `"large"` wants an accelerator; `run(setting, key)`, one of them and a JAX key to an `xarray.Dataset`;
    `plot(dataset)`, a `matplotlib.figure.Figure`; `claims`, what the dataset decides; `seconds`, of one CPU core, that
    a run of a size took when it was last measured (`theorylab run <slug> --size <size>` writes them to run.json).

    **Raises** `ValueError` when the name is not an identifier, or a size is missing or unknown.

        >>> import theorylab as tl
        >>> experiment = tl.papers.Experiment("orders", "the order of the error",
        ...     sizes={"small": 3, "paper": 10, "large": 30}, run=lambda n, key: None, plot=lambda dataset: None)
        >>> experiment.sizes["paper"]
        10
    """

    name: str
    title: str
    _: KW_ONLY
    sizes: Mapping[Size, Any]
    run: Callable[[Any, Any], Any]
    plot: Callable[[Any], Any]
    claims: tuple[Claim, ...] = ()
    seconds: Mapping[Size, float | int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if set(self.sizes) != set(get_args(Size)):
            raise ValueError(
                f"experiment {self.name!r} has the sizes {', '.join(self.sizes)}: give {', '.join(get_args(Size))}"
            )
        if not self.name.isidentifier():
            raise ValueError(f"experiment name {self.name!r} is not an identifier: it names files, use letters and _")


@dataclass(frozen=True, kw_only=True)
class Paper:
    """A paper: citation, setting, and experiments with their claims.

    **Arguments**: `slug`, its name here and its BibTeX key; `title`, `authors`, `venue`, `year`, `arxiv` as printed;
    `room`, the package that holds its concepts; `setting`, the problem in a few sentences; `experiments`;
    `precision`, the floating-point type that its numbers need; `source_quality`, what was read of the paper and its
    code; `method`, what the algorithm does and what theory says of it, in Markdown with maths, for the paper's page;
    `core`, what of it is made fast and benchmarked, in a few words, if it is one of the library's cores; `entry` and
    `bibtex`, the type and the further fields of its BibTeX entry.

    **Raises** `ValueError` for a slug that is not an identifier, no authors, experiments or claims, and a name that is
    used twice.

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
    arxiv: str = ""
    precision: Literal["float32", "float64"] = "float64"
    source_quality: str = ""
    core: str = ""
    entry: str = "inproceedings"
    method: str = ""
    bibtex: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not self.slug.isidentifier():
            raise ValueError(f"slug {self.slug!r} is not an identifier: it names a module, use letters, digits and _")
        for name in ("authors", "experiments", "claims"):
            if not getattr(self, name):
                raise ValueError(f"paper {self.slug!r} has no {name}: give at least one")
        one_of("precision", self.precision, Literal["float32", "float64"])
        names = [experiment.name for experiment in self.experiments]
        _unique(self.slug, "experiment", names)
        _unique(self.slug, "claim", [claim.id for claim in self.claims])

    @property
    def claims(self) -> tuple[Claim, ...]:
        """What its experiments decide, one after the other."""
        return tuple(claim for experiment in self.experiments for claim in experiment.claims)

    @property
    def status(self) -> Outcome:
        """The worst verdict that is expected of its claims: `"fails"` before `"undecided"` before `"holds"`."""
        expected = {claim.expected for claim in self.claims}
        return "fails" if "fails" in expected else "undecided" if "undecided" in expected else "holds"


def _unique(slug: str, what: str, names: list[str]) -> None:
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise ValueError(f"paper {slug!r} has two {what}s called {twice[0]!r}: rename one")
