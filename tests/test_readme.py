"""What the README shows runs, and shows what it says."""

import re
import subprocess
import sys
from pathlib import Path

import numpy as np

README = (Path(__file__).parents[1] / "README.md").read_text(encoding="utf-8")


def blocks(language):
    return re.findall(rf"^```{language}\n(.*?)^```$", README, re.DOTALL | re.MULTILINE)


def test_the_two_commands():
    assert blocks("sh") == [
        "python -m pip install -e . && theorylab run seg_rr\n",
        'python -m pip install -e ".[dev]" && python -m pytest\n',
    ]


def test_ten_lines_that_run(standard_promotion):
    code, theory = blocks("python")
    assert len([line for line in code.splitlines() if line.strip()]) <= 16
    names = {}
    exec(compile(code, "README.md", "exec"), names)
    error = names["error"]  # mean-square, by order and step size
    ratio = (error.sel(order="reshuffle") / error.sel(order="independent")).values
    assert ratio.shape == (8,) and (ratio < 1).all() and ratio[0] < ratio[-1]
    exec(compile(theory, "README.md", "exec"), names)
    extrapolated, small = names["moments"], names["small"]
    plain = names["tl"].games.stationary_moments(small, names["method"])
    bias = [np.linalg.norm(one.mean - small.solution) for one in (extrapolated, plain)]
    assert bias[0] < bias[1] / 10 and extrapolated.mse < plain.mse


def test_links_and_figures_are_there():
    root = Path(__file__).parents[1]
    for target in re.findall(r"\]\((?!https?:)([^)#]+)\)", README):
        assert (root / target).exists(), target


def test_the_table_of_speed_is_what_the_rows_say():
    root = Path(__file__).parents[1]
    made = subprocess.run([sys.executable, root / "benchmarks" / "table.py", "--check"], check=False)
    assert made.returncode == 0, "run python benchmarks/table.py"
