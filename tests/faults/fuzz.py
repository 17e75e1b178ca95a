"""Calls every public function with bad values, as users have them who check no types: one JSON line for each case that
ends neither in a clear error nor in a right answer, and one at the end, the number of cases.

    python -m tests.faults.fuzz --kinds text nan --names games.Extragradient
"""

import argparse
import copy
import inspect
import json
import re
import signal
import time
import traceback
import warnings
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from tests.faults.bad_values import bad_values, is_key
from tests.faults.calls import Call, calls, is_result, public

SECONDS = 20  # of CPU: a call of a doctest takes less


class Hang(BaseException):
    """Raised by the clock in a call that does not end."""


def attempt(call: Call, **changed: Any) -> list[np.ndarray]:
    """The numbers that a call returns."""
    bound = copy.copy(call.arguments)
    bound.arguments = call.arguments.arguments | changed
    signal.setitimer(signal.ITIMER_VIRTUAL, SECONDS)
    try:
        found = call.function(*bound.args, **bound.kwargs)
        leaves = [
            leaf for leaf in jax.tree.leaves(found) if isinstance(leaf, jax.Array | np.ndarray | np.generic | float)
        ]
        return [np.asarray(leaf) for leaf in leaves if not is_key(leaf)]
    finally:
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)


def fault(call: Call, argument: str, kind: str, bad: Any, good: list) -> str | None:
    """What is wrong with how a call takes a bad value, or None. `good` holds what the good call gave, once it is asked
    for."""
    try:
        found = attempt(call, **{argument: bad})
    except Hang:
        return "no end"
    except Exception as error:
        return _unclear(call, error)
    kind = kind.split()[0]
    floats = [leaf for leaf in found if jnp.issubdtype(leaf.dtype, jnp.inexact)]
    whole = all(np.all(np.isfinite(leaf)) for leaf in floats)
    if kind in ("boolean", "integer", "huge"):  # right where they are taken for numbers; what is huge may overflow
        return None
    if kind in ("nan", "inf"):
        scalar = np.ndim(call.arguments.arguments[argument]) == 0
        return "a silent answer" if whole and (kind == "nan" or not scalar) else None  # of inf it may be the limit
    if kind in ("negative", "zero"):
        return "NaN" if any(np.any(np.isnan(leaf)) for leaf in floats) else None
    if kind == "empty" and whole and any(leaf.size == 0 for leaf in found):
        return None
    if kind in ("rank+", "rank-", "short", "vector"):
        if not good:
            good.append(attempt(call))
        shapes = [[leaf.shape for leaf in leaves] for leaves in (found, good[0])]
        return "an answer of the same shapes" if shapes[0] == shapes[1] else None
    return "a silent answer"


def _unclear(call, error):
    last = traceback.extract_tb(error.__traceback__)[-1].filename
    if not isinstance(error, TypeError | ValueError):
        return type(error).__name__
    if "/theorylab/" not in last:
        return (
            f"{type(error).__name__} of {re.split('site-packages/|/', last.partition('site-packages/')[2] or last)[0]}"
        )
    names = inspect.signature(call.function).parameters
    return None if any(re.search(rf"\b{name}\b", str(error)) for name in names) else "names no argument"


def cases(call: Call):
    """Triples (argument, kind, bad value)."""
    parameters = inspect.signature(call.function).parameters
    for argument, value in call.arguments.arguments.items():
        if argument not in ("self", "cls") and parameters[argument].kind is not inspect.Parameter.VAR_KEYWORD:
            for kind, bad in bad_values(value):
                if bad is not parameters[argument].default:
                    yield argument, kind, bad


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--kinds", nargs="*", default=[])
    parser.add_argument("--names", nargs="*", default=[])
    parser.add_argument("--part", default="0/1")
    asked = parser.parse_args()
    part, parts = map(int, asked.part.split("/"))
    warnings.simplefilter("ignore")

    def ring(*_):
        raise Hang

    signal.signal(signal.SIGVTALRM, ring)
    count, functions, without = 0, 0, []
    for name, item in list(public().items())[part::parts]:
        if asked.names and name not in asked.names:
            continue
        found = list(calls(name, item))
        functions += len(found)
        if not found and not is_result(item):
            without.append(name)
        for call in found:
            good: list = []
            for argument, kind, bad in cases(call):
                if asked.kinds and kind.split()[0] not in asked.kinds:
                    continue
                count += 1
                wrong = fault(call, argument, kind, bad, good)
                if wrong:
                    print(json.dumps([call.name, argument, kind, wrong]), flush=True)
    print(
        json.dumps({"functions": functions, "without": sorted(without), "cases": count, "seconds": time.process_time()})
    )


if __name__ == "__main__":
    main()
