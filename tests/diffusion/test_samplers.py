"""Samplers: exact recursions for a normal law, modes, limits of many steps, and what devices say to each other."""

from itertools import pairwise

import diffrax
import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import NamedSharding
from jax.sharding import PartitionSpec as P

from theorylab import diffusion
from theorylab.diffusion import sample_ancestral, sample_ddim, sample_flow, sample_sde

KEY = jax.random.key(0)
MEAN, COVARIANCE = np.asarray([2.0, -1.0]), np.asarray([[0.5, 0.2], [0.2, 0.3]])
SCHEDULE = diffusion.Schedule.linear_alpha(0.95, 0.6, 8)
BASIS = jnp.asarray([[0.0, 0.0], [1.0, 0.0], [0.0, 1.0]])


def clean(t):
    """The exact prediction of the clean point at a level, x -> A x + b."""
    ab = float(SCHEDULE.alpha_bar[t])
    gain = np.sqrt(ab) * COVARIANCE @ np.linalg.inv(ab * COVARIANCE + (1 - ab) * np.eye(2))
    return gain, MEAN - np.sqrt(ab) * gain @ MEAN


def apply(gains, offsets, x, t):
    """A model that is affine at every level."""
    return gains[t].astype(x.dtype) @ x + offsets[t].astype(x.dtype)


def exact():
    """The exact prediction of the noise for a normal law."""
    r, c = np.asarray(SCHEDULE.signal_root)[:, None], np.asarray(SCHEDULE.noise_root)[:, None]
    A, b = (np.stack(parts) for parts in zip(*map(clean, range(SCHEDULE.levels)), strict=True))
    return jax.tree_util.Partial(
        apply, jnp.asarray((np.eye(2) - r[..., None] * A) / c[..., None]), jnp.asarray(-r / c * b)
    )


EXACT = exact()


def chain(steps):
    """A chain of maps x -> A x + b + N(0, v), as one: A, b, and its covariance."""
    total, offset, covariance = np.eye(2), np.zeros(2), np.zeros((2, 2))
    for A, b, v in steps:
        total, offset, covariance = A @ total, A @ offset + b, A @ covariance @ A.T + v * np.eye(2)
    return total, offset, covariance


def ancestral():
    """As in the textbook: the mean and variance of the posterior, with the prediction for the clean point."""
    (on_clean, on_x), variance = map(np.asarray, SCHEDULE.posterior_coefficients), SCHEDULE.posterior_variance
    for t in reversed(range(SCHEDULE.levels)):
        A, b = clean(t)
        yield on_clean[t] * A + on_x[t] * np.eye(2), on_clean[t] * b, float(variance[t])


def ddim(levels, eta):
    """As in the textbook: predicted clean point, direction to x, noise."""
    ab = np.asarray(SCHEDULE.alpha_bar)
    for t, s in zip(levels, [*levels[1:], None], strict=True):
        (A, b), here, there = clean(t), ab[t], 1.0 if s is None else ab[s]
        variance = eta**2 * (1 - there) / (1 - here) * (1 - here / there)
        direction = np.sqrt((1 - there - variance) / (1 - here))
        on_clean = np.sqrt(there) - direction * np.sqrt(here)
        yield on_clean * A + direction * np.eye(2), on_clean * b, variance


def affine(samples):
    """The map that takes the basis to these samples."""
    samples = np.asarray(samples)
    return (samples[1:] - samples[:1]).T, samples[0]


@pytest.mark.parametrize(("steps", "levels"), [(None, range(7, -1, -1)), (3, [7, 5, 2]), (1, [7])])
def test_ddim_is_its_recursion_to_rounding(steps, levels):
    A, b = affine(jax.jit(lambda model, start: sample_ddim(model, SCHEDULE, start, steps=steps))(EXACT, BASIS))
    expected = chain(ddim(list(levels), 0.0))
    assert np.allclose(A, expected[0], rtol=0, atol=1e-13) and np.allclose(b, expected[1], rtol=0, atol=1e-13)


CHAINS = {
    "ancestral": (lambda start, key: sample_ancestral(EXACT, SCHEDULE, start, key), lambda: ancestral()),
    "ddim": (
        lambda start, key: sample_ddim(EXACT, SCHEDULE, start, key, eta=0.6, steps=4),
        lambda: ddim([7, 5, 3, 1], 0.6),
    ),
}


