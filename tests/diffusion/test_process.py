"""The forward process, and conversions between parametrisations by round trips and by derivatives."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from theorylab.diffusion import Schedule, convert, diffuse, reparametrise
from theorylab.diffusion.process import PARAMETRISATIONS

SCHEDULE = Schedule.from_alphas([0.99, 0.9, 0.5, 0.1, 0.01])
PAIRS = list(itertools.permutations(PARAMETRISATIONS, 2))


def truth(dtype):
    """Levels, noised points, and what an exact model of each parametrisation would say, each by its definition."""
    rng = np.random.default_rng(0)
    schedule = Schedule.from_alphas(jnp.asarray(SCHEDULE.alphas, dtype))
    t = jnp.arange(5)
    x0, epsilon = (jnp.asarray(rng.normal(size=(5, 3, 2)), dtype) for _ in range(2))
    r, c = (jnp.expand_dims(root, (1, 2)) for root in (schedule.signal_root, schedule.noise_root))
    x = r * x0 + c * epsilon
    return schedule, t, x, {"epsilon": epsilon, "x0": x0, "v": r * epsilon - c * x0, "score": -epsilon / c}


@pytest.mark.parametrize("source, target", PAIRS)
def test_conversions_give_the_definitions_and_come_back(source, target, dtype):
    schedule, t, x, exact = truth(dtype)
    found = convert(exact[source], x, t, schedule, source=source, target=target)
    back = convert(found, x, t, schedule, source=target, target=source)
    assert found.dtype == dtype
    # what is lost is what the roots amplify: by 1/c at the first level, 1/sqrt(alpha_bar) at the last, or both
    worst = float(1 / (schedule.noise_root[0] * schedule.signal_root[-1])) ** 2
    tolerance = 20 * worst * np.finfo(dtype).eps * float(jnp.abs(x).max())
    np.testing.assert_allclose(found, exact[target], rtol=0, atol=tolerance)
    np.testing.assert_allclose(back, exact[source], rtol=0, atol=tolerance)


def test_nothing_cancels():
    """Float32 against float64 at the hardest levels: each term is right to roundings of itself."""
    schedule, t, x, exact = truth("float64")
    single = Schedule.from_alphas(schedule.alphas.astype(jnp.float32))
    double = Schedule.from_alphas(single.alphas.astype(jnp.float64))
    for source, target in PAIRS:
        for p, point in ((exact[source], 0 * x), (0 * x, x)):  # one term at a time
            p32, x32 = p.astype(jnp.float32), point.astype(jnp.float32)
            found = convert(p32, x32, t, single, source=source, target=target)
            wide = convert(p32.astype(float), x32.astype(float), t, double, source=source, target=target)
            # the roots themselves: 1 - alpha_bar is right to eps / (1 - alpha_bar), 100 eps here
            np.testing.assert_allclose(found, wide, rtol=1000 * np.finfo(np.float32).eps, atol=1e-30)


def test_the_score_is_the_gradient_of_the_log_density():
    schedule, t, x, exact = truth("float64")
    r, c = schedule.signal_root, schedule.noise_root

    def log_density(x, x0, t):
        return -jnp.sum((x - r[t] * x0) ** 2) / (2 * c[t] ** 2)

    score = jax.vmap(jax.grad(log_density))(x, exact["x0"], t)
    found = convert(exact["epsilon"], x, t, schedule, source="epsilon", target="score")
    np.testing.assert_allclose(found, score, rtol=1e-10)  # x - r x0 cancels to the noise, c = 0.1 of it


def test_v_is_the_velocity_along_the_angle():
    """x(phi) = cos(phi) x0 + sin(phi) epsilon: v is its derivative."""
    schedule, t, x, exact = truth("float64")
    phi = jnp.expand_dims(jnp.arctan2(schedule.noise_root, schedule.signal_root), (1, 2))

    def path(phi):
        return jnp.cos(phi) * exact["x0"] + jnp.sin(phi) * exact["epsilon"]

    _, velocity = jax.jvp(path, (phi,), (jnp.ones_like(phi),))
    found = convert(exact["x0"], x, t, schedule, source="x0", target="v")
    np.testing.assert_allclose(found, velocity, rtol=0, atol=1e-13)


def test_one_point_and_a_batch_are_the_same():
    schedule, t, x, exact = truth("float64")
    whole = diffuse(exact["x0"], t, exact["epsilon"], schedule)
    np.testing.assert_allclose(whole, x, rtol=1e-15)
    for i in range(5):
        np.testing.assert_allclose(diffuse(exact["x0"][i], i, exact["epsilon"][i], schedule), whole[i], rtol=1e-15)


def test_a_noised_point_has_the_law_of_the_chain():
    """Stepping x <- sqrt(alpha) x + sqrt(beta) z through all levels: the same mean and variance, by linearity."""
    mean, variance = 1.0, 0.0
    for t, alpha in enumerate(np.asarray(SCHEDULE.alphas)):
        mean, variance = np.sqrt(alpha) * mean, alpha * variance + 1 - alpha
        one = jnp.ones(1)
        np.testing.assert_allclose(diffuse(one, t, 0 * one, SCHEDULE)[0], mean, rtol=1e-14)
        np.testing.assert_allclose(diffuse(0 * one, t, one, SCHEDULE)[0] ** 2, variance, rtol=1e-13)


def test_a_model_of_another_parametrisation():
    schedule, _, x, exact = truth("float64")
    model = reparametrise(lambda x, t: exact["v"][t], schedule, source="v")
    np.testing.assert_allclose(model(x[2], 2), exact["epsilon"][2], rtol=1e-13)


@pytest.mark.parametrize(
    "call, said",
    [
        (lambda x, t: diffuse(x, t, x[:4], SCHEDULE), r"noise has the shape \(4, 2\)"),
        (lambda x, t: diffuse(x, t[:3], x, SCHEDULE), r"t has the shape \(3,\)"),
        (lambda x, t: diffuse(x, t + 1, x, SCHEDULE), r"t = 5 lies outside 0\.\.4"),
        (lambda x, t: diffuse(x, t - 1, x, SCHEDULE), r"t = -1 lies outside"),
        (lambda x, t: convert(x, x, t + 1, SCHEDULE, source="v"), r"t = 5 lies outside"),
        (lambda x, t: convert(x, x, t, SCHEDULE, source="eps"), "source = 'eps'"),
        (lambda x, t: convert(x, x, t, SCHEDULE, source="v", target="noise"), "target = 'noise'"),
        (lambda x, t: convert(x[:3], x, t, SCHEDULE, source="v"), r"prediction has the shape \(3, 2\)"),
        (lambda x, t: reparametrise(lambda x, t: x, SCHEDULE, source="mean"), "source = 'mean'"),
    ],
)
def test_bad_input_is_refused(call, said):
    with pytest.raises(ValueError, match=said):
        call(jnp.ones((5, 2)), jnp.arange(5))
