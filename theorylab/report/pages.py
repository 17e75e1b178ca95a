"""Pages of papers, from their cards, their code and their committed results.

`theorylab check --stale --out runs && python -m theorylab.report.pages runs docs/results` brings the results up to
date; `--paper seg_rr` those of one paper.
"""

import argparse
import ast
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from theorylab.papers import Paper, find, slugs
from theorylab.papers.citation import bibtex
from theorylab.papers.registry import files

from .claims import numbers
from .committed import collect, read

WORDS = {"holds": "hold", "fails": "fail", "undecided": "undecided"}


def counts(rows: Iterable[Mapping[str, Any]]) -> str:
    """Count in words how many claims hold, fail and are undecided.

    **Arguments**: `rows`, as `claims.json` has them.

    **Returns** the words; what does not occur is not named.

        >>> from theorylab.report.pages import counts
        >>> counts([{"verdict": "holds"}, {"verdict": "fails"}, {"verdict": "holds"}])
        '2 hold, 1 fail'
    """
    verdicts = [row["verdict"] for row in rows]
    return ", ".join(f"{verdicts.count(word)} {verb}" for word, verb in WORDS.items() if word in verdicts)


def pages(results: Path) -> dict[str, str]:
    """Write the page of every paper, their index, and the page of all discrepancies, in MyST's Markdown.

    **Arguments**: `results`, what `collect` keeps; pages name its pictures from a folder beside it.

    **Returns** the text of each page by its name.

    **Raises** `FileNotFoundError` for a paper without results, `ValueError` for one without a method.
    """
    papers = [find(slug) for slug in slugs()]
    kept = {paper.slug: read(paper.slug, results) for paper in papers}
    claims = {slug: each["claims"] for slug, each in kept.items()}
    made = {paper.slug: _page(paper, kept[paper.slug]) for paper in papers}
    return made | {"index": _index(papers, claims), "discrepancies": _discrepancies(papers, claims)}


def _page(paper: Paper, kept: dict[str, Any]) -> str:
    if not paper.method:
        raise ValueError(f"paper {paper.slug!r} has no method: say in Paper(method=...) in maths what it does")
    rows = kept["claims"]
    by_claim = {row["claim"]: row for row in rows}
    shown = []
    for experiment in paper.experiments:
        read_by = [by_claim[claim.id] for claim in experiment.claims]
        title = _escaped(experiment.title[0].upper() + experiment.title[1:])
        alt = f"{paper.slug}, {experiment.title}: {', '.join(row['claim'].replace('_', ' ') for row in read_by)}"
        image = f":::{{image}} ../results/{paper.slug}/{experiment.name}.webp\n:alt: {alt}\n:::"
        shown.append(f"### {title}\n\n{image}\n\n{_table(paper, read_by)}")
    parts = [
        f"# {_escaped(paper.title)}",
        _card(paper),
        f"## What it asks\n\n{_escaped(paper.setting)}",
        f"## The method\n\n{paper.method}",
        f"## What a run shows\n\n{_ran(kept)}",
        *shown,
        *_exceptions(paper, rows, "fails", "Where exact computation disagrees"),
        *_exceptions(paper, rows, "undecided", "What stays open"),
        f"## What is reconstructed\n\n{_escaped(_sentence(paper.source_quality))}",
        f"## Run it\n\n```sh\n{_commands(paper)}\n```\n\n{_times(paper)}",
        f"## The code\n\n{_code(paper)}",
        f"## Cite\n\n```bibtex\n{bibtex(paper).strip()}\n```",
    ]
    return "\n\n".join(parts) + "\n"


def _card(paper: Paper) -> str:
    arxiv = f" [arXiv {paper.arxiv}](https://arxiv.org/abs/{paper.arxiv})." if paper.arxiv else ""
    room = f"Room: {{py:mod}}`theorylab.{paper.room}`."
    return f"{_escaped(', '.join(paper.authors))}. *{_escaped(paper.venue)}*, {paper.year}.{arxiv} {room}"


def _ran(kept: dict[str, Any]) -> str:
    rows = kept["claims"]
    again = sum(row["again"] for row in rows)
    return (
        f"Of {len(rows)} claims, {counts(rows)}. This is the committed run of size `{kept['size']}`, seed"
        f" {kept['seed']}, in {kept['precision']}, of the code whose digest is `{kept['digest']}`. In the figures, what"
        " is predicted is dashed and what is measured is solid or marked."
        + (f" {_AGAIN.format(count=again)}" if again else "")
    )


_AGAIN = (
    "Beside {count} of them stands *again*: a statistical claim, which errs as rarely as three sigma, had missed its"
    " verdict, and fresh draws decided."
)


