"""What `tests/<room>/examples.py` holds: one valid call of every method and kernel of that room.

METHODS = {Method: example}       # a function of the precision, "float32" or "float64", that gives an `Example`
KERNELS = {"name": Kernel(...)}   # public functions of arrays, and of classes what they compute
HOST = {"reason": "name name"}    # public functions that are no kernels, by what they are, in one word
"""

import importlib
import pathlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from jaxtyping import Array

import theorylab as tl

FOLDER = pathlib.Path(__file__).parents[1]


@dataclass(frozen=True, kw_only=True)
class Example:
    """A method with something to work on, all of it in one precision.

    `method(**arguments)` builds it; only the hyper-parameter of `over` has no default. `problem(scale)` gives problems
    of one shape, whose data depend on `scale`. `over`: one hyper-parameter and three good values, in which a run is
    smooth. `bad`: arguments of `method` (or `x0`), that of `over` among them, each with a value that must be refused
    under its name.
    """

    method: Callable[..., tl.Method]
    problem: Callable[[float], Any]
    x0: Any
    over: Mapping[str, np.ndarray]
    bad: Mapping[str, Any]
    promotion: Literal["strict", "standard"] = "strict"

    @property
    def axis(self) -> str:
        (name,) = self.over
        return name

    @property
    def values(self) -> np.ndarray:
        return self.over[self.axis]

    def build(self, key: Array, **hyper: Any) -> tuple:
        """For `tl.sweep`."""
        del key
        return self.method(**hyper), self.problem(1.0), self.x0


@dataclass(frozen=True)
class Kernel:
    """A pure function of arrays of floating numbers, and such arrays; without it, the first call of its docstring.

    `smooth`, whether it has a derivative there; `heavy`, whether it holds a solver: such a program takes seconds to
    compile, and the tests of its room run it.
    """

    function: Callable[..., Any] | None = None
    arrays: tuple[Any, ...] = ()
    smooth: bool = True
    heavy: bool = False


def found(what: str) -> dict[Any, Any]:
    """What the examples of all folders hold under `METHODS`, or by public name under `KERNELS` or `HOST`."""
    modules = {path.parent.name: f"tests.{path.parent.name}.examples" for path in FOLDER.glob("*/examples.py")}
    del modules["contract"]
    held = {room: getattr(importlib.import_module(name), what, {}) for room, name in sorted(modules.items())}
    if what == "METHODS":
        return {method: example for one in held.values() for method, example in one.items()}
    if what == "HOST":
        held = {room: {name: why for why, names in one.items() for name in names.split()} for room, one in held.items()}
    return {f"{room}.{name}": value for room, one in held.items() for name, value in one.items()}
