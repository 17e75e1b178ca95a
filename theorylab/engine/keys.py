"""Random keys by name.

Adding a draw to one stream never shifts another, and a step's key depends on its index alone.
"""

import zlib
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Integer, PRNGKeyArray

from ..numerics.checked import Key, seeded


def as_key(key: Any) -> PRNGKeyArray:
    """A typed scalar key from a typed key, a raw `uint32` key or an integer seed.

    **Arguments**: `key`, any of the three.

    **Returns** a typed key, ().

    **Raises** `TypeError` for anything else, and for a key with a batch of its own; `ValueError` for a seed that is
    negative or above 2**32 - 1.

    **Source**: derived here.

        >>> import theorylab as tl, jax
        >>> bool(tl.keys.as_key(3) == jax.random.key(3))
        True
    """
    key = seeded(key)
    if isinstance(key, jax.Array):
        if not jnp.issubdtype(key.dtype, jax.dtypes.prng_key) and key.dtype == jnp.uint32:
            key = jax.random.wrap_key_data(key)
        if jnp.issubdtype(key.dtype, jax.dtypes.prng_key) and key.shape == ():
            return key
    raise TypeError(f"key must be one random key, such as jax.random.key(0), or an integer seed, got {key!r}")


def stream(key: Key, name: str) -> PRNGKeyArray:
    """The key of a named stream, $\\mathrm{fold\\_in}(k, \\mathrm{crc32}(\\text{name}))$.

    The engine uses the streams `"init"`, `"step"`, `"seed"`, `"build"` and `"lane"`.

    **Arguments**: `key`, a key or a seed; `name`, any string.

    **Returns** a typed key, ().

    **Source**: derived here.

        >>> import theorylab as tl, jax
        >>> bool(tl.keys.stream(jax.random.key(0), "init") == tl.keys.stream(jax.random.key(0), "step"))
        False
    """
    return jax.random.fold_in(key, zlib.crc32(name.encode()))


def step_key(key: Key, t: int | Integer[Array, ""]) -> PRNGKeyArray:
    """The key that one step of a solve receives.

    **Arguments**: `key` of the solve, (); `t`, the steps taken before it, an integer ().

    **Returns** a typed key, ().

    **Source**: derived here; tested against a Python loop.

        >>> import theorylab as tl, jax
        >>> bool(tl.keys.step_key(jax.random.key(0), 5) == tl.keys.step_key(jax.random.key(0), 6))
        False
    """
    return jax.random.fold_in(stream(key, "step"), t)


def seed_key(key: Key, seed: int | Integer[Array, ""]) -> PRNGKeyArray:
    """The key of one seed of a sweep: `solve` under this key repeats that seed's lanes.

    **Arguments**: `key` of the sweep, (); `seed`, an integer ().

    **Returns** a typed key, ().

    **Source**: derived here; tested against a loop of solves.

        >>> import theorylab as tl, jax
        >>> bool(tl.keys.seed_key(jax.random.key(0), 1) == tl.keys.seed_key(jax.random.key(0), 2))
        False
    """
    return jax.random.fold_in(stream(key, "seed"), seed)


def build_key(key: Key) -> PRNGKeyArray:
    """The key that the `build` of a sweep receives.

    **Arguments**: `key` of a seed, (), from `seed_key`.

    **Returns** a typed key, ().

    **Source**: derived here; tested against a loop of solves.

        >>> import theorylab as tl, jax
        >>> own = tl.keys.seed_key(jax.random.key(0), 1)
        >>> bool(tl.keys.build_key(own) == own)
        False
    """
    return stream(key, "build")


def generator(key: Key) -> np.random.Generator:
    """A NumPy generator that a key seeds, for draws on the host.

    **Arguments**: `key`, a key or a seed, concrete.

    **Returns** a generator, the same for the same key.

    **Source**: derived here.

        >>> import theorylab as tl, jax
        >>> one, other = (tl.keys.generator(jax.random.key(0)) for _ in range(2))
        >>> one.random() == other.random()
        True
    """
    return np.random.default_rng(np.asarray(jax.random.key_data(key), np.uint32))
