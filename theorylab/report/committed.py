"""The results that stand in git: each paper's claims, and a small picture an experiment, until its code changes."""

import io
import json
import math
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from theorylab.papers import find, slugs
from theorylab.papers.registry import choose

from .digests import digest

RESULTS = Path(__file__).parents[2] / "docs" / "results"
"""Where a clone keeps them; beside an installed package there are none."""

PICTURE = 40_000  # bytes at most
_FORMS = ((1200, 50), (1200, 30), (900, 30), (700, 30), (500, 30), (300, 30))  # pixels across, and quality


def collect(runs: Path, results: Path, only: Sequence[str] = ()) -> list[str]:
    """Renew the results of papers whose code has changed since.

    **Arguments**: `runs`, the `--out` of `theorylab check`; `results`, which has a folder for each paper, replaced as a
    whole: `claims.json`, its numbers rounded to what their tolerance tells, and of each experiment a picture of at most
    40 kB; `only`, slugs, or none for all papers.

    **Returns** the slugs that were renewed. Folders of what is no paper any more go.

    **Raises** `FileNotFoundError`, before anything is changed, where the run of a paper is not there or of other code;
    `UnknownName` for a slug that no paper has.
    """
    for slug in only:
        choose("paper", slug, slugs())
    renewed = [slug for slug in stale(results) if slug in (only or slugs())]
    for slug in renewed:
        record = runs / slug / "small" / "run.json"
        if not record.exists() or json.loads(record.read_text())["asked"]["digest"] != digest(slug):
            raise FileNotFoundError(f"{record.parent} has no run of this code: theorylab run {slug} --out {runs}")
    for slug in renewed:
        shutil.rmtree(results / slug, ignore_errors=True)
        _copy(slug, runs / slug / "small", results / slug)
    for folder in results.iterdir():
        if folder.name not in slugs():
            shutil.rmtree(folder)
    return renewed


def stale(results: Path) -> list[str]:
    """Name the papers whose committed results are not those of their code.

    **Arguments**: `results`, the folder that `collect` keeps.

    **Returns** their slugs; no paper is imported.

    **Raises** `FileNotFoundError` where there is no such folder.
    """
    if not results.is_dir():
        raise FileNotFoundError(f"{results} is not there: results stand in a clone, not beside an installed package")
    return [slug for slug in slugs() if is_stale(slug, results)]


def is_stale(slug: str, results: Path) -> bool:
    """Tell whether a paper has no committed results, or has those of other code."""
    return not (results / slug / "claims.json").exists() or read(slug, results)["digest"] != digest(slug)


def read(slug: str, results: Path) -> dict[str, Any]:
    """Read a paper's committed results.

    **Arguments**: `slug`; `results`, the folder that `collect` keeps.

    **Returns** what was asked, `size`, `seed`, `precision` and `digest` of the code, and `claims`, a row each.
    """
    return json.loads((results / slug / "claims.json").read_text(encoding="utf-8"))


def _copy(slug: str, run: Path, results: Path) -> None:
    results.mkdir(parents=True)
    asked = json.loads((run / "run.json").read_text(encoding="utf-8"))["asked"]
    rows = json.loads((run / "claims.json").read_text(encoding="utf-8"))
    kept = json.dumps(asked | {"claims": [_rounded(row) for row in rows]}, indent=1, ensure_ascii=False)
    (results / "claims.json").write_text(kept + "\n", encoding="utf-8")
    for experiment in find(slug).experiments:
        (results / f"{experiment.name}.webp").write_bytes(_picture(run / f"{experiment.name}.png"))


def _rounded(row: dict[str, Any]) -> dict[str, Any]:
    """With four digits, but none far below the tolerance, where rounding differs between machines."""
    least = _exponent(row["tolerance"]) - 1 if row["tolerance"] else -300
    numbers = {name: row[name] for name in ("measured", "predicted", "tolerance") if row[name]}
    return row | {name: round(x, -max(_exponent(x) - 3, least)) + 0.0 for name, x in numbers.items()}  # never -0.0


def _exponent(number: float) -> int:
    return math.floor(math.log10(abs(number)))


def _picture(path: Path) -> bytes:
    """A figure as WebP, in the best form that is small enough."""
    from PIL import Image

    with Image.open(path) as opened:
        figure = opened.convert("RGB")
    for width, quality in _FORMS:
        width = min(width, figure.width)
        small = figure.resize((width, round(figure.height * width / figure.width)), Image.Resampling.LANCZOS)
        small.save(file := io.BytesIO(), "WEBP", quality=quality, method=6)
        if file.tell() <= PICTURE:
            return file.getvalue()
    raise ValueError(f"{path} takes {file.tell()} bytes at {width} pixels across: give the figure fewer panels")
