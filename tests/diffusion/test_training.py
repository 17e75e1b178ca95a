"""Training by the engine: known optima, averages, sweeps, frozen parts, other libraries, failures, restarts."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import theorylab as tl
from theorylab.diffusion import (
    Averaged,
    DenoisingProblem,
    LinearAttention,
    Schedule,
    SoftmaxAttention,
    counter_normal,
    denoising_loss,
    fit,
    oracle_start,
)
from theorylab.numerics import normal

SCHEDULE = Schedule.from_alphas([0.9, 0.6, 0.6])
KEY = jax.random.key(0)


def sampler(key):
    """Draws by counter compile in half the time of threefry's."""
    return 2.0 + counter_normal(key, (16, 3, 2))


class Scale(eqx.Module):
    """The model a x: its risk is a parabola in a."""

    a: jax.Array

    def __call__(self, x, t):
        return self.a * x


def best_scale(second_moment):
    """The minimiser of mean_t [(a c - 1)^2 + a^2 abar m] over a."""
    c, abar = SCHEDULE.noise_root, SCHEDULE.alpha_bar
    return float(jnp.sum(c) / jnp.sum(c**2 + abar * second_moment))


def test_descent_finds_the_best_linear_denoiser():
    """The mean of the second half of the run, within 4 standard errors by batches of 20 steps."""
    x0 = jnp.asarray(np.random.default_rng(3).normal(size=(64, 4)))
    problem = DenoisingProblem(Scale(jnp.zeros(())), x0, SCHEDULE, batch=64, levels="stratified", noise="counter")
    record = tl.Record(tl.every(1), a=lambda problem, state: state.x.a)
    run = tl.solve(tl.Gradient(optax.sgd, learning_rate=0.1), problem, key=KEY, steps=400, record=record)
    means = np.asarray(run.trace.a[201:]).reshape(10, 20).mean(1)
    assert abs(means.mean() - best_scale(float(jnp.mean(x0**2)))) < 4 * means.std(ddof=1) / np.sqrt(10)


def test_the_average_is_the_recursion_of_its_formula():
    method = tl.Gradient(optax.sgd, learning_rate=0.05)
    record = tl.Record(tl.every(1), a=lambda problem, state: state.x.a)
    problem = DenoisingProblem(Scale(jnp.zeros(())), sampler, SCHEDULE, noise="counter")
    plain = tl.solve(method, problem, key=KEY, steps=20, record=record)
    averaged = tl.solve(Averaged(method, 0.9), problem, key=KEY, steps=20, record=record)
    expected = float(plain.trace.a[0])
    for a in np.asarray(plain.trace.a[1:]):
        expected = 0.9 * expected + 0.1 * a
    np.testing.assert_allclose(averaged.trace.a, plain.trace.a, rtol=1e-13)
    np.testing.assert_allclose(averaged.value.a, expected, rtol=1e-13)


def test_fit_is_solve_and_evaluates_what_it_returns():
    model = LinearAttention(jnp.eye(2), 0 * jnp.eye(2))
    held_out = sampler(jax.random.key(9))
    trained, run = fit(
        model,
        sampler,
        SCHEDULE,
        optax.sgd(0.05),
        steps=30,
        key=KEY,
        noise="counter",
        held_out=held_out,
        rows=3,
        ema=0.8,
    )
    problem = DenoisingProblem(model, sampler, SCHEDULE, noise="counter")
    by_hand = tl.solve(Averaged(tl.Gradient(optax.sgd(0.05)), 0.8), problem, key=KEY, steps=30)
    assert eqx.tree_equal(trained, problem.model(by_hand.value), rtol=1e-12, atol=1e-14)  # another record's program
    assert run.trace.step.tolist() == [0, 10, 20, 30]
    key = tl.keys.stream(KEY, "held_out_noise")
    for row, one in ((0, model), (-1, trained)):
        loss = denoising_loss(one, held_out, SCHEDULE, key=key, levels="stratified")
        np.testing.assert_allclose(run.trace.held_out[row], loss, rtol=1e-12)
    assert run.trace.held_out[-1] < run.trace.held_out[0]


def test_what_is_not_trainable_stays():
    model = SoftmaxAttention(*oracle_start(2, 0.7, v=0.1))
    spec = eqx.tree_at(lambda m: m.S, jax.tree.map(lambda _: True, model), False)
    problem = DenoisingProblem(model, sampler, SCHEDULE, trainable=spec, noise="counter")
    run = tl.solve(tl.Gradient(optax.sgd, learning_rate=0.05), problem, key=KEY, steps=5)
    assert run.value.S is None
    trained = problem.model(run.value)
    np.testing.assert_array_equal(trained.S, model.S)
    assert bool((trained.V != model.V).any()) and bool((trained.W != model.W).any())


