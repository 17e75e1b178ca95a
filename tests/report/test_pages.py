"""What pages of papers are made of is that of the papers as they are now."""

import json
import shutil

import pytest

from theorylab.papers import find, slugs
from theorylab.papers.registry import files
from theorylab.report.committed import RESULTS, read
from theorylab.report.pages import pages

CURE = "run: theorylab check --stale --out runs && python -m theorylab.report.pages runs docs/results"


@pytest.mark.parametrize("slug", slugs())
def test_committed_results_are_those_of_the_present_claims(slug):
    paper, kept = find(slug), read(slug, RESULTS)
    words = ("claim", "statement", "source", "expected", "why")
    asked = [(claim.id, claim.statement, claim.source, claim.expected, claim.why) for claim in paper.claims]
    assert [tuple(row[word] for word in words) for row in kept["claims"]] == asked, CURE
    assert all(row["verdict"] in (row["expected"], "undecided") for row in kept["claims"]), CURE
    assert (kept["size"], kept["precision"]) == ("small", paper.precision), CURE
    pictures = {f"{experiment.name}.webp" for experiment in paper.experiments}
    assert {path.name for path in (RESULTS / slug).iterdir()} == {"claims.json", *pictures}, CURE


def test_folders_and_papers_are_the_same():
    assert {folder.name for folder in RESULTS.iterdir()} == set(slugs()), CURE


@pytest.fixture(scope="module")
def made():
    return pages(RESULTS)


def test_pages_show_every_claim_and_every_discrepancy(made):
    assert set(made) == {*slugs(), "index", "discrepancies"}
    for slug in slugs():
        for row in read(slug, RESULTS)["claims"]:
            name = row["claim"].replace("_", " ").capitalize()
            assert f"[{name}.]" in made[slug]
            assert (f"### {name}\n" in made["discrepancies"]) >= (row["verdict"] == "fails")


def test_pages_show_all_code_of_a_paper(made):
    for slug in slugs():
        for path in files(slug):
            assert f"literalinclude}} ../../theorylab/papers/{slugs()[slug]}/" in made[slug] and path.name in made[slug]


def test_the_index_tells_room_verdict_and_core(made):
    for slug in slugs():
        paper, verdicts = find(slug), {row["verdict"] for row in read(slug, RESULTS)["claims"]}
        (classes,) = [block.splitlines()[0].split() for block in made["index"].split(":::{container} paper ")
                      if f"]({slug}.md)" in block]  # fmt: skip
        assert f"room-{paper.room}" in classes and ("is-core" in classes) == bool(paper.core)
        assert ("all-hold" in classes) == (verdicts == {"holds"}) and ("has-fails" in classes) == ("fails" in verdicts)


def test_pages_show_what_is_measured_what_it_costs_and_what_was_drawn_again(tmp_path):
    """The quantity beside its numbers, also where a claim fails; seconds where they were measured; `again` in words."""
    shutil.copytree(RESULTS, tmp_path / "results")
    kept = read("two_layer_linear_gd", RESULTS)
    kept["claims"] = [
        row | {"quantity": f"what {row['claim']} counts, in apples_", "again": not number}
        for number, row in enumerate(kept["claims"])
    ]
    (tmp_path / "results" / "two_layer_linear_gd" / "claims.json").write_text(json.dumps(kept))
    page = pages(tmp_path / "results")["two_layer_linear_gd"]
    for row in kept["claims"]:
        words = f"what {row['claim']} counts, in apples_".replace("_", r"\_")
        assert f"Measured: W{words[1:]}." in page
        assert (f"**The numbers** ({words}):" in page) == (row["verdict"] != "holds")
    assert page.count("} again\n") == 1 and "Beside 1 of them stands *again*" in page
    times = page.partition("CPU seconds on one core")[2].partition(":::")[0]
    for experiment in find("two_layer_linear_gd").experiments:
        paper = f"{experiment.seconds['paper']:.3g}" if "paper" in experiment.seconds else "not measured"
        assert f"* - `{experiment.name}`\n  - {paper}\n" in times
