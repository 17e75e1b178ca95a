"""What pages of papers are made of is that of the papers as they are now."""

import json
import shutil
from pathlib import Path

import pytest

from theorylab.papers import find, slugs
from theorylab.report.pages import collect, pages, read

RESULTS = Path(__file__).parents[2] / "docs" / "results"
CURE = "run: theorylab check --all --out runs && python -m theorylab.report.pages runs docs/results"


@pytest.mark.parametrize("slug", slugs())
def test_committed_results_are_those_of_the_present_claims(slug):
    paper, rows, ran = find(slug), read(RESULTS, slug, "claims"), read(RESULTS, slug, "run")
    words = ("claim", "statement", "source", "expected", "why")
    asked = [(claim.id, claim.statement, claim.source, claim.expected, claim.why) for claim in paper.claims]
    assert [tuple(row[word] for word in words) for row in rows] == asked, CURE
    assert all(row["verdict"] in (row["expected"], "undecided") for row in rows), CURE
    assert set(ran["seconds"]) == {experiment.name for experiment in paper.experiments}, CURE
    assert ran["asked"]["precision"] == paper.precision, CURE


def test_folders_and_papers_are_the_same():
    assert {folder.name for folder in RESULTS.iterdir()} == set(slugs()), CURE


def test_pages_show_every_claim_and_every_discrepancy():
    made = pages(RESULTS)
    assert set(made) == {*slugs(), "index", "discrepancies"}
    for slug in slugs():
        for row in read(RESULTS, slug, "claims"):
            name = row["claim"].replace("_", " ").capitalize()
            assert f"[{name}.]" in made[slug]
            assert (f"### {name}\n" in made["discrepancies"]) >= (row["verdict"] == "fails")


def test_pages_show_what_is_measured_and_what_a_run_costs(tmp_path):
    """The quantity beside its numbers, also where a claim fails; seconds of both sizes, where they were measured."""
    shutil.copytree(RESULTS, tmp_path / "results")
    file = tmp_path / "results" / "two_layer_linear_gd" / "claims.json"
    rows = [row | {"quantity": f"what {row['claim']} counts, in apples_"} for row in json.loads(file.read_text())]
    file.write_text(json.dumps(rows))
    page = pages(tmp_path / "results")["two_layer_linear_gd"]
    for row in rows:
        words = f"what {row['claim']} counts, in apples_".replace("_", r"\_")
        assert f"Measured: W{words[1:]}." in page
        assert (f"**The numbers** ({words}):" in page) == (row["verdict"] != "holds")
    ran = read(RESULTS, "two_layer_linear_gd", "run")["seconds"]
    times = page.partition("CPU seconds on one core")[2].partition(":::")[0]
    for experiment in find("two_layer_linear_gd").experiments:
        paper = f"{experiment.seconds['paper']:.3g}" if "paper" in experiment.seconds else "not measured"
        assert f"* - `{experiment.name}`\n  - {ran[experiment.name]['cpu']:.3g}\n  - {paper}\n" in times


def test_results_are_copied_whole_or_not_at_all(tmp_path):
    """Of every figure the smaller file; nothing is touched while a run is missing."""
    for slug in slugs():
        folder = tmp_path / "runs" / slug / "small"
        folder.mkdir(parents=True)
        for experiment in find(slug).experiments:
            (folder / f"{experiment.name}.svg").write_text("svg, smaller")
            (folder / f"{experiment.name}.png").write_text("png, of more bytes")
        for name in ("claims.json", "run.json"):
            shutil.copy(RESULTS / slug / name, folder)
    results = tmp_path / "results"
    collect(tmp_path / "runs", results)
    kept = {path.name for path in (results / "seg_rr").iterdir()}
    assert kept == {"claims.json", "run.json", *(f"{one.name}.svg" for one in find("seg_rr").experiments)}
    assert json.loads((results / "seg_rr" / "run.json").read_text()) == read(RESULTS, "seg_rr", "run")
    (tmp_path / "runs" / "seg_rr" / "small" / "run.json").unlink()
    with pytest.raises(FileNotFoundError, match="theorylab run seg_rr"):
        collect(tmp_path / "runs", results)
    assert (results / "seg_rr" / "run.json").exists()
