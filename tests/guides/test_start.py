"""The pages of the start print what they say."""

from pathlib import Path

import pytest

PAGES = sorted(page.stem for page in (Path(__file__).parents[2] / "docs" / "start").glob("*.md"))
SLOW = {"more_devices"}


@pytest.mark.parametrize("page", [pytest.param(page, marks=pytest.mark.slow if page in SLOW else ()) for page in PAGES])
def test_a_page_of_the_start(page, check_page):
    check_page(f"start/{page}")
