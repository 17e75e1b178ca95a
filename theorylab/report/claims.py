"""Claims with their verdicts: as rows for machines, as a table for people."""

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from theorylab.papers import Claim, Paper, Size, Verdict, plain


@dataclass(frozen=True)
class Result:
    """A claim of a paper, and what a run of some size said of it.

    **Arguments**: `paper`, `claim`, `verdict`, `size` of the run.

    **Source**: derived here.

        >>> import theorylab as tl
        >>> paper = tl.papers.find("seg_rr")
        >>> undecided = tl.papers.Verdict("undecided", None, None, "==", None)
        >>> [tl.report.Result(paper, paper.claims[0], undecided, size).as_expected for size in ("small", "paper")]
        [True, False]
    """

    paper: Paper
    claim: Claim
    verdict: Verdict
    size: Size

    @property
    def as_expected(self) -> bool:
        """Whether the verdict is the expected one; a small run may also be undecided."""
        verdict = self.verdict.verdict
        return verdict == self.claim.expected or (verdict == "undecided" and self.size == "small")

    def row(self) -> dict[str, Any]:
        """The result as plain words, numbers and nulls."""
        return {
            "paper": self.paper.slug,
            "claim": self.claim.id,
            "source": self.claim.source,
            "statement": self.claim.statement,
            "expected": self.claim.expected,
            "why": self.claim.why,
            **asdict(self.verdict),
        }


def table(results: Iterable[Result]) -> Any:
    """The claims as a table that fits 80 columns.

    **Arguments**: `results`.

    **Returns** a `rich.table.Table`; a verdict that is not the expected one is red, one that is, green or yellow.

    **Source**: derived here.

        >>> import theorylab as tl
        >>> paper = tl.papers.find("seg_rr")
        >>> holds = tl.papers.Verdict.compare(1.0, "==", 1.0)
        >>> tl.report.table([tl.report.Result(paper, paper.claims[0], holds, "small")]).row_count
        1
    """
    from rich import box
    from rich.table import Table
    from rich.text import Text

    output = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 1, 0), show_edge=False)
    output.add_column("claim", ratio=1)
    output.add_column("verdict", min_width=9)
    output.add_column("expected", min_width=9)
    output.add_column("measured vs predicted", min_width=20, max_width=26)
    for result in results:
        claim, verdict = result.claim, result.verdict
        statement = Text.assemble((f"{result.paper.slug}: {claim.id}", "bold"), "\n", plain(claim.statement))
        if claim.expected != "holds" and claim.why:
            statement.append(f"\n{plain(claim.why)}", "italic dim")
        colour = "red" if not result.as_expected else "yellow" if verdict.verdict == "undecided" else "green"
        output.add_row(statement, Text(verdict.verdict, f"bold {colour}"), claim.expected, _numbers(verdict))
    return output


def numbers(verdict: Mapping[str, Any]) -> tuple[str, str, str]:
    """Measured, predicted and tolerance as words, from a row or a verdict as a dictionary."""
    measured, predicted, tolerance = (
        "?" if verdict[name] is None else f"{verdict[name]:.4g}" for name in ("measured", "predicted", "tolerance")
    )
    return measured, predicted, tolerance


def _numbers(verdict: Verdict) -> str:
    measured, predicted, tolerance = numbers(asdict(verdict))
    return f"{measured} {verdict.relation} {predicted}" + ("" if tolerance == "0" else f"\n± {tolerance}")
