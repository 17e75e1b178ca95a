"""Guides print what they say; some have tests of their own, which say more."""

from pathlib import Path

import pytest

DOCS = Path(__file__).parents[2] / "docs"
TESTED_ELSEWHERE = {
    "denoiser_of_your_data",
    "extragradient_in_training",
    "lora_on_your_model",
    "one_large_problem",
}
SLOW = {"many_devices", "sweeps", "training_code"}
PAGES = [
    pytest.param(page.stem, marks=pytest.mark.slow if page.stem in SLOW else ())
    for page in sorted((DOCS / "guides").glob("*.md"))
    if page.stem not in TESTED_ELSEWHERE
]


@pytest.mark.parametrize("page", PAGES)
def test_a_guide(page, check_page):
    check_page(f"guides/{page}")
