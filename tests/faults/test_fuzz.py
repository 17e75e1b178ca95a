"""Bad values in the place of every argument of every public function: a clear error or a right answer."""

import json
import os
import pathlib
import subprocess
import sys

import pytest

from tests.faults.known import ALLOWED, NO_CALL, NOT_YET

ROOT = pathlib.Path(__file__).parents[2]


def fuzz(*words):
    """What the fuzz found in a process of its own, as users have the library: nothing checks types for them."""
    env = {name: value for name, value in os.environ.items() if name not in ("XLA_FLAGS", "JAX_NUM_CPU_DEVICES")}
    env |= {"JAX_COMPILATION_CACHE_DIR": str(ROOT / ".jax_cache"), "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0"}
    command = [sys.executable, "-m", "tests.faults.fuzz", *words]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, env=env, check=False)
    assert done.returncode == 0, done.stderr
    *found, total = map(json.loads, done.stdout.splitlines())
    return {tuple(case[:3]): case[3] for case in found}, total


def wrong(found):
    return {case for case in found if case not in ALLOWED and case[:2] not in ALLOWED}


def test_text_is_refused_everywhere():
    found, total = fuzz("--kinds", "text")
    assert wrong(found) == set()
    assert total["without"] == sorted(NO_CALL), "show a call of each in its docstring: the fuzz starts from there"
    assert total["cases"] > 500


def test_nan_is_refused_or_answered_in_every_fourth_function():
    found, total = fuzz("--kinds", "nan", "--part", "1/4")
    assert wrong(found) == set()
    assert total["cases"] > 70


@pytest.mark.slow
def test_bad_values_of_every_kind_are_refused_or_answered():
    found, total = fuzz()
    assert wrong(found) == NOT_YET
    assert total["cases"] > 5000
