"""Sweeps against loops of solves: the levels, the draws, blocks, devices, compaction, bad input."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import theorylab as tl
from tests.engine.problems import Linear, Objective, Relax, norm
from theorylab.engine._run.levels import batched
from theorylab.engine._sweep.lanes import dependence
from theorylab.engine._sweep.plan import Plan
from theorylab.engine._sweep.request import Request

KEY = jax.random.key(3)
RECORD = tl.Record(tl.every(6), e=norm)
OVER = {"rate": [0.05, 0.1, 0.2], "scale": [1.0, 2.0]}


def build(key, *, rate, scale):
    """`rate` touches the method alone, `scale` the problem, the seed the starting point."""
    return Relax(rate, 0.1), Linear(scale * jnp.asarray([1.0, 2.0, 4.0]), jnp.ones(3)), jax.random.normal(key, (3,))


def run(**keywords):
    asked = {"over": OVER, "seeds": 3, "key": KEY, "steps": 24, "record": RECORD}
    return tl.sweep(build, **asked | keywords)


@pytest.fixture(scope="module")
def reference():
    return run()


def rounding(a, b, names=("value", "e")):
    """Equal to some roundings of a 24-step run."""
    for name in names:
        np.testing.assert_allclose(a[name], b[name], rtol=1e-12, atol=1e-14)


def test_lanes_are_solves(reference):
    assert dict(reference.sizes) == {"rate": 3, "scale": 2, "seed": 3, "value_0": 3, "step": 5}
    for rate, scale, seed in [(0.05, 1.0, 0), (0.2, 2.0, 2)]:
        own = tl.keys.seed_key(KEY, seed)
        method, problem, x0 = build(tl.keys.build_key(own), rate=jnp.asarray(rate), scale=jnp.asarray(scale))
        alone = tl.solve(method, problem, x0, key=own, steps=24, record=RECORD)
        lane = reference.sel(rate=rate, scale=scale, seed=seed)
        np.testing.assert_allclose(lane.value, alone.value, rtol=1e-12)
        np.testing.assert_allclose(lane.e, alone.trace.e, rtol=1e-12)


@pytest.mark.parametrize("chunk", [1, 5])
def test_chunks_change_no_bit(reference, chunk):
    assert run(chunk=chunk).equals(reference)


@pytest.mark.parametrize("lanes", ["vmap", "map"])
def test_both_ways_to_lay_out_the_levels_agree(reference, lanes):
    rounding(run(lanes=lanes), reference)


def test_draws_depend_neither_on_order_nor_on_the_subset(reference):
    turned = run(over={"scale": [2.0, 1.0], "rate": [0.2, 0.05]}, seeds=[2, 0])
    rounding(
        turned,
        reference.sel(scale=turned.scale, rate=turned.rate, seed=turned.seed).transpose(*turned.e.dims, "value_0"),
    )


def test_blocks_hold_the_same_lanes(reference):
    blocked = run(memory_limit=2000)
    assert json.loads(blocked.attrs["stats"])["blocks"] > 1
    rounding(blocked, reference)


def test_a_block_smaller_than_a_lane_still_runs(reference):
    rounding(run(memory_limit=1), reference)


def test_scratch_that_the_guess_cannot_see_makes_blocks_narrower():
    """A step whose scratch is a matrix where its state is a vector: only the compiled program tells."""

    class Heavy(Relax):
        def step(self, problem, state, key):
            outer = jnp.sin(jnp.outer(state.x, jnp.arange(1.0, 65.0)) * self.rate)  # (64, 64) a lane
            return tl.engine.State(jnp.linalg.solve(outer @ outer.T + jnp.eye(64), state.x))

    def heavy(key, *, rate):
        return Heavy(rate), Linear(jnp.ones(64), jnp.ones(64))

    asked = {"over": {"rate": np.linspace(0.1, 0.2, 16)}, "key": KEY, "steps": 2, "mesh": jax.local_devices()[:1]}
    whole, few = tl.sweep(heavy, **asked), tl.sweep(heavy, memory_limit=500_000, **asked)
    assert json.loads(whole.attrs["stats"])["blocks"] == 1
    assert 2 <= json.loads(few.attrs["stats"])["blocks"] <= 8  # 16 lanes of some 60 kB
    np.testing.assert_allclose(few.value, whole.value, rtol=1e-9)


def test_one_device_and_eight_agree(reference):
    assert jax.local_device_count() == 8
    rounding(run(mesh=jax.local_devices()[:1]), reference)
    rounding(run(mesh=jax.local_devices()[:5]), reference)  # 6 outer lanes over 5 devices: padded


def test_inner_lanes_spread_over_devices_when_seeds_are_few():
    def one(key, *, rate):
        return Relax(rate, 0.1), Linear(jnp.asarray([1.0, 2.0]), jnp.ones(2))

    rates = np.linspace(0.01, 0.2, 37)
    spread = tl.sweep(one, over={"rate": rates}, key=KEY, steps=10)
    rounding(spread, tl.sweep(one, over={"rate": rates}, key=KEY, steps=10, mesh=jax.local_devices()[:1]), ["value"])


def test_devices_have_nothing_to_say_to_each_other():
    """No collective stands in the compiled program of a sharded sweep."""
    from theorylab.engine import program

    before = set(program._programs)
    run(over={"rate": [0.05, 0.1], "scale": [1.0, 2.0]})
    texts = [p.call.as_text() for name, p in program._programs.items() if name not in before]
    assert texts and any("num_partitions=6" in text for text in texts)
    for word in ("all-reduce", "all-gather", "all-to-all", "collective-permute", "reduce-scatter"):
        assert not any(word in text for text in texts)


def test_dependence_is_exact_per_leaf():
    def system(v):
        return {
            "a": v["p"] * 2,
            "b": jnp.ones(2),
            "c": v["p"] + v["q"],
            "d": jax.random.normal(v["k"], ()),
            "code": "text",
        }

    axes = {"p": jnp.ones(2), "q": jnp.ones(3), "k": jax.random.split(KEY, 2)}
    assert dependence(system, axes) == [{"p"}, set(), {"p", "q"}, {"k"}]
    # through a loop, whose carry is batched only where it must be
    found = batched(
        lambda x: jax.lax.fori_loop(0, 3, lambda i, c: (c[0] * x, c[1] + 1.0), (jnp.ones(()), jnp.ones(()))),
        0,
        jnp.ones(4),
    )
    assert found == [True, False]


def test_shared_state_stays_shared():
    """A permutation drawn per seed must not be copied to every lane: that would turn the matrix product into many."""

    def made(key, *, step_size):
        game = tl.games.AffineGame(jnp.stack([jnp.eye(2), 2 * jnp.eye(2)]), jnp.ones((2, 2)))
        return tl.games.Extragradient(step_size, step_size, order="once"), game, jnp.zeros(2)

    (group,) = Plan(Request.of(made, {"step_size": [0.1, 0.2]}, 2, KEY, 5)).groups
    assert group.part.outer == ["seed"] and group.part.inner == ["step_size"]
    assert group.loop.levels.state == (True, False)  # the iterate is per lane, the permutation is not


def test_coupling():
    def noisy(key, *, rate):
        return Relax(rate, 1.0), Linear(jnp.ones(1), jnp.zeros(1)), jnp.zeros(1)

    def ends(coupling):
        over = {"rate": [0.1, 0.1]}
        return tl.sweep(noisy, over=over, seeds=2, key=KEY, steps=1, coupling=coupling).value.values[..., 0]

    shared, own, one = ends("seed"), ends("independent"), ends("all")
    np.testing.assert_allclose(shared[0], shared[1], rtol=1e-14)  # other draws would differ by their own size
    assert len(np.unique(np.append(own, shared[0]).round(9))) == 6
    np.testing.assert_allclose(one, shared[0, 0], rtol=1e-14)


def test_one_stream_for_all_seeds(reference, tmp_path):
    """Lanes take the first seed's draws and their own seed's starts, and the seed joins the inner level."""
    one = run(coupling="all", store=tmp_path / "s")
    rounding(one.isel(seed=0), reference.isel(seed=0))
    own = [tl.keys.seed_key(KEY, seed) for seed in range(3)]
    _, _, x0 = build(tl.keys.build_key(own[2]), rate=0.1, scale=1.0)
    alone = tl.solve(Relax(0.1, 0.1), Linear(jnp.asarray([1.0, 2.0, 4.0]), jnp.ones(3)), x0, key=own[0], steps=24)
    np.testing.assert_allclose(one.value.sel(rate=0.1, scale=1.0, seed=2), alone.value, rtol=1e-12)
    assert tl.load(tmp_path / "s").value.equals(one.value)

    def made(key, *, rate):
        return build(key, rate=rate, scale=1.0)

    (group,) = Plan(Request.of(made, {"rate": [0.1, 0.2]}, 3, KEY, 5, coupling="all")).groups
    assert group.part.outer == [] and group.part.inner == ["rate", "seed"] and group.shape == (1, 6)


@pytest.mark.parametrize("coupling", ["seed", "all"])
def test_an_axis_that_nothing_depends_on(coupling):
    def made(key, *, rate, label):
        return Relax(0.1, 1.0), Linear(jnp.ones(1), jnp.zeros(1)), jnp.zeros(1)

    asked = {"over": {"rate": [0.1, 0.2], "label": [0.0]}, "seeds": 3, "key": KEY, "steps": 2}
    value = tl.sweep(made, **asked, coupling=coupling).value.values[..., 0]
    assert value.shape == (2, 1, 3) and np.allclose(value[0], value[1], rtol=1e-14)
    assert len(np.unique(value.round(9))) == (3 if coupling == "seed" else 1)


def test_static_axes_choose_code_and_run_one_after_the_other():
    def made(key, *, rate, optimiser, flag):
        return tl.Gradient(getattr(optax, optimiser), learning_rate=-rate if flag else rate), Linear2(), jnp.ones(2)

    class Linear2:
        def loss(self, x, key):
            return jnp.sum(x**2)

    with jax.numpy_dtype_promotion("standard"):
        ds = tl.sweep(
            made, over={"rate": [0.1, 0.2], "optimiser": ["sgd", "adam"], "flag": [False, True]}, key=KEY, steps=1
        )
    assert ds.value.dims == ("rate", "optimiser", "flag", "seed", "value_0")
    np.testing.assert_allclose(ds.value.sel(optimiser="sgd", flag=False)[:, 0, 0], [0.8, 0.6])
    assert (ds.status.sel(flag=True) == 6).all()  # a negative rate is an invalid lane, and sinks nobody


def test_failures_stay_in_their_lane():
    ds = tl.sweep(
        build, over={"rate": [0.1, 50.0, -1.0, np.nan], "scale": [1.0]}, seeds=2, key=KEY, steps=24, record=RECORD
    )
    names = ds.status.attrs["flag_meanings"].split()
    assert [names[code] for code in ds.status.values[:, 0, 0]] == ["max_steps", "diverged", "invalid", "invalid"]
    lane = tl.sweep(build, over={"rate": [0.1], "scale": [1.0]}, seeds=2, key=KEY, steps=24, record=RECORD)
    rounding(ds.sel(rate=[0.1]), lane)
    assert np.isnan(ds.e.sel(rate=50.0)[..., -1]).all() and np.isfinite(ds.e.sel(rate=50.0)[..., :2]).all()
    with pytest.raises(RuntimeError, match=r"6 of 8 lanes failed; the first, .*50.0.* diverged at step"):
        tl.sweep(
            build, over={"rate": [0.1, 50.0, -1.0, np.nan], "scale": [1.0]}, seeds=2, key=KEY, steps=24, throw=True
        )


class TestCompaction:
    rates = np.geomspace(1e-3, 0.2, 64)

    def gd(self, **keywords):
        def made(key, *, rate):
            return Relax(rate), Linear(jnp.asarray([1.0, 2.0, 4.0]), jnp.ones(3))

        rule = tl.below(norm, 1e-6, every=4)
        return tl.sweep(
            made, over={"rate": self.rates}, seeds=2, key=KEY, steps=4000, until=rule, record=RECORD, **keywords
        )

    @pytest.mark.parametrize("lanes", ["auto", "vmap"])
    def test_dropping_lanes_changes_rounding_alone(self, lanes):
        whole = self.gd(compact="never", lanes=lanes, mesh=jax.local_devices()[:1])
        fewer = self.gd(compact="steps", lanes=lanes, mesh=jax.local_devices()[:1])
        assert json.loads(fewer.attrs["stats"])["compactions"] >= 2
        assert (whole.steps == fewer.steps).all() and (whole.status == fewer.status).all()
        rounding(fewer, whole)

    def test_each_lane_stops_at_its_own_step(self):
        ds = self.gd(compact="steps")
        a = np.asarray([1.0, 2.0, 4.0])
        for i in (10, 40):
            gap = [np.linalg.norm((1 - self.rates[i] * a) ** t * (a - 1)) for t in range(0, 4001, 4)]
            exact = next((4 * n for n, g in enumerate(gap) if g <= 1e-6), 4000)
            assert int(ds.steps[i, 0]) == exact


def test_other_values_of_the_same_shapes_compile_nothing(compilations):
    other = jax.random.key(9)
    run(over={"rate": [0.01, 0.02, 0.03], "scale": [1.0, 3.0]})
    with compilations() as count:
        run(over={"rate": [0.04, 0.05, 0.06], "scale": [4.0, 5.0]}, key=other)
        assert count() == 0


def test_float32_stays_float32():
    def made(key, *, rate):
        return Relax(rate, 0.1), Linear(jnp.ones(2, "float32"), jnp.ones(2, "float32")), jnp.zeros(2, "float32")

    with pytest.raises(TypeError, match=r"float32\[2\] to float64\[2\]"), jax.numpy_dtype_promotion("standard"):
        tl.sweep(made, over={"rate": [0.1]}, key=KEY, steps=2)

    def single(key, *, rate):
        return (
            Relax(rate, jnp.float32(0.1)),
            Linear(jnp.ones(2, "float32"), jnp.ones(2, "float32")),
            jnp.zeros(2, "float32"),
        )

    assert tl.sweep(single, over={"rate": np.asarray([0.1], "float32")}, key=KEY, steps=2).value.dtype == np.float32


class TestBadInput:
    def test_a_branch_on_a_lane_value_names_the_axis(self):
        def branching(key, *, rate):
            return Relax(0.1 if rate > 0.5 else 0.2), Linear(jnp.ones(1), jnp.ones(1))

        with pytest.raises(TypeError, match=r"axis 'rate'.*branches on it"):
            tl.sweep(branching, over={"rate": [0.1]}, key=KEY, steps=2)

        def counting(key, *, n):
            return Relax(0.1), Linear(jnp.ones(int(n)), jnp.ones(1))

        with pytest.raises(TypeError, match="axis 'n'"):
            tl.sweep(counting, over={"n": [1, 2]}, key=KEY, steps=2)

    @pytest.mark.parametrize(
        ("keywords", "message"),
        [
            ({"over": {"rat": [0.1], "scale": [1.0]}}, "did you mean 'rate'"),
            ({"over": {"rate": [0.1]}}, r"needs values for \['scale'\]"),
            ({"over": {"rate": [], "scale": [1.0]}}, "'rate' needs at least one value"),
            ({"over": {"rate": 0.1, "scale": [1.0]}}, "in a list or an array"),
            ({"seeds": 0}, "seeds must be"),
            ({"seeds": [1, 1]}, "distinct"),
            ({"steps": 0}, "steps must be"),
            ({"lanes": "wide"}, "lanes"),
            ({"chunk": 0}, "chunk must be at least 1"),
            ({"memory_limit": -1}, "memory_limit"),
        ],
    )
    def test_bad_arguments_are_named(self, keywords, message):
        with pytest.raises((ValueError, TypeError), match=message):
            run(**keywords)

    def test_a_function_may_close_over_what_build_makes_but_not_over_a_lane(self):
        def shared(key, *, rate):
            held = jnp.asarray([1.0, 2.0])  # made here, but the same in all lanes
            return (
                tl.Gradient(optax.sgd, learning_rate=rate),
                Objective(lambda x, key: jnp.sum(held * x**2)),
                jnp.ones(2),
            )

        ds = tl.sweep(shared, over={"rate": [0.1, 0.2]}, key=KEY, steps=1)
        np.testing.assert_allclose(ds.value[:, 0], [[0.8, 0.6], [0.6, 0.2]], rtol=1e-12)

        def escaping(key, *, rate, scale):
            return (
                tl.Gradient(optax.sgd, learning_rate=rate),
                Objective(lambda x, key: scale * jnp.sum(x**2)),
                jnp.ones(2),
            )

        with pytest.raises(TypeError, match="closes over a value of an axis"):
            tl.sweep(escaping, over={"rate": [0.1, 0.2], "scale": [1.0, 2.0]}, key=KEY, steps=1)

    def test_build_may_look_at_what_no_axis_touches(self):
        def looking(key, *, rate):
            held = jnp.asarray([1.0, 2.0])
            return Relax(rate, 0.0), Linear(held * float(jnp.sum(held)), jnp.ones(2))

        assert tl.sweep(looking, over={"rate": [0.1]}, key=KEY, steps=1).status.values.tolist() == [[2]]

    def test_what_build_returns_is_checked(self):
        with pytest.raises(TypeError, match="build must return"):
            tl.sweep(lambda key, *, a: a, over={"a": [1.0]}, key=KEY, steps=2)
