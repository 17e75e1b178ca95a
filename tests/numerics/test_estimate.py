"""Error bars are those of simulated estimates, whatever is done to them."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import xarray

from theorylab.numerics import Estimate


@pytest.mark.parametrize(
    "function",
    [
        lambda a, b: a + b,
        lambda a, b: 2 - a * b,
        lambda a, b: a / b,
        lambda a, b: 3 / b - 1,
        lambda a, b: a**2,
        lambda a, b: a**-0.5,
        lambda a, b: (a * 0.1).exp(),
        lambda a, b: a.log() - b,
    ],
)
def test_the_error_is_the_scatter(function):
    """20,000 draws of the two estimates scatter as the formula says, to four standard errors and first order."""
    rng, n = np.random.default_rng(0), 20_000
    a, b = Estimate(3.0, 0.02), Estimate(-2.0, 0.01)
    drawn = function(*(Estimate(one.value + one.standard_error * rng.standard_normal(n), 0.0) for one in (a, b)))
    found = function(a, b)
    assert abs(drawn.value.mean() - found.value) < 4 * found.standard_error / np.sqrt(n) + found.standard_error**2 * 10
    assert abs(drawn.value.std() / found.standard_error - 1) < 4 / np.sqrt(2 * n) + 0.01  # the second order, 1 %


def test_of_draws_on_every_kind_of_array():
    draws = np.random.default_rng(1).normal(size=(7, 3))
    named = xarray.DataArray(draws, dims=("seed", "x"))
    for samples, axis in ((draws, 0), (jnp.asarray(draws), 0), (named, "seed"), (named.T, "seed"), (draws.T, 1)):
        mean, error = Estimate.of(samples, axis)
        np.testing.assert_allclose(np.asarray(mean), draws.mean(0), rtol=0, atol=1e-6)  # JAX's may be float32
        np.testing.assert_allclose(np.asarray(error), draws.std(0, ddof=1) / np.sqrt(7), rtol=1e-5)
    assert np.isnan(Estimate.of(draws[:1]).standard_error).all()


def test_labels_meet():
    """Arithmetic joins xarray's arrays by their dimensions, on either side of an array or a number."""
    a = Estimate(xarray.DataArray([1.0, 2.0], dims="x"), xarray.DataArray([0.1, 0.2], dims="x"))
    b = xarray.DataArray([1.0, 2.0, 4.0], dims="y")
    assert dict((a / b).value.sizes) == dict((a / b).standard_error.sizes) == {"x": 2, "y": 3}
    assert (1 / a).value.values.tolist() == [1.0, 0.5] and (np.ones(2) * Estimate(2.0, 1.0)).value.tolist() == [2, 2]
    mean = a.mean("x")
    assert float(mean.value) == 1.5 and float(mean.standard_error) == pytest.approx(np.hypot(0.1, 0.2) / 2, rel=1e-15)


def test_jackknife_of_a_mean_is_that_of_draws():
    draws = xarray.DataArray(np.random.default_rng(2).normal(size=(9, 2)), dims=("seed", "x"))
    for found in (
        Estimate.jackknife(lambda x: x.mean("seed"), draws, axis="seed"),
        Estimate.jackknife(lambda x: x.mean(0), draws.values),
    ):
        wanted = Estimate.of(draws, "seed")
        np.testing.assert_allclose(found.value, wanted.value, rtol=1e-13)
        np.testing.assert_allclose(found.standard_error, wanted.standard_error, rtol=1e-12)


def test_jackknife_knows_that_samples_are_paired():
    """The ratio of means of paired draws scatters as it says: twenty per cent is four s.d. of so many error bars."""
    rng, ratios, errors = np.random.default_rng(3), [], []
    for _ in range(300):
        x = rng.normal(5, 1, 40)
        y = 2 * x + rng.normal(0, 0.1, 40)
        found = Estimate.jackknife(lambda x, y: y.mean() / x.mean(), x, y)
        ratios.append(found.value)
        errors.append(found.standard_error)
    assert abs(np.std(ratios) / np.mean(errors) - 1) < 0.2
    with pytest.raises(ValueError, match="as many of each"):
        Estimate.jackknife(lambda x, y: 0, np.ones(3), np.ones(4))


def test_it_is_a_pytree():
    """It passes through jit and vmap."""
    twice = jax.jit(lambda one: 2 * one)(Estimate(jnp.ones(3), jnp.full(3, 0.5)))
    assert isinstance(twice, Estimate) and twice.standard_error.tolist() == [1, 1, 1]
    assert jax.vmap(lambda draws: Estimate.of(draws))(jnp.eye(4)).value.tolist() == [0.25] * 4
