"""Arguments against annotations, where no type checker helps."""

import subprocess
import sys
from collections.abc import Callable, Sequence
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jaxtyping import Array, ArrayLike, Float, PRNGKeyArray, PyTree, Real, ScalarLike

from theorylab.numerics.checked import Numbers, finite
from theorylab.numerics.guard import checked

ONE, KEY = np.float32(1), jax.random.key(0)


@pytest.mark.parametrize(
    ("hint", "good", "bad"),
    [
        (int, [3, np.int64(3)], [3.0, "3", None, jnp.ones(1)]),
        (float, [3, 0.5, ONE, jnp.ones(())], ["0.5", 1j, None, jnp.ones(1)]),
        (ScalarLike, [3, 0.5, ONE, jnp.ones(())], ["0.5", 1j, None, jnp.ones(1)]),
        (ArrayLike, [3, 0.5, np.ones(2), jnp.ones((2, 1))], ["0.5", 1j, None, np.ones(2, complex), [1.0], KEY]),
        (Numbers, [3, [1.0, 2.0], [[1], [2]], np.ones(2)], ["1", ["1"], 1j, np.asarray(["a"]), object]),
        (Float[Array, " d"], [jnp.ones(2), np.ones(3, "float32")], [jnp.ones((1, 2)), jnp.arange(2), 1.0, [1.0]]),
        (
            Real[ArrayLike, "d d"],
            [jnp.eye(2), np.eye(3, dtype=int)],
            [jnp.ones((2, 3)), 1.0, 1j],
        ),
        (PRNGKeyArray, [KEY, jax.random.PRNGKey(0)], [0, jax.random.split(KEY, 2), jnp.ones(2)]),
        (PyTree[ArrayLike], [1.0, {"a": np.ones(2)}], ["1", {"a": None}, (1.0, "b")]),
        (tuple[int, int], [(1, 2), [1, 2]], [(1,), (1, 2.5), 3]),
        (Literal["a", "b"] | None, ["a", None], ["c", 1]),
        (Callable[..., Any], [abs], ["abs", 3]),
        (Sequence[int] | None, [None, [1], np.arange(2)], ["12", 3]),
    ],
    ids=lambda values: "",  # by number: an address would differ between workers
)
def test_what_an_annotation_admits(hint, good, bad):
    def plain(x):
        return x

    plain.__annotations__["x"] = hint
    taken = checked(plain)
    for value in good:
        assert taken(value) is value
    for value in bad:
        with pytest.raises(TypeError, match="plain: x must be "):
            taken(value)


def test_names_of_axes_mean_one_length():
    """In a process of its own: under the tests' type checker each call inside `checked` has names of its own."""
    code = (
        "import numpy as np, theorylab as tl\n"
        "tl.lowrank.lora.growth_rates(np.eye(2), np.ones((1, 2)), np.ones((1, 2)))\n"
        "tl.lowrank.lora.growth_rates(np.eye(2), np.ones((1, 3)), np.ones((1, 2)))\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.stderr.endswith("W2 must be an array Real['m h'], got float64[1, 3]\n")


def test_python_says_what_is_missing_or_too_much():
    @checked
    def plain(x: int):
        return x

    with pytest.raises(TypeError, match="unexpected keyword argument 'y'"):
        plain(y=1)  # pyright: ignore


def test_finite_names_the_entry():
    finite(W=np.ones(2), b=1.0)
    with pytest.raises(ValueError, match=r"W\[0, 1\] = inf is not finite"):
        finite(b=1.0, W=np.asarray([[1.0, np.inf]]))
    with pytest.raises(ValueError, match=r"W has the shape \(0,\): it is empty"):
        finite(W=np.ones(0))
    jax.jit(lambda W: finite(W=W))(jnp.full(2, jnp.nan))  # a traced one passes
