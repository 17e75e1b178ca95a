"""An integer seed is taken wherever a key is, and gives what its key gives."""

import inspect
import types
from typing import get_args

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import theorylab as tl
from tests.contract.test_docstrings import PUBLIC
from tests.faults.calls import calls, public
from theorylab.numerics.guard import is_checked

# a key or a seed by `as_key`, which has a look of its own
ANY = {"minimise", "solve", "sweep", "fit", "race", "as_key"}
# the engine calls what a user writes, with a key
ABSTRACT = {"Method.init", "Method.step", "Mixture.sample"}


def with_keys():
    """Every public function and method that takes a key."""
    for item in PUBLIC.values():
        members = vars(item).values() if isinstance(item, type) else [item]
        for member in members:
            function = getattr(member, "__func__", member)
            if not isinstance(function, types.FunctionType) or "key" not in inspect.signature(function).parameters:
                continue
            if not function.__name__.startswith("_") or function.__name__ == "__init__":
                yield function


def test_every_key_may_be_a_seed():
    """The annotation says so, and the package, which checks, makes it so."""
    found = [f for f in with_keys() if f.__name__ not in ANY and f.__qualname__ not in ABSTRACT]
    assert len(found) > 60
    for function in found:
        hint = inspect.signature(function).parameters["key"].annotation
        assert set(get_args(tl.numerics.Key)) <= set(get_args(hint)), f"{function.__qualname__}: annotate key as Key"
        assert is_checked(function), f"{function.__qualname__}: a package has it without its checks"


@pytest.mark.parametrize("seed", [7, np.int64(7), np.uint8(7)])
def test_a_seed_is_its_key(seed):
    key = jax.random.key(7)
    assert tl.keys.as_key(seed) == key and tl.keys.stream(seed, "init") == tl.keys.stream(key, "init")
    assert np.array_equal(tl.numerics.normal(seed, (3,)), tl.numerics.normal(key, (3,)))


@pytest.mark.parametrize("seed", [2**32 - 1, 2**31])
def test_a_large_seed_is_the_same_key_in_both_precisions(seed):
    with jax.enable_x64(False):
        single = jax.random.key_data(tl.keys.as_key(seed))
    assert np.array_equal(single, jax.random.key_data(tl.keys.as_key(seed)))


@pytest.mark.parametrize("bad", [True, np.bool_(True), 0.5, "seven", None, -1, 2**32])
@pytest.mark.parametrize("call", [tl.keys.as_key, lambda key: tl.numerics.normal(key, (3,))])
def test_other_seeds_are_refused(call, bad):
    with pytest.raises((TypeError, ValueError), match=r"key.*seed"):
        call(bad)


@pytest.mark.slow
def test_a_seed_gives_what_its_key_gives_in_every_function_that_draws():
    """In the first call that each docstring makes."""
    seen = 0
    with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
        for name, item in public().items():
            for call in calls(name, item):
                if "key" not in call.arguments.arguments:
                    continue
                seen += 1
                results = []
                for key in (jax.random.key(3), 3):
                    call.arguments.arguments["key"] = key
                    found = call.function(*call.arguments.args, **call.arguments.kwargs)
                    results.append(jax.tree.leaves(list(found) if inspect.isgenerator(found) else found))
                for one, other in zip(*results, strict=True):
                    if isinstance(one, jax.Array):
                        np.testing.assert_allclose(*map(_data, (one, other)), rtol=1e-5, err_msg=name)
    assert seen >= 30


def _data(x):
    return jax.random.key_data(x) if jnp.issubdtype(x.dtype, jax.dtypes.prng_key) else x
