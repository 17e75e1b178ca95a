"""What every kernel promises: each one finds itself here, and runs its example of `tests/<room>/examples.py`."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.contract.examples import found
from tests.faults.calls import calls, public

KERNELS, HOST = found("KERNELS"), found("HOST")
ROUNDINGS = 1000  # operations on one number; the examples are well conditioned


def test_every_public_function_is_a_kernel_with_an_example_or_says_why_not():
    names = {name for name, item in public().items() if not isinstance(item, type)}
    claims = {name for name in names if ".claims." in name}  # theory, all of it
    missing = sorted(names - claims - {*KERNELS, *HOST})
    assert not missing, f"{missing}: give each a Kernel in tests/<room>/examples.py, or a word under HOST"
    assert sorted({*KERNELS, *HOST} - {*public()}) == [], "these are no public names"
    assert not {*KERNELS} & {*HOST}


def example(name):
    """The function of a kernel, and its arrays; those of a doctest's call are all floating ones that it passes."""
    kernel = KERNELS[name]
    if kernel.function is not None:
        return kernel.function, kernel.arrays
    call = next(calls(name, public()[name]))
    arrays, rest = eqx.partition(dict(call.arguments.arguments), eqx.is_inexact_array)
    numpy, rest = eqx.partition(rest, lambda leaf: isinstance(leaf, np.ndarray) and leaf.dtype.kind == "f")

    def function(*arrays):
        call.arguments.arguments.update(eqx.combine(*arrays, rest))
        return call.function(*call.arguments.args, **call.arguments.kwargs)

    return function, (arrays, jax.tree.map(jnp.asarray, numpy))


@pytest.fixture(scope="module", params=sorted(KERNELS))
def kernel(request):
    """A kernel's name, its function with the floating arrays of the answer as one vector, and its arrays."""
    function, arrays = example(request.param)
    yield request.param, lambda *arrays: _flat(function(*arrays)), arrays


def _flat(answer):
    return jnp.concatenate([jnp.ravel(leaf) for leaf in jax.tree.leaves(answer) if eqx.is_inexact_array(leaf)])


def test_it_lowers_for_accelerators_without_the_host(kernel):
    _, function, arrays = kernel
    with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
        exported = jax.export.export(jax.jit(function), platforms=("cuda", "tpu"))(*arrays)
    assert "callback" not in exported.mlir_module()


def test_it_maps_differentiates_and_keeps_the_precision(kernel, dtype, compilations):
    """One program: two lanes alone and together, and a derivative beside its quotient."""
    name, function, arrays = kernel
    if KERNELS[name].heavy:
        return
    arrays = jax.tree.map(lambda x: x.astype(dtype), arrays)
    step = np.cbrt(np.finfo(dtype).eps).item()

    @jax.jit
    def program(arrays):
        scaled = [jax.tree.map(lambda x, s=s: x * jnp.asarray(s, x.dtype), arrays) for s in (1, 1 - step, 1 + step)]
        alone = jnp.stack([function(*one) for one in scaled])
        lanes = jax.vmap(lambda arrays: function(*arrays))(jax.tree.map(lambda *xs: jnp.stack(xs), *scaled))
        slope = jax.jvp(function, scaled[0], scaled[0])[1] if KERNELS[name].smooth else None
        return alone, lanes, slope

    with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
        alone, lanes, slope = program(arrays)
        other = jax.tree.map(lambda x: x / 2, arrays)
        with compilations() as count:
            program(other)
            assert count() == 0
    assert alone.dtype == lanes.dtype == dtype
    alone, lanes = map(np.asarray, (alone, lanes))
    scale = np.abs(alone).max()
    np.testing.assert_allclose(lanes, alone, rtol=0, atol=ROUNDINGS * np.finfo(dtype).eps * scale)
    if slope is not None:
        quotient = (alone[2] - alone[1]) / (2 * step)
        # truncation and rounding are both about step^2, of the third derivative and of the answer
        np.testing.assert_allclose(slope, quotient, rtol=0, atol=ROUNDINGS * step**2 * max(scale, np.abs(slope).max()))