@pytest.mark.parametrize("name", CHAINS)
def test_chains_with_noise_have_the_moments_of_their_recursion(name):
    """The part of the start to rounding, by equal draws; that of the noise from 10,000 samples."""
    sample, steps = CHAINS[name]
    A, b, covariance = chain(steps())
    # one key for all three: each point draws by its place, so that points go one at a time
    same = jax.jit(jax.vmap(lambda x: sample(x[None], KEY)[0]))(BASIS)
    assert np.allclose(affine(same)[0], A, rtol=0, atol=1e-13)
    noise = jax.jit(sample)(np.zeros((10_000, 2)), KEY)
    errors = diffusion.moment_errors(noise, b, covariance)
    assert errors.mean < 4 * errors.mean_chance and errors.covariance < 4 * errors.covariance_chance


def test_the_chain_makes_the_law_of_its_recursion_and_that_law_is_nearly_the_data():
    """From a normal start; the distance that remains is that of the schedule, not of the samples."""
    A, b, covariance = chain(ancestral())
    law = np.asarray(b), A @ A.T + covariance
    start = jnp.asarray(np.random.default_rng(0).normal(size=(10_000, 2)))
    x0 = jax.jit(lambda start, key: sample_ancestral(EXACT, SCHEDULE, start, key))(start, jax.random.key(1))
    errors = diffusion.moment_errors(x0, *law)
    assert errors.mean < 4 * errors.mean_chance and errors.covariance < 4 * errors.covariance_chance


def constant(x, t):
    """A model whose prediction is the same at every level, so that nothing is interpolated."""
    return 0.7 * x


def test_steps_along_the_sde_are_euler_steps_to_rounding():
    ratios = np.asarray(SCHEDULE.noise_root / SCHEDULE.signal_root)
    steps, h = 5, np.log(ratios[-1] / ratios[0]) / 5
    sigmas = ratios[-1] * np.exp(-h * np.arange(steps))
    factor, variance = np.sqrt(1 + ratios[-1] ** 2), 0.0
    for sigma in sigmas:
        shrink = 1 - 2 * h * sigma * 0.7 / np.sqrt(1 + sigma**2)
        factor, variance = factor * shrink, variance * shrink**2 + 2 * h * sigma**2
    last = 1 - ratios[0] * 0.7 / np.sqrt(1 + ratios[0] ** 2)
    sample = eqx.filter_jit(lambda x: sample_sde(constant, SCHEDULE, x, KEY, steps=steps, solver=diffrax.Euler()))
    zero, one = sample(jnp.zeros((10_000, 1))), sample(jnp.ones((10_000, 1)))
    assert np.allclose(one - zero, factor * last, rtol=1e-12, atol=0)
    errors = diffusion.moment_errors(zero, jnp.zeros(1), [[float(variance * last**2)]])
    assert errors.mean < 4 * errors.mean_chance and errors.covariance < 4 * errors.covariance_chance


def test_the_flow_takes_heuns_steps_to_rounding():
    ratios = np.asarray(SCHEDULE.noise_root / SCHEDULE.signal_root)
    h = np.log(ratios[-1] / ratios[0]) / 3
    sigmas, factor = ratios[-1] * np.exp(-h * np.arange(4)), np.sqrt(1 + ratios[-1] ** 2)
    slopes = -h * 0.7 * sigmas / np.sqrt(1 + sigmas**2)
    for first, second in pairwise(slopes):
        factor = factor * (1 + (first + second * (1 + first)) / 2)
    factor *= 1 - ratios[0] * 0.7 / np.sqrt(1 + ratios[0] ** 2)
    found = jax.jit(lambda start: sample_flow(constant, SCHEDULE, start, steps=3))(np.ones((1, 1)))
    assert found.item() == pytest.approx(factor, rel=1e-12)


def fine(T):
    """The same continuous schedule in T levels, and the exact denoiser of a law of variance 1/4."""
    schedule = diffusion.Schedule.linear_beta(0.5 / T, 12 / T, T)
    gains = schedule.noise_root / (1 - 0.75 * schedule.alpha_bar)
    return jax.tree_util.Partial(apply, gains[:, None, None], jnp.zeros((T, 1))), schedule


def flow_factor(schedule):
    """The exact flow of a normal law from the last level to the first, and the last step."""
    ab = np.asarray(schedule.alpha_bar)
    scale = np.sqrt(0.25 * ab + 1 - ab)  # of the noised law
    return scale[0] / scale[-1] * np.sqrt(ab[0]) * 0.25 / scale[0] ** 2


