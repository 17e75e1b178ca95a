"""Claims with their verdicts: as rows for machines, as a table for people."""

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from theorylab.papers import Claim, Paper, Size, Verdict, plain


@dataclass(frozen=True)
class Result:
    """A claim of a paper, and what a run of some size said of it.

    **Arguments**: `paper`, `claim`, `verdict`, `size` of the run; `again`, whether the verdict is that of fresh draws,
    since the first ones missed the expected one.

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
    again: bool = False

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
            "again": self.again,
        }


def table(results: Iterable[Result]) -> Any:
    """Lay claims out as a table that fits 80 columns.

    **Arguments**: `results`.

    **Returns** a `rich.table.Table`; an unexpected verdict is red, a claim that holds green, one that fails as
    documented magenta, an undecided one yellow, and one that fresh draws gave has "again" below it; below the numbers
    stands what they measure.

        >>> import theorylab as tl
        >>> paper = tl.papers.find("seg_rr")
        >>> holds = tl.papers.Verdict.compare(1.0, "==", 1.0)
        >>> from theorylab.report.claims import table
        >>> table([tl.report.Result(paper, paper.claims[0], holds, "small")]).row_count
        1
    """
    from rich import box
    from rich.table import Table
    from rich.text import Text

    output = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 1, 0), show_edge=False)
    output.add_column("claim", ratio=1)
    output.add_column("verdict", min_width=13)
    output.add_column("measured vs predicted", min_width=21, max_width=26)
    for result in results:
        claim, verdict = result.claim, result.verdict
        statement = Text.assemble((f"{result.paper.slug}: {claim.id}", "bold"), "\n", plain(claim.statement))
        if claim.expected != "holds" and claim.why:
            statement.append(f"\n{plain(claim.why)}", "italic dim")
        numbers = Text(_numbers(verdict))
        if verdict.quantity:
            numbers.append(f"\n{verdict.quantity}", "dim")
        kind = Text("\n".join(_kind(result)), f"bold {_COLOURS[_kind(result)]}")
        if result.again:
            kind.append("\nagain", "dim")
        output.add_row(statement, kind, numbers)
    return output


def closing(results: Iterable[Result]) -> str:
    """Count in words how many claims came out how.

    **Arguments**: `results`.

    **Returns** the words; those that are unexpected are always named, the others where they occur, and below them how
    many are those of fresh draws.

        >>> import theorylab as tl
        >>> from theorylab.report.claims import closing
        >>> paper = tl.papers.find("seg_rr")
        >>> verdicts = [tl.papers.Verdict.compare(1.0, "==", value) for value in (1.0, 1.0, 2.0)]
        >>> closing([tl.report.Result(paper, paper.claims[0], verdict, "small") for verdict in verdicts])
        '2 hold, 1 unexpected'
    """
    results = list(results)
    kinds = [_kind(result) for result in results]
    found = {
        "hold": kinds.count(("holds",)),
        "fail as documented": kinds.count(("fails", "as documented")),
        "undecided": kinds.count(("undecided",)),
    }
    unexpected = len(kinds) - sum(found.values())
    words = [f"{count} {name}" for name, count in found.items() if count]
    counted = ", ".join([*words, f"{unexpected} unexpected"])
    again = sum(result.again for result in results)
    return f"{counted}\nagain: {again} of them by fresh draws, since the first ones missed" if again else counted


def _kind(result: Result) -> tuple[str, ...]:
    """The verdict, and what there is to say of it."""
    verdict = result.verdict.verdict
    if not result.as_expected:
        return verdict, "unexpected"
    return (verdict, "as documented") if verdict == "fails" else (verdict,)


_COLOURS = {
    ("holds",): "green",
    ("fails", "as documented"): "magenta",
    ("undecided",): "yellow",
    **{(word, "unexpected"): "red" for word in ("holds", "fails", "undecided")},
}


def numbers(verdict: Mapping[str, Any]) -> tuple[str, str, str]:
    """Measured, predicted and tolerance as words, from a row or a verdict as a dictionary."""
    measured, predicted, tolerance = (
        "?" if verdict[name] is None else f"{verdict[name]:.4g}" for name in ("measured", "predicted", "tolerance")
    )
    return measured, predicted, tolerance


def _numbers(verdict: Verdict) -> str:
    measured, predicted, tolerance = numbers(asdict(verdict))
    return f"{measured} {verdict.relation} {predicted}" + ("" if tolerance == "0" else f"\n± {tolerance}")
