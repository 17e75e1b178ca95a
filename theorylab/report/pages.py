"""Pages of papers, and the results that they show.

`theorylab check --all --out runs && python -m theorylab.report.pages runs docs/results` brings the results up to date.
"""

import ast
import importlib.util
import json
import re
import shutil
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from theorylab.papers import Paper, bibtex, find, slugs

from .claims import numbers

WORDS = {"holds": "hold", "fails": "fail", "undecided": "undecided"}


def collect(runs: Path, results: Path) -> None:
    """Copy every paper's small run to where its page reads it: claims, what made them, and the figures.

    **Arguments**: `runs`, the `--out` of `theorylab check --all`; `results`, one folder a paper, replaced as a whole;
    of each figure the smaller of its files is kept.

    **Raises** `FileNotFoundError` when a run is not finished.

    **Source**: derived here.
    """
    folders = {slug: runs / slug / "small" for slug in slugs()}
    for slug, folder in folders.items():
        if not (folder / "run.json").exists():
            raise FileNotFoundError(f"{folder} has no finished run: theorylab run {slug} --out {runs}")
    shutil.rmtree(results, ignore_errors=True)
    for slug, folder in folders.items():
        (results / slug).mkdir(parents=True)
        figures = [folder / experiment.name for experiment in find(slug).experiments]
        smaller = [min((path.with_suffix(kind) for kind in (".png", ".svg")), key=_bytes) for path in figures]
        for path in (folder / "claims.json", folder / "run.json", *smaller):
            shutil.copy(path, results / slug)


def _bytes(path: Path) -> int:
    return path.stat().st_size


def counts(rows: Iterable[Mapping[str, Any]]) -> str:
    """How many claims hold, fail and are undecided, in words.

    **Arguments**: `rows`, as `claims.json` has them.

    **Returns** the words; what does not occur is not named.

    **Source**: derived here.

        >>> from theorylab.report.pages import counts
        >>> counts([{"verdict": "holds"}, {"verdict": "fails"}, {"verdict": "holds"}])
        '2 hold, 1 fail'
    """
    verdicts = [row["verdict"] for row in rows]
    return ", ".join(f"{verdicts.count(word)} {verb}" for word, verb in WORDS.items() if word in verdicts)


def pages(results: Path) -> dict[str, str]:
    """The page of every paper, their index, and the page of all discrepancies, in MyST's Markdown.

    **Arguments**: `results`, what `collect` made; pages name its figures from a folder beside it.

    **Returns** the text of each page by its name.

    **Raises** `FileNotFoundError` for a paper without results, `ValueError` for one without a method.

    **Source**: derived here.
    """
    papers = [find(slug) for slug in slugs()]
    claims = {paper.slug: read(results, paper.slug, "claims") for paper in papers}
    made = {paper.slug: _page(paper, claims[paper.slug], results) for paper in papers}
    return made | {"index": _index(papers, claims), "discrepancies": _discrepancies(papers, claims)}


def read(results: Path, slug: str, name: str) -> Any:
    """A file of a paper's committed results.

    **Arguments**: `results`, the folder above; `slug`; `name`, `"claims"` or `"run"`.

    **Returns** what its JSON says.

    **Source**: derived here.
    """
    return json.loads((results / slug / f"{name}.json").read_text(encoding="utf-8"))


def _page(paper: Paper, rows: list[dict[str, Any]], results: Path) -> str:
    if not paper.method:
        raise ValueError(f"paper {paper.slug!r} has no method: say in Paper(method=...) in maths what it does")
    by_claim = {row["claim"]: row for row in rows}
    shown = []
    for experiment in paper.experiments:
        figure = next((results / paper.slug).glob(f"{experiment.name}.[ps][nv]g")).name
        read_by = [by_claim[claim.id] for claim in experiment.claims]
        title = _escaped(experiment.title[0].upper() + experiment.title[1:])
        alt = f"{paper.slug}, {experiment.title}: {', '.join(row['claim'].replace('_', ' ') for row in read_by)}"
        image = f":::{{image}} ../results/{paper.slug}/{figure}\n:alt: {alt}\n:::"
        shown.append(f"### {title}\n\n{image}\n\n{_table(paper, read_by)}")
    parts = [
        f"# {_escaped(paper.title)}",
        _card(paper),
        f"## What it asks\n\n{_escaped(paper.setting)}",
        f"## The method\n\n{paper.method}",
        f"## What a run shows\n\n{_ran(paper, rows, read(results, paper.slug, 'run'))}",
        *shown,
        *_exceptions(paper, rows, "fails", "Where exact computation disagrees"),
        *_exceptions(paper, rows, "undecided", "What stays open"),
        f"## What is reconstructed\n\n{_escaped(_sentence(paper.source_quality))}",
        f"## Run it\n\n```sh\n{_commands(paper)}\n```\n\n{_times(paper, read(results, paper.slug, 'run'))}",
        f"## The code\n\n{_code(paper)}",
        f"## Cite\n\n```bibtex\n{bibtex(paper).strip()}\n```",
    ]
    return "\n\n".join(parts) + "\n"