def test_ddim_becomes_the_flow_as_levels_grow_dense_and_the_flow_is_exact():
    """Errors fall as 1/T for DDIM and as 1/T^2 for the flow, rates of which the next orders leave a third in doubt."""

    @jax.jit
    def both(model, schedule):
        start = jnp.ones((1, 1))
        return sample_ddim(model, schedule, start), sample_flow(model, schedule, start, steps=1000)

    gaps = []
    for T in (64, 128):
        model, schedule = fine(T)
        exact = flow_factor(schedule)
        chain, along = (one.item() for one in both(model, schedule))
        gaps.append((abs(chain - exact), abs(along - exact), abs(chain - along)))
    rates = np.log2(np.asarray(gaps[0]) / np.asarray(gaps[1]))
    assert np.allclose(rates, [1, 2, 1], rtol=0, atol=1 / 3), (gaps, rates)


def test_the_sde_leads_to_the_data():
    """A law of variance 1/4, whose last step takes the posterior mean; beside chance, some 1/N^2 of the steps."""
    model, schedule = fine(100)
    ab = float(schedule.alpha_bar[0])
    variance = ab * 0.25**2 / (0.25 * ab + 1 - ab)
    start = jnp.asarray(np.random.default_rng(0).normal(size=(10_000, 1)))
    x0 = jax.jit(lambda start, key: sample_sde(model, schedule, start, key, steps=60))(start, jax.random.key(1))
    errors = diffusion.moment_errors(x0, jnp.zeros(1), [[variance]])
    assert errors.mean < 4 * errors.mean_chance
    assert errors.covariance < 4 * errors.covariance_chance + 0.25 * 10 / 60**2


MODES = diffusion.GaussianMixture([[-2.0, 0.0], [2.0, 0.0], [0.0, 2.0]], 0.25, [0.2, 0.3, 0.5])


@pytest.mark.parametrize("name", ["ancestral", "flow", "sde"])
def test_modes_have_their_shares(name):
    schedule = diffusion.Schedule.cosine(60)
    model, start = (
        diffusion.bayes_denoiser(MODES, schedule),
        jnp.asarray(np.random.default_rng(0).normal(size=(1000, 2))),
    )
    sample = {
        "ancestral": lambda model, start: sample_ancestral(model, schedule, start, jax.random.key(1)),
        "flow": lambda model, start: sample_flow(model, schedule, start),
        "sde": lambda model, start: sample_sde(model, schedule, start, jax.random.key(1)),
    }[name]
    x0 = jax.jit(sample)(model, start)
    shares, errors = diffusion.mode_proportions(x0, lambda x: MODES.posterior(x, 1.0))
    assert np.all(np.abs(shares - MODES.weights) < 4 * errors), (shares, errors)


ALL = {
    "ancestral": lambda model, start, **options: sample_ancestral(model, SCHEDULE, start, KEY, **options),
    "ddim": lambda model, start, **options: sample_ddim(model, SCHEDULE, start, KEY, eta=0.5, steps=4, **options),
    "flow": lambda model, start, **options: sample_flow(model, SCHEDULE, start, steps=6, **options),
    "sde": lambda model, start, **options: sample_sde(model, SCHEDULE, start, KEY, steps=6, **options),
}
START = jnp.asarray(np.random.default_rng(2).normal(size=(8, 2)))


def run(name, model, start, **options):
    return jax.jit(lambda model, start: ALL[name](model, start, **options))(model, start)


@pytest.mark.parametrize("name", ALL)
def test_points_are_dealt_out_and_know_nothing_of_each_other(name):
    """Devices have nothing to say to each other nor to the host; three points alone take the path of three of eight."""
    mesh = jax.sharding.Mesh(np.asarray(jax.local_devices()), ("batch",))
    spread, everywhere = NamedSharding(mesh, P("batch")), NamedSharding(mesh, P())
    model, start = jax.device_put(EXACT, everywhere), jax.device_put(START, spread)
    program = jax.jit(ALL[name], out_shardings=spread).lower(model, start).compile()
    text = program.as_text()
    assert "num_partitions=8" in text
    for word in ("all-reduce", "all-gather", "all-to-all", "collective-permute", "reduce-scatter", "callback"):
        assert word not in text
    x0 = program(model, start)

    path = run(name, EXACT, START[:3], trajectory=True)
    assert path.shape == ({"ancestral": 9, "ddim": 5}.get(name, 8), 3, 2)
    assert np.array_equal(path[0], START[:3]) and np.allclose(path[-1], x0[:3], rtol=0, atol=1e-13)


