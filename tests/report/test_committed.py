"""Results in git are small, say of which code they are, and are renewed when that has changed, and only then."""

import io
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import theorylab.report.committed as committed
from theorylab.papers import find, slugs
from theorylab.papers.registry import UnknownName
from theorylab.report.digests import digest

ALL = 15e6 / 89  # bytes a paper, so that all of them stay below 15 MB


def test_they_are_small():
    sizes = {path: path.stat().st_size for path in committed.RESULTS.rglob("*") if path.is_file()}
    pictures = {path: size for path, size in sizes.items() if path.suffix == ".webp"}
    assert pictures and max(pictures.values()) <= committed.PICTURE
    assert sum(sizes.values()) <= ALL * len(slugs())


PAPERS = ("opsa_robust_recovery", "seg_rr", "two_layer_linear_gd")


@pytest.fixture
def ran(tmp_path, monkeypatch):
    """`ran(slug)` pretends that the paper ran; `ran.results` is a folder that has the results of three papers."""
    monkeypatch.setattr(committed, "slugs", lambda: {slug: slugs()[slug] for slug in PAPERS})
    picture = Image.fromarray(np.zeros((200, 300, 3), np.uint8))

    def run(slug, of=None, **row):
        folder = tmp_path / "runs" / slug / "small"
        folder.mkdir(parents=True, exist_ok=True)
        asked = {"slug": slug, "size": "small", "seed": 0, "precision": "float64", "digest": of or digest(slug)}
        (folder / "run.json").write_text(json.dumps({"asked": asked, "seconds": {}, "date": "today"}))
        numbers = {"measured": 1 / 3, "predicted": 1.0, "tolerance": 0.01} | row
        (folder / "claims.json").write_text(json.dumps([{"claim": "one", **numbers}]))
        for experiment in find(slug).experiments:
            picture.save(folder / f"{experiment.name}.png")
        return folder

    run.runs, run.results = tmp_path / "runs", tmp_path / "results"
    run.results.mkdir()
    for slug in PAPERS:
        run(slug)
    committed.collect(run.runs, run.results)
    return run


def row(ran, slug="seg_rr"):
    return committed.read(slug, ran.results)["claims"][0]


def test_what_is_kept(ran):
    kept = committed.read("seg_rr", ran.results)
    assert set(kept) == {"slug", "size", "seed", "precision", "digest", "claims"} and kept["digest"] == digest("seg_rr")
    names = {path.name for path in (ran.results / "seg_rr").iterdir()}
    assert names == {"claims.json", *(f"{experiment.name}.webp" for experiment in find("seg_rr").experiments)}


def test_nothing_is_renewed_while_the_code_is_the_same(ran):
    ran("seg_rr", measured=0.5)
    assert committed.stale(ran.results) == [] == committed.collect(ran.runs, ran.results)
    assert row(ran)["measured"] == 0.333


def test_one_paper_alone(ran, monkeypatch):
    monkeypatch.setattr(committed, "digest", lambda slug: "new")
    assert committed.stale(ran.results) == list(PAPERS)
    ran("seg_rr", of="new", measured=0.5)
    assert committed.collect(ran.runs, ran.results, ["seg_rr"]) == ["seg_rr"]
    assert (row(ran)["measured"], row(ran, "opsa_robust_recovery")["measured"]) == (0.5, 0.333)
    assert "seg_rr" not in committed.stale(ran.results)
    with pytest.raises(UnknownName, match="did you mean 'seg_rr'"):
        committed.collect(ran.runs, ran.results, ["seg_r"])


def test_all_or_nothing(ran, monkeypatch):
    """A run that is missing, or of other code, is named before anything is changed."""
    monkeypatch.setattr(committed, "digest", lambda slug: "new")
    for slug in PAPERS:
        ran(slug, of="new", measured=0.5)
    ran("seg_rr", of="old")
    with pytest.raises(FileNotFoundError, match="theorylab run seg_rr"):
        committed.collect(ran.runs, ran.results)
    (ran.runs / "seg_rr" / "small" / "run.json").unlink()
    with pytest.raises(FileNotFoundError, match="theorylab run seg_rr"):
        committed.collect(ran.runs, ran.results)
    assert {row(ran, slug)["measured"] for slug in PAPERS} == {0.333}


def test_what_is_no_paper_goes(ran):
    (ran.results / "gone").mkdir()
    committed.collect(ran.runs, ran.results)
    assert {folder.name for folder in ran.results.iterdir()} == set(PAPERS)


def test_without_a_clone():
    with pytest.raises(FileNotFoundError, match="stand in a clone"):
        committed.stale(Path("nowhere"))


@pytest.mark.parametrize(
    ("measured", "tolerance", "kept"),
    [
        (1.23456789, 0.05, 1.235),
        (3.3e-16, 1e-14, 0.0),  # rounding, which differs between machines
        (-3.3e-16, 1e-14, 0.0),
        (1.1234567, 1e-12, 1.123),
        (123.456, 20.0, 123.0),
        (1.23456e-7, 0.0, 1.235e-07),
        (None, None, None),
    ],
)
def test_numbers_are_rounded_to_what_matters(measured, tolerance, kept):
    found = committed._rounded({"measured": measured, "predicted": measured, "tolerance": tolerance})
    assert found["measured"] == found["predicted"] == kept and str(found["measured"]) == str(kept)


def test_pictures_are_as_good_as_fits(tmp_path):
    """A drawing keeps its width; noise, which nothing compresses, is made smaller."""
    drawing, noise = Image.new("RGB", (1100, 400), "white"), np.random.default_rng(0).integers(0, 255, (800, 1500, 3))
    drawing.save(tmp_path / "drawing.png")
    Image.fromarray(noise.astype(np.uint8)).save(tmp_path / "noise.png")
    for name, width in (("drawing", 1100), ("noise", 500)):
        kept = committed._picture(tmp_path / f"{name}.png")
        assert len(kept) <= committed.PICTURE
        with Image.open(io.BytesIO(kept)) as picture:
            assert (picture.format, picture.width) == ("WEBP", width)


def test_the_command(ran):
    words = [sys.executable, "-m", "theorylab.report.pages", str(ran.runs), str(ran.results), "--paper", "seg_rr"]
    assert "nothing to renew" in subprocess.run(words, capture_output=True, text=True, check=True).stdout
    (ran.results / "seg_rr" / "claims.json").unlink()
    assert subprocess.run(words, capture_output=True, text=True, check=True).stdout == "renewed: seg_rr\n"