def _card(paper: Paper) -> str:
    arxiv = f" [arXiv {paper.arxiv}](https://arxiv.org/abs/{paper.arxiv})." if paper.arxiv else ""
    room = f"Room: {{py:mod}}`theorylab.{paper.room}`."
    return f"{_escaped(', '.join(paper.authors))}. *{_escaped(paper.venue)}*, {paper.year}.{arxiv} {room}"


def _ran(paper: Paper, rows: list[dict[str, Any]], run: dict[str, Any]) -> str:
    cpu = sum(seconds["cpu"] for seconds in run["seconds"].values())
    return (
        f"Of {len(rows)} claims, {counts(rows)}. This is the committed run of size `{run['asked']['size']}`, seed"
        f" {run['asked']['seed']}, in {paper.precision}: {cpu:.0f} CPU seconds for {len(run['seconds'])} experiments,"
        f" compilation included, on {run['device']} with jax {run['versions']['jax']}, {run['date'][:10]}. In the"
        " figures, what is predicted is dashed and what is measured is solid or marked."
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
        verdict = f"[{row['verdict']}]{{.verdict .{row['verdict']}}}"
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
            ("", "small: at most 15 CPU seconds an experiment"),
            (" --size paper", "the paper's own setting"),
            (" --size large", "for an accelerator"),
            (f" --experiment {paper.experiments[0].name}", "one experiment alone"),
        )
    )


def _times(paper: Paper, run: dict[str, Any]) -> str:
    """What each experiment costs: small as the committed run measured it, paper as its `Experiment` says."""
    lines = [":::{list-table} CPU seconds on one core, compilation included", ":header-rows: 1", ""]
    lines += _cells("Experiment", "small", "paper")
    for experiment in paper.experiments:
        measured = {**experiment.seconds, run["asked"]["size"]: run["seconds"][experiment.name]["cpu"]}
        times = (f"{measured[size]:.3g}" if size in measured else "not measured" for size in ("small", "paper"))
        lines += _cells(f"`{experiment.name}`", *times)
    return "\n".join([*lines, ":::"])


def _code(paper: Paper) -> str:
    files = _files(paper)
    used = " ".join(f"{{py:obj}}`~{name}`" for name in _uses(files))
    blocks = [
        f"<details><summary>{path.name}</summary>\n\n```{{literalinclude}} ../../{_inside(path)}\n:language: python\n"
        "```\n\n</details>"
        for path in files
    ]
    return "\n\n".join([f"It is built of {used}", *blocks])


def _inside(path: Path) -> str:
    return path.relative_to(Path(__file__).parents[2]).as_posix()


def _files(paper: Paper) -> list[Path]:
    """The paper's module, and those beside it that it imports, in the order in which it does."""
    spec = importlib.util.find_spec(f"theorylab.papers.{paper.room}.{paper.slug}")
    assert spec is not None and spec.origin is not None
    files = [Path(spec.origin)]
    for path in files:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ImportFrom) and node.level == 1:
                names = [node.module] if node.module else [alias.name for alias in node.names]
                beside = [path.with_name(f"{name}.py") for name in names]
                files += [other for other in beside if other not in files]
    return files


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
            found = re.match(r"(\w+)\.((?:[a-z]\w*\.)?[A-Za-z]\w*)", ast.unparse(node))
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
    }
    selects = "\n".join(_select(label, values) for label, values in options.items())
    cards = []
    for paper in papers:
        verdicts = {row["verdict"] for row in claims[paper.slug]}
        classes = [f"room-{paper.room}", *(f"has-{verdict}" for verdict in sorted(verdicts - {"holds"}))]
        classes += ["all-hold"] if verdicts == {"holds"} else []
        cards.append(
            f":::{{container}} paper {' '.join(classes)}\n[{_escaped(paper.title)}]({paper.slug}.md)\n\n"
            f"{_escaped(', '.join(paper.authors))}, {paper.year}\n\n"
            f"{paper.room} · {counts(claims[paper.slug])} · `{paper.slug}`\n:::"
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
    collect(Path(sys.argv[1]), Path(sys.argv[2]))
