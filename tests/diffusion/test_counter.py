"""Counter-based normal draws: their law, their independence, and that blocks do not matter."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from theorylab.diffusion import counter_normal

N = 2**19
# keys that differ in one bit, that are shifts of one another, and some far apart
SEEDS = (0, 1, 2, 3, 2**31, 12345)
ERRORS = 5.0  # of some hundred statistics, the largest lies beyond 4 standard errors one time in 200, beyond 5 never


@pytest.fixture(scope="module")
def draws():
    """Streams (seeds, N), in float32."""
    return np.stack([counter_normal(jax.random.key(seed), (N,), dtype=jnp.float32) for seed in SEEDS]).astype(float)


def test_moments(draws):
    """The first six, against their standard errors sqrt((m_2k - m_k^2) / n) under the normal law."""
    moments = {1: 0, 2: 1, 3: 0, 4: 3, 5: 0, 6: 15, 8: 105, 10: 945, 12: 10395}
    for k in range(1, 7):
        error = np.sqrt((moments[2 * k] - moments[k] ** 2) / N)
        assert (abs((draws**k).mean(1) - moments[k]) < ERRORS * error).all(), k


def test_the_distribution_is_normal(draws):
    from scipy.stats import kstest

    assert min(kstest(stream, "norm").pvalue for stream in draws) > 1e-4
    assert 4.5 < abs(draws).max() < 5.5  # the largest of 3 million: 5.0 is typical, and the grid ends at 5.4


def test_tails_are_as_heavy_as_they_should_be(draws):
    from scipy.stats import norm

    for z in (2.0, 3.0, 4.0):
        expected = draws.size * 2 * norm.sf(z)
        assert abs((abs(draws) > z).sum() - expected) < ERRORS * np.sqrt(expected), z


def test_neighbours_are_uncorrelated(draws):
    """The draws, their squares and their signs, at lags of one, and at powers of two, where hashes of counters fail."""
    for lag in (1, 2, 3, 16, 64, 256, 4096, 2**16):
        for f in (lambda z: z, lambda z: z**2 - 1, np.sign):
            z = f(draws)
            correlation = (z[:, lag:] * z[:, :-lag]).mean(1) / (z**2).mean()
            assert (abs(correlation) < ERRORS / np.sqrt(N - lag)).all(), lag


def test_streams_are_uncorrelated(draws):
    for f in (lambda z: z, lambda z: z**2 - 1):
        z = f(draws)
        correlations = np.corrcoef(z)[np.triu_indices(len(SEEDS), 1)]
        assert (abs(correlations) < ERRORS / np.sqrt(N)).all()


def test_no_stream_is_a_permutation_of_another(draws):
    """Of N draws from 2^24 values two streams share N^2 / 2^24 by chance; one round of the hash would share all."""
    expected = N * N / 2**24
    for other in draws[1:]:
        _, counts = np.unique(np.concatenate([np.unique(draws[0]), np.unique(other)]), return_counts=True)
        assert (counts == 2).sum() < 1.1 * expected


def test_keys_of_steps_give_other_draws():
    keys = [jax.random.fold_in(jax.random.key(0), step) for step in range(64)]
    many = np.asarray(jax.vmap(lambda key: counter_normal(key, (1024,)))(jnp.stack(keys)))
    correlations = np.corrcoef(many)[np.triu_indices(64, 1)]
    assert abs(correlations).max() < 6 / np.sqrt(1024)  # the largest of 2016
    assert abs(np.mean(correlations**2) * 1024 - 1) < 5 * np.sqrt(2 / 2016)


def test_blocks_do_not_matter(dtype):
    """Their bits are the same; the inverse error function of them, in programs of their own, is so to rounding."""
    key, shape = jax.random.key(7), (24, 5, 3)
    whole = np.asarray(counter_normal(key, shape, dtype=dtype))
    assert whole.dtype == dtype
    block = jax.jit(lambda start, n: counter_normal(key, (n, 5, 3), start, dtype=dtype), static_argnums=1)
    for n in (1, 2, 7, 8, 24):
        parts = [block(jnp.asarray(i * 15, jnp.uint32), min(n, 24 - i)) for i in range(0, 24, n)]
        np.testing.assert_allclose(np.concatenate(parts), whole, rtol=8 * float(np.finfo(dtype).eps))


def test_precisions_agree():
    key = jax.random.key(3)
    wide = counter_normal(key, (1000,), dtype=jnp.float64)
    single, half = (counter_normal(key, (1000,), dtype=d) for d in (jnp.float32, jnp.bfloat16))
    # the function of JAX is right to a few roundings, times the slope of the inverse in the tails, 2^12 here
    np.testing.assert_allclose(single, wide, rtol=2e-5, atol=1e-6)
    np.testing.assert_allclose(half.astype(float), wide, rtol=2**-8)


def test_the_end_of_the_stream():
    key = jax.random.key(0)
    assert bool(jnp.isfinite(counter_normal(key, (4,), 2**32 - 4)).all())
    for start in (2**32 - 3, -1):
        with pytest.raises(ValueError, match=f"start = {start}"):
            counter_normal(key, (4,), start)


def test_it_lowers_for_accelerators():
    export = jax.export.export(jax.jit(lambda key: counter_normal(key, (8, 8))), platforms=("cuda", "tpu"))
    assert "callback" not in export(jax.random.key(0)).mlir_module()