def test_a_sweep_over_rates_and_seeds_is_a_loop_of_solves():
    def build(key, *, learning_rate):
        start = LinearAttention(jnp.eye(2), 0.1 * normal(key, (2, 2)))
        problem = DenoisingProblem(start, sampler, SCHEDULE, levels=jnp.asarray([1.0, 1.0, 0.0]), noise="counter")
        return tl.Gradient(optax.sgd, learning_rate=learning_rate), problem

    rates = jnp.asarray([0.01, 0.05])
    dataset = tl.sweep(build, over={"learning_rate": rates}, seeds=2, key=KEY, steps=8)
    for seed in range(2):
        own = tl.keys.seed_key(KEY, seed)
        method, problem = build(tl.keys.build_key(own), learning_rate=rates[1])
        alone = tl.solve(method, problem, key=own, steps=8)
        lane = dataset.isel(learning_rate=1, seed=seed)
        found = {name: lane[name].values for name in lane if name.startswith("value")}
        for name, value in (("S", alone.value.S), ("V", alone.value.V)):
            np.testing.assert_allclose(found[f"value.{name}"], value, rtol=1e-11, atol=1e-13)


def apply(params, x, t):
    return x @ params["kernel"] + params["bias"][None]


PARAMS = {"kernel": jnp.eye(2), "bias": jnp.zeros(2)}


def by_function():
    return jax.tree_util.Partial(apply, PARAMS)


def by_linen():
    dense = pytest.importorskip("flax.linen", reason="an extra of the package").Dense(2, param_dtype=jnp.float64)
    return jax.tree_util.Partial(lambda params, x, t: dense.apply({"params": params}, x), PARAMS)


def by_nnx():
    nnx = pytest.importorskip("flax.nnx", reason="an extra of the package")

    class Dense(nnx.Module):
        def __init__(self):
            self.dense = nnx.Linear(2, 2, rngs=nnx.Rngs(0), param_dtype=jnp.float64)

        def __call__(self, x, t):
            return self.dense(x)

    model = Dense()
    model.dense.kernel[...], model.dense.bias[...] = PARAMS["kernel"], PARAMS["bias"]
    return model


def test_other_libraries_train_by_the_same_call(standard_promotion):
    found = []
    with jax.numpy_rank_promotion("allow"):
        for make in (by_function, by_linen, by_nnx):
            trained, _ = fit(make(), sampler, SCHEDULE, optax.adam(0.01), steps=5, key=KEY, noise="counter")
            found.append(trained(jnp.eye(2), 0))
    assert float(jnp.abs(found[0] - jnp.eye(2)).max()) > 0.01
    for one in found[1:]:
        np.testing.assert_allclose(one, found[0], rtol=1e-12)


def test_a_loss_that_is_not_finite_stops_with_its_step():
    """The root of a negative number: the loss is NaN once the parameter has passed 1, and so is its gradient."""

    def root(a, x, t):
        return jnp.sqrt(1 - a) * x

    def run(start, **keywords):
        model = jax.tree_util.Partial(root, jnp.asarray(start))
        return fit(model, sampler, SCHEDULE, optax.sgd(1e-6), steps=5, key=KEY, noise="counter", **keywords)[1]

    assert run(0.0).status == tl.Status.max_steps
    bad = run(2.0)
    assert bad.status == tl.Status.nonfinite and int(bad.steps) == 1
    with pytest.raises(RuntimeError, match="step 1"):
        run(2.0, throw=True)


def test_a_stored_run_goes_on_where_it_was(tmp_path, monkeypatch):
    monkeypatch.setattr("theorylab.engine._disk.store.Store.seconds", 0.0)
    model = Scale(jnp.zeros(()))

    def train(**keywords):
        return fit(
            model, sampler, SCHEDULE, optax.sgd(0.05), steps=12, key=KEY, rows=4, ema=0.5, noise="counter", **keywords
        )

    def stop(step, row):
        if step == 6:
            raise KeyboardInterrupt

    whole, _ = train()
    with pytest.raises(KeyboardInterrupt):
        train(store=tmp_path, chunk=3, log=stop)
    resumed, _ = train(store=tmp_path)
    assert eqx.tree_equal(resumed, whole)


@pytest.mark.parametrize(
    "change, error, said",
    [
        ({"model": lambda x, t: x}, TypeError, "no floating array to train"),
        ({"data": jnp.ones((5, 2))}, ValueError, "batch = None"),
        ({"batch": 4}, ValueError, "batch = 4"),
        ({"data": jnp.ones((5, 2)), "batch": 0}, ValueError, "batch = 0"),
    ],
)
def test_bad_input_is_refused(change, error, said):
    given = {"model": Scale(jnp.zeros(())), "data": sampler, "schedule": SCHEDULE} | change
    with pytest.raises(error, match=said):
        DenoisingProblem(**given)


def test_a_bad_decay_is_refused():
    with pytest.raises(ValueError, match=r"decay = 1\.0"):
        Averaged(tl.Gradient(optax.sgd, learning_rate=0.1), 1.0)