def _table(paper: Paper, rows: list[dict[str, Any]]) -> str:
    lines = [":::{list-table}", ":header-rows: 1", ":class: claims", ":widths: 44 11 11 12 12 10", ""]
    lines += _cells("Claim", "Verdict", "Expected", "Measured", "Predicted", "Tolerance")
    for row in rows:
        why = "" if row["verdict"] == "holds" else f" [Why](#{_anchor(paper, row)})."
        name = f"[{_words(row['claim'])}.]{{#claim-{row['claim'].replace('_', '-')} .claim}}"
        measures = f" Measured: {_escaped(_sentence(row['quantity']))}" if row.get("quantity") else ""
        source = f"*{_escaped(_sentence(row['source']))}*"
        statement = f"{name} {_escaped(_sentence(row['statement']))} {source}{measures}{why}"
        measured, predicted, tolerance = numbers(row)
        verdict = f"[{row['verdict']}]{{.verdict .{row['verdict']}}}{' again' if row['again'] else ''}"
        lines += _cells(
            statement, verdict, row["expected"], measured, f"{_RELATIONS[row['relation']]} {predicted}", tolerance
        )
    return "\n".join([*lines, ":::"])


_RELATIONS = {"==": "=", "<=": "≤", ">=": "≥"}


def _cells(*cells: str) -> list[str]:
    return [f"{'* -' if number == 0 else '  -'} {cell}" for number, cell in enumerate(cells)]


def _exceptions(paper: Paper, rows: list[dict[str, Any]], verdict: str, title: str) -> list[str]:
    found = [row for row in rows if row["verdict"] == verdict]
    blocks = [f"({_anchor(paper, row)})=\n### {_words(row['claim'])}\n\n{_exception(row)}" for row in found]
    return [f"## {title}", *blocks] if blocks else []


def _exception(row: dict[str, Any]) -> str:
    measured, predicted, tolerance = numbers(row)
    slack = "" if tolerance == "?" else f", with a tolerance of {tolerance}"
    quantity = f" ({_escaped(row['quantity'])})" if row.get("quantity") else ""
    why = row["why"] or "a run of this size cannot decide it"
    return (
        f"**The claim** ({_escaped(row['source'])}): {_escaped(_sentence(row['statement']))}\n\n"
        f"**The numbers**{quantity}: measured {measured}, claimed {_RELATIONS[row['relation']]} {predicted}{slack}.\n\n"
        f"**Why**: {_escaped(_sentence(why))}"
    )


def _commands(paper: Paper) -> str:
    width = 15 + len(paper.experiments[0].name)
    return "\n".join(
        f"theorylab run {paper.slug}{size:<{width}}  # {about}"
        for size, about in (
            ("", "small: at most 8 CPU seconds an experiment"),
            (" --size paper", "the paper's own setting"),
            (" --size large", "for an accelerator"),
            (f" --experiment {paper.experiments[0].name}", "one experiment alone"),
        )
    )


def _times(paper: Paper) -> str:
    """What each experiment costs at the paper's own size, as its `Experiment` says."""
    lines = [":::{list-table} CPU seconds on one core, compilation included", ":header-rows: 1", ""]
    lines += _cells("Experiment", "`--size paper`")
    for experiment in paper.experiments:
        took = f"{experiment.seconds['paper']:.3g}" if "paper" in experiment.seconds else "not measured"
        lines += _cells(f"`{experiment.name}`", took)
    return "\n".join([*lines, ":::"])


def _code(paper: Paper) -> str:
    own = files(paper.slug)
    used = " ".join(f"{{py:obj}}`~{name}`" for name in _uses(own))
    blocks = [
        f"<details><summary>{path.parent.name}/{path.name}</summary>\n\n```{{literalinclude}} ../../{_inside(path)}\n"
        ":language: python\n```\n\n</details>"
        for path in own
    ]
    return "\n\n".join([f"It is built of {used}", *blocks])


def _inside(path: Path) -> str:
    return path.relative_to(Path(__file__).parents[2]).as_posix()


def _uses(files: Iterable[Path]) -> list[str]:
    """The public names of the library that files use, as `import theorylab.games as games` makes them known."""
    used = set()
    for path in files:
        tree = ast.parse(path.read_text(encoding="utf-8"))
        packages = {
            alias.asname: alias.name
            for node in ast.walk(tree)
            if isinstance(node, ast.Import)
            for alias in node.names
            if alias.asname and alias.name.startswith("theorylab.")
        }
        within = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Attribute)}
        for node in ast.walk(tree):
            found = re.match(r"(\w+)\.((?:claims\.)?(?:[a-z]\w*\.)?[A-Za-z]\w*)", ast.unparse(node))
            if isinstance(node, ast.Attribute) and id(node) not in within and found and found[1] in packages:
                used.add(f"{packages[found[1]]}.{found[2]}")
    return sorted(used)