@pytest.mark.parametrize("target", ["x0", "v", "score"])
def test_any_parametrisation_gives_the_same_samples(target):
    model = diffusion.reparametrise(EXACT, SCHEDULE, source="epsilon", target=target)

    @jax.jit
    def both(start):
        one = sample_ddim(model, SCHEDULE, start, steps=2, parametrisation=target)
        return one, sample_ddim(EXACT, SCHEDULE, start, steps=2)

    assert np.allclose(*both(START), rtol=0, atol=1e-12)


def test_half_precision():
    """It runs in float32 between the model's calls, and draws as float32 does."""
    start = START.astype(jnp.bfloat16)
    half, whole = run("ddim", EXACT, start), run("ddim", EXACT, start.astype(jnp.float32))
    assert half.dtype == jnp.bfloat16 and whole.dtype == jnp.float32
    # four steps, each with the rounding of bfloat16, 2**-8, of values up to 4
    assert np.allclose(half.astype(jnp.float32), whole, rtol=0, atol=4 * 4 * 2**-8)


def test_both_precisions_agree():
    """Eight steps, of values up to 4, each with some roundings of float32."""
    for name in ("flow", "ddim"):
        sample = sample_flow if name == "flow" else sample_ddim
        sample = jax.jit(lambda start, sample=sample: sample(EXACT, SCHEDULE, start))
        wide, short = sample(START), sample(START.astype(jnp.float32))
        assert short.dtype == jnp.float32 and np.allclose(short, wide, rtol=0, atol=50 * 4 * 2**-24)


def test_samples_can_be_differentiated_in_the_model():
    """Against a central difference, whose error is of the order of its step squared, and rounding over the step."""

    def mean(scale):
        return jnp.mean(sample_flow(lambda x, t: scale * jnp.tanh(x), SCHEDULE, START, steps=2))

    value, slope = jax.jit(mean), jax.jit(jax.grad(mean))(jnp.asarray(0.5))
    step = 1e-5
    assert float(slope) == pytest.approx(float(value(0.5 + step) - value(0.5 - step)) / (2 * step), rel=1e-7)


def test_a_second_call_compiles_nothing_and_sees_what_the_model_has_learned(compilations):
    start, weights = jnp.ones((4, 3)), [jnp.asarray(0.0)]

    def sample(scale):
        weights[0] = jnp.asarray(scale)
        return sample_ancestral(lambda x, t: weights[0] * x, SCHEDULE, start, jax.random.key(0))

    first = sample(0.1)
    with compilations() as count:
        second, again = sample(0.2), sample(0.1)
        assert count() == 0
    assert not np.allclose(first, second, rtol=1e-3) and np.array_equal(first, again)


def test_one_level_is_one_step():
    schedule = diffusion.Schedule.from_alphas([0.3])
    model, start = jax.tree_util.Partial(apply, 0.5 * jnp.ones((1, 2, 2)), jnp.ones((1, 2))), BASIS
    expected = (start - np.sqrt(0.7) * (0.5 * jnp.sum(start, axis=1, keepdims=True) + 1)) / np.sqrt(0.3)

    @jax.jit
    def every(model, start):
        return (
            sample_ancestral(model, schedule, start, KEY),
            sample_ddim(model, schedule, start),
            sample_flow(model, schedule, start, steps=2),
            sample_sde(model, schedule, start, KEY, steps=2),
        )

    for x0 in every(model, start):
        assert np.allclose(x0, expected, rtol=0, atol=1e-13)


def test_bad_input_is_named():
    start = jnp.zeros((3, 2))
    with pytest.raises(ValueError, match=r"eta = 1.5 must lie in \[0, 1\]"):
        sample_ddim(EXACT, SCHEDULE, start, KEY, eta=1.5)
    with pytest.raises(ValueError, match=r"eta = 0.5 draws noise at every step: pass a key"):
        sample_ddim(EXACT, SCHEDULE, start, eta=0.5)
    with pytest.raises(ValueError, match=r"steps = 9 is more than the 8 levels"):
        sample_ddim(EXACT, SCHEDULE, start, steps=9)
    with pytest.raises(ValueError, match=r"steps = 0 must be an integer from 1 on"):
        sample_flow(EXACT, SCHEDULE, start, steps=0)
    with pytest.raises(ValueError, match=r"start has the shape \(3,\)"):
        sample_flow(EXACT, SCHEDULE, start[:, 0])
    with pytest.raises(ValueError, match=r"point of the shape \(2,\) to \(\)"):
        sample_ancestral(lambda x, t: jnp.sum(x), SCHEDULE, start, KEY)
    with pytest.raises(ValueError, match=r"parametrisation = 'noise' is not one of"):
        sample_sde(EXACT, SCHEDULE, start, KEY, parametrisation="noise")
