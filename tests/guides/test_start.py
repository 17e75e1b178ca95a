"""The home page, the questions and the pages of the start print what they say."""

from pathlib import Path

import pytest

DOCS = Path(__file__).parents[2] / "docs"
PAGES = ["index", "faq", *sorted(f"start/{page.stem}" for page in (DOCS / "start").glob("*.md"))]
SLOW = {"start/more_devices"}


@pytest.mark.parametrize("page", [pytest.param(page, marks=pytest.mark.slow if page in SLOW else ()) for page in PAGES])
def test_a_page_of_the_start(page, check_page):
    check_page(page)
