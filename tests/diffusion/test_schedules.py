"""Noise schedules against their definitions and against Gaussian conditioning."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from theorylab.diffusion import Schedule

SCHEDULES = {
    "linear_alpha": Schedule.linear_alpha(0.98, 0.95, 50),
    "linear_beta": Schedule.linear_beta(1e-4, 0.02, 200),
    "cosine": Schedule.cosine(40),
    "one": Schedule.from_alphas([0.3]),
}


@pytest.fixture(params=SCHEDULES)
def schedule(request):
    return SCHEDULES[request.param]


def close(a, b, roundings=100):
    np.testing.assert_allclose(a, b, rtol=roundings * np.finfo(np.asarray(a).dtype).eps)


def test_linear_schedules_are_linear():
    t = np.arange(50)
    close(SCHEDULES["linear_alpha"].alphas, 0.98 - 0.03 * t / 49)
    betas = np.asarray(SCHEDULES["linear_beta"].betas)
    np.testing.assert_allclose(betas, np.linspace(1e-4, 0.02, 200), rtol=0, atol=2e-16)  # a difference from 1


def test_cosine_is_a_cosine_until_its_bound_acts():
    schedule = SCHEDULES["cosine"]
    f = np.cos((np.arange(41) / 40 + 0.008) / 1.008 * np.pi / 2) ** 2
    close(schedule.alpha_bar[:-1], f[1:-1] / f[0])
    close(schedule.alphas[-1], 0.001)
    assert (schedule.betas <= 0.999).all()


def test_facts_follow_from_the_alphas(schedule):
    products = np.cumprod(np.asarray(schedule.alphas))
    close(schedule.alpha_bar, products)
    close(schedule.snr, products / (1 - products), 1e4)
    close(schedule.signal_root**2 + schedule.noise_root**2, np.ones(schedule.levels))
    assert schedule.previous_alpha_bar[0] == 1
    close(schedule.previous_alpha_bar * schedule.alphas, products)


def test_the_posterior_is_gaussian_conditioning(schedule):
    """From the joint covariance of the two states, given x0, by the Schur complement."""
    before, alpha, x0, x = 1 - schedule.previous_alpha_bar, schedule.alphas, 0.7, -1.3
    here = alpha * before + schedule.betas  # the variance of x_t given x0, by one step of the chain
    gain = jnp.sqrt(alpha) * before / here
    mean_before = jnp.sqrt(schedule.previous_alpha_bar) * x0
    mean = mean_before + gain * (x - jnp.sqrt(alpha) * mean_before)
    a, b = schedule.posterior_coefficients
    np.testing.assert_allclose(a * x0 + b * x, mean, rtol=0, atol=1e-11)  # betas of 1e-4 lose four digits of sixteen
    np.testing.assert_allclose(
        schedule.posterior_variance, before - gain**2 * here, rtol=0, atol=1e-11 * float(schedule.betas.max())
    )
    assert schedule.posterior_variance[0] == 0


def test_a_schedule_can_be_swept_and_differentiated(dtype):
    def last(first):
        return Schedule.linear_alpha(first, jnp.asarray(0.9, dtype), 10).alpha_bar[-1]

    firsts = jnp.asarray([0.99, 0.95], dtype)
    many = jax.vmap(last)(firsts)
    assert many.dtype == dtype
    close(many, [np.prod(np.linspace(float(first), float(jnp.asarray(0.9, dtype)), 10)) for first in firsts])
    step = 1e-5
    quotient = (last(0.95 + step) - last(0.95 - step)) / (2 * step)
    if dtype == "float64":
        np.testing.assert_allclose(jax.grad(last)(0.95), quotient, rtol=1e-7)  # its third derivative times step^2


@pytest.mark.parametrize(
    "make, said",
    [
        (lambda: Schedule.from_alphas([0.9, 1.0]), r"alphas\[1\] = 1.0"),
        (lambda: Schedule.from_alphas([-0.1]), r"alphas\[0\]"),
        (lambda: Schedule.from_alphas([0.5, float("nan")]), r"alphas\[1\] = nan"),
        (lambda: Schedule.linear_alpha(1.2, 0.9, 5), r"alphas\[0\] = 1.2"),
        (lambda: Schedule.from_alphas(np.full(2000, 0.5)), r"alpha_bar\[10..\] = 0.0"),
        (lambda: Schedule.from_alphas(np.full(3, 1 - 1e-5, np.float16)), r"alphas\[0\] = 1.0"),
        (lambda: Schedule.from_alphas([]), r"shape \(0,\)"),
        (lambda: Schedule.from_alphas([[0.5]]), r"shape \(1, 1\)"),
        (lambda: Schedule.cosine(0), "levels = 0"),
        (lambda: Schedule.linear_beta(1e-4, 0.02, -3), "levels = -3"),
    ],
)
def test_bad_schedules_are_refused(make, said):
    with pytest.raises(ValueError, match=said):
        make()