def _index(papers: list[Paper], claims: Mapping[str, list[dict[str, Any]]]) -> str:
    rooms = sorted({paper.room for paper in papers})
    options = {
        "Room": {"all": "", **{room: f"room-{room}" for room in rooms}},
        "Verdicts": {
            "all": "",
            "every claim holds": "all-hold",
            "some claim fails": "has-fails",
            "some claim is undecided": "has-undecided",
        },
        "Speed": {"all": "", "cores": "is-core"},
    }
    selects = "\n".join(_select(label, values) for label, values in options.items())
    cards = []
    for paper in papers:
        verdicts = {row["verdict"] for row in claims[paper.slug]}
        classes = [f"room-{paper.room}", *(f"has-{verdict}" for verdict in sorted(verdicts - {"holds"}))]
        classes += ["all-hold"] if verdicts == {"holds"} else []
        classes += ["is-core"] if paper.core else []
        core = f" · core: {_escaped(paper.core)}" if paper.core else ""
        cards.append(
            f":::{{container}} paper {' '.join(classes)}\n[{_escaped(paper.title)}]({paper.slug}.md)\n\n"
            f"{_escaped(', '.join(paper.authors))}, {paper.year}\n\n"
            f"{paper.room} · {counts(claims[paper.slug])} · `{paper.slug}`{core}\n:::"
        )
    contents = "\n".join(["discrepancies", *(f"{paper.title.partition(':')[0]} <{paper.slug}>" for paper in papers)])
    everything = counts(row for rows in claims.values() for row in rows)
    return (
        f"# Papers\n\n{len(papers)} papers; of their claims, {everything}, in the last committed runs. Where exact\n"
        "computation contradicts a claim, the [page of discrepancies](discrepancies.md) says why.\n\n"
        f'<form id="paper-filter" hidden>\n{selects}\n<output aria-live="polite"></output>\n</form>\n\n'
        + "\n\n".join(cards)
        + f"\n\n```{{toctree}}\n:hidden:\n\n{contents}\n```\n"
    )


def _select(label: str, values: Mapping[str, str]) -> str:
    options = "".join(f'<option value="{value}">{text}</option>' for text, value in values.items())
    return f"<label>{label} <select>{options}</select></label>"


def _discrepancies(papers: list[Paper], claims: Mapping[str, list[dict[str, Any]]]) -> str:
    parts = [
        "# Where exact computation disagrees",
        "Claims that exact computation contradicts, with the numbers of the last committed run and the reason. A claim"
        " stands here as it was tested: often it is a reading of the paper, a constant that the text leaves open, or a"
        " statement outside the range of its theorem; the reason says which.",
    ]
    for paper in papers:
        found = [row for row in claims[paper.slug] if row["verdict"] == "fails"]
        if found:
            parts.append(f"## {_escaped(paper.title)}\n\n{{doc}}`{paper.slug}`, {counts(claims[paper.slug])}.")
            parts += [f"### {_words(row['claim'])}\n\n{_exception(row)}" for row in found]
    return "\n\n".join(parts) + "\n"


def _anchor(paper: Paper, row: Mapping[str, Any]) -> str:
    return f"{paper.slug}-{row['claim']}".replace("_", "-").lower()


def _words(name: str) -> str:
    return _escaped(name.replace("_", " ").capitalize())


def _sentence(text: str) -> str:
    return text[:1].upper() + text[1:] + ("" if text.endswith((".", "?", "!")) else ".")


def _escaped(text: str) -> str:
    """Plain text as Markdown; mathematics stays as it is."""
    parts = re.split(r"(\$[^$]+\$)", text)
    return "".join(one if one.startswith("$") else re.sub(r"([\\`*_{}\[\]<>|#&~^])", r"\\\1", one) for one in parts)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        prog="python -m theorylab.report.pages", description="Renew the results of papers whose code has changed."
    )
    parser.add_argument("runs", type=Path, help="the --out of `theorylab check`")
    parser.add_argument("results", type=Path, help="docs/results of a clone")
    parser.add_argument("--paper", action="append", default=[], metavar="SLUG", help="only this one; may be repeated")
    words = parser.parse_args()
    renewed = collect(words.runs, words.results, words.paper)
    print(f"renewed: {', '.join(renewed)}" if renewed else "nothing to renew: no code has changed since")
