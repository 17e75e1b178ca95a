"""What a package shows to users checks its arguments; what its modules hold does not."""

import importlib
import inspect
import pathlib
import pickle
import pkgutil
import subprocess
import sys
import types

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import theorylab as tl
from tests.contract.test_docstrings import PUBLIC
from theorylab._names import rooms
from theorylab.numerics.guard import is_checked

FUNCTIONS = {name: item for name, item in PUBLIC.items() if inspect.isfunction(item)}


def test_pickles_find_what_users_have():
    """By reference, as executors send functions that users close over."""
    for name, function in FUNCTIONS.items():
        assert pickle.loads(pickle.dumps(function)) is function, name


def test_names_are_the_same_at_each_look():
    for room in ("numerics", *rooms()):
        package = getattr(tl, room)
        assert all(getattr(package, name) is getattr(package, name) for name in package.__all__)
    assert tl.engine.keys is tl.keys and tl.engine.solve is tl.solve


def test_type_checkers_know_every_room():
    stub = (pathlib.Path(tl.__path__[0]) / "__init__.pyi").read_text(encoding="utf-8")
    for room in rooms():
        line = f"from . import {room} as {room}"
        assert line in stub, f"theorylab/__init__.pyi, which type checkers read, has no `{line}`"


def test_the_house_calls_what_its_modules_hold():
    """Checks cost microseconds, which a kernel in a loop would pay at each step that is traced."""
    below = [one for one in pkgutil.walk_packages(tl.__path__, "theorylab.") if not one.ispkg]
    for name in [one.name for one in below if one.name.split(".")[1] not in ("papers", "report", "cli", "__main__")]:
        for key, item in vars(importlib.import_module(name)).items():
            if isinstance(item, types.FunctionType) and is_checked(item):
                home = importlib.import_module(item.__module__)
                assert not hasattr(home, "__path__"), f"{name}: import {key} from its module, not from its package"


def test_a_class_is_checked_whoever_came_first():
    """In a process of its own, where a function of the room makes an instance before anybody names its class."""
    code = (
        "import theorylab as tl\n"
        "game = tl.games.quadratic_game(0, components=2, dim=1, mu=1.0, lipschitz=2.0)\n"
        "try: game.operator('seven')\n"
        "except TypeError as error: print(error)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.stdout.startswith("operator: x must be an array"), done.stderr


def test_a_subclass_is_named_where_it_is_built():
    class Mine(tl.games.AffineGame):
        pass

    with pytest.raises(TypeError, match="Mine: offsets must be a number"):
        Mine(jnp.eye(2)[None], "seven")


def test_transformations_take_what_users_have():
    product = tl.numerics.matvec
    A, x = jnp.arange(6.0).reshape(2, 3), jnp.ones((4, 3))
    found = jax.jit(jax.vmap(product, (None, 0)))(A, x)
    np.testing.assert_array_equal(found, np.tile(A.sum(1), (4, 1)))
    assert list(inspect.signature(product).parameters) == ["matrix", "x"]
