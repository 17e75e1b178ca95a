"""The guide's blocks run as they stand, and print what the text around them says."""

import re

import pytest


@pytest.mark.slow
def test_the_guide(guide_blocks, run_block):
    names = {}
    printed = [run_block(code, names) for code in guide_blocks("denoiser_of_your_data")]

    def numbers(text):
        return [float(word) for word in re.findall(r"\d+\.\d+", text)]

    before, after = numbers(printed[1])
    assert before == pytest.approx(1, abs=0.03) and after < 0.25
    ancestral, ddim, pictures = numbers(printed[2])
    # noise is at one, and finite samples of the data themselves are not at zero
    assert 0.05 < pictures < ancestral < 0.3 and pictures < ddim < 0.3
    (mixture,), (twin,) = numbers(printed[3]), numbers(printed[4])
    assert mixture < 0.25 and twin == pytest.approx(after, abs=0.05)
