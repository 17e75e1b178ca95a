"""What a sweep goes over: cases, labelled tables and zipped axes, against loops of solves and gathers by hand."""

import json
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import xarray

import theorylab as tl
from tests.engine.problems import Linear, Relax, norm

KEY = jax.random.key(3)
DIAGONALS, OFFSETS = np.asarray([[1.0, 2.0], [4.0, 1.0], [2.0, 3.0]]), np.asarray([[1.0, 0.0], [0.0, 1.0], [1.0, 1.0]])
RATES = np.asarray([[0.05, 0.1], [0.1, 0.2], [0.15, 0.3]])
PROBLEMS = tl.Cases(Linear(jnp.asarray(DIAGONALS), jnp.asarray(OFFSETS)), ["a", "b", "c"], "case")
TABLE = xarray.DataArray(RATES, dims=("case", "choice"), coords={"choice": [10, 20]})
OVER = {"problem": PROBLEMS, "rate": TABLE, "noise": [0.0, 0.1, 0.2, 0.3]}


def build(key, *, problem, rate, noise):
    return Relax(rate, noise), problem, jax.random.normal(key, (2,), problem.x.dtype)


def run(over=OVER, build=build, **keywords):
    asked = {"seeds": 2, "key": KEY, "steps": 12, "record": tl.Record(tl.every(4), e=norm)}
    return tl.sweep(build, over=over, **asked | keywords)


@pytest.fixture(scope="module")
def whole():
    return run()


def test_cases_and_tables_are_solves(dtype):
    """Problems by case, rates by case and choice: the loop that a reader would write."""
    problems = jax.tree.map(lambda x: x.astype(dtype), PROBLEMS.values)
    over = {"problem": tl.Cases(problems, dim="case"), "rate": TABLE.astype(dtype), "noise": np.asarray([0.1], dtype)}
    ds = run(over)
    assert ds.value.dims == ("case", "choice", "noise", "seed", "value_0") and ds.value.dtype == dtype
    assert ds.case.values.tolist() == [0, 1, 2]
    for case, choice, seed in [(0, 0, 0), (2, 1, 1)]:
        own = tl.keys.seed_key(KEY, seed)
        problem = jax.tree.map(lambda x, case=case: x[case], problems)
        values = {"rate": jnp.asarray(RATES[case, choice], dtype), "noise": jnp.asarray(0.1, dtype)}
        method, problem, x0 = build(tl.keys.build_key(own), problem=problem, **values)
        alone = tl.solve(method, problem, x0, key=own, steps=12)
        lane = ds.isel(case=case, choice=choice, noise=0, seed=seed)
        np.testing.assert_allclose(lane.value, alone.value, rtol=50 * np.finfo(dtype).eps)  # a few roundings a step


def test_a_gather_by_hand_is_the_same_program(whole, compilations):
    """So that lanes are as fast: what was compiled for indices into tables serves the tables themselves."""
    problems, table = PROBLEMS.values, jnp.asarray(RATES)

    def by_hand(key, *, case, choice, noise):
        problem = jax.tree.map(lambda leaf: leaf[case], problems)
        return build(key, problem=problem, rate=table[case, choice], noise=noise)

    by_index = run({"case": np.arange(3), "choice": np.arange(2), "noise": OVER["noise"]}, by_hand)
    with compilations() as count:
        again = run()
        assert count() == 0
    for name in ("value", "e", "status", "steps"):
        np.testing.assert_array_equal(again[name], by_index[name])
        np.testing.assert_array_equal(again[name], whole[name])


def test_other_tables_of_the_same_shapes_compile_nothing(whole, compilations):
    """They are arguments of the program, and no constants in it."""
    twice, key = jax.tree.map(lambda x: 2 * x, PROBLEMS.values), jax.random.key(9)
    with compilations() as count:
        other = run(OVER | {"problem": tl.Cases(twice, dim="case"), "rate": TABLE / 2}, key=key)
        assert count() == 0
    assert not np.allclose(other.value, whole.value)


def test_problems_stand_outside_and_numbers_of_the_method_inside(tmp_path):
    run(store=tmp_path / "table")
    (part,) = json.loads((tmp_path / "table" / "config.json").read_text())["grid"]["parts"]
    assert (part["outer"], part["inner"]) == (["case", "seed"], ["choice", "noise"])

    def made(key, *, rate, noise):
        return Relax(rate, noise), Linear(jnp.ones(2), jnp.ones(2))

    pairs = {n: xarray.DataArray(x, dims="pair") for n, x in (("rate", [0.1, 0.2, 0.3]), ("noise", [0.3, 0.2, 0.1]))}
    run(pairs, made, store=tmp_path / "pairs")
    (part,) = json.loads((tmp_path / "pairs" / "config.json").read_text())["grid"]["parts"]
    assert (part["outer"], part["inner"]) == (["seed"], ["pair"])


def test_labels_and_tables_become_coordinates(whole):
    assert whole.case.values.tolist() == ["a", "b", "c"] and whole.choice.values.tolist() == [10, 20]
    assert whole.rate.dims == ("case", "choice")
    np.testing.assert_array_equal(whole.rate, RATES)
    assert whole.sizes == {"case": 3, "choice": 2, "noise": 4, "seed": 2, "value_0": 2, "step": 4}
    assert whole.e.sel(case="b", choice=20).dims == ("noise", "seed", "step")


def test_zipped_axes_are_the_diagonal_of_their_product(whole):
    """Also with an axis of plain values, whose values label what it is zipped with."""
    pairs = run({"problem": PROBLEMS, "noise": [0.1, 0.3], "rate": xarray.DataArray([0.1, 0.2], dims="noise")})
    every = run({"problem": PROBLEMS, "noise": [0.1, 0.3], "rate": [0.1, 0.2]})
    assert pairs.value.dims == ("case", "noise", "seed", "value_0") and pairs.rate.dims == ("noise",)
    for i in range(2):  # other widths of the same draws: equal up to rounding
        np.testing.assert_allclose(pairs.value[:, i], every.value[:, i, i], rtol=1e-12, atol=1e-14)


def test_words_run_one_after_the_other_and_so_do_numbers_zipped_with_them():
    """A table of words in two dimensions, beside numbers along one of them, which `build` may read."""
    words = xarray.DataArray([["up", "down"], ["down", "up"]], dims=("kind", "turn"))
    rate = xarray.DataArray([0.1, 0.2], dims="kind", coords={"kind": ["slow", "fast"]})
    scale = xarray.DataArray([1.0, 2.0, 3.0], dims="scale")

    def made(key, *, word, rate, scale):
        assert float(rate) < 1  # one value at a time
        sign = {"up": 1.0, "down": -1.0}[word]
        return Relax(rate), Linear(scale * jnp.ones(1), scale * sign * jnp.ones(1)), jnp.zeros(1)

    ds = run({"word": words, "rate": rate, "scale": scale}, made, seeds=1, steps=1)
    assert ds.value.dims == ("kind", "turn", "scale", "seed", "value_0") and ds.kind.values.tolist() == ["slow", "fast"]
    signs = np.asarray([[1.0, -1.0], [-1.0, 1.0]])
    exact = rate.values[:, None, None] * signs[:, :, None] * scale.values  # one step from zero
    np.testing.assert_allclose(ds.value[..., 0, 0], exact, rtol=1e-14)
    assert ds.word.values.tolist() == words.values.tolist() and ds.scale.values.tolist() == [1.0, 2.0, 3.0]


class Unit(eqx.Module):
    """A module as they are made: arrays, and a function that all cases share."""

    weight: jax.Array
    activation: Callable

    def __call__(self, x):
        return self.activation(self.weight * x)


class Fit(eqx.Module):
    data: jax.Array

    def loss(self, unit, key):
        return jnp.sum((unit(self.data) - 0.5) ** 2)


def test_starts_tasks_and_keys_are_cases():
    """Whatever is a pytree of arrays: random keys too, and modules with functions that all cases share."""

    def made(key, *, unit, task):
        return tl.Gradient(optax.sgd, learning_rate=0.1), Fit(jax.random.normal(task, (4,))), unit

    weights, keys = jnp.asarray([0.1, 0.2, 0.3]), jax.random.split(KEY, 2)
    over = {"unit": tl.Cases(Unit(weights, jnp.tanh)), "task": tl.Cases(keys)}
    ds = run(over, made, seeds=1, steps=1, record=None)
    assert ds["value.weight"].dims == ("unit", "task", "seed")

    def loss(weight):
        return jnp.sum((jnp.tanh(weight * jax.random.normal(keys[1], (4,))) - 0.5) ** 2)

    after = weights[2] - 0.1 * jax.grad(loss)(weights[2])
    np.testing.assert_allclose(ds["value.weight"][2, 1, 0], after, rtol=1e-12)


class TestStore:
    def test_a_store_gives_back_and_goes_on(self, tmp_path):
        asked = {"store": tmp_path, "blocks": 3, "mesh": jax.local_devices()[:1]}
        ds = run(**asked)
        assert tl.load(tmp_path).equals(ds) and set(tl.load(tmp_path).coords) == set(ds.coords)
        min((tmp_path / "shards").iterdir()).unlink()
        assert run(**asked).equals(ds)

    @pytest.mark.parametrize(
        "other",
        [
            {"problem": tl.Cases(Linear(jnp.asarray(DIAGONALS), jnp.asarray(OFFSETS[::-1])), ["a", "b", "c"], "case")},
            {"problem": tl.Cases(PROBLEMS.values, ["a", "b", "d"], "case")},
            {"rate": TABLE * 2},
        ],
    )
    def test_other_tables_are_another_configuration(self, whole, tmp_path, other):
        run(store=tmp_path, steps=1)
        with pytest.raises(tl.StoreError, match="another configuration"):
            run(OVER | other, store=tmp_path, steps=1)

    def test_workers_get_the_tables(self, whole):
        with ThreadPoolExecutor(1) as threads:
            ds = run(executor=threads, blocks=3)
        np.testing.assert_allclose(ds.value, whole.value, rtol=1e-12, atol=1e-14)
        assert json.loads(ds.attrs["stats"])["blocks"] == 3


def labelled(values, name="case", **coords):
    return xarray.DataArray(values, dims=name, coords=coords)


class TestBadInput:
    @pytest.mark.parametrize(
        ("given", "message"),
        [
            ((0.1,), "float without an array: stack the cases"),
            (([0.1, 0.2],), "list without an array"),
            ((np.zeros((0, 2)),), "at least one: the array has 0"),
            (({"a": np.zeros(2), "b": np.zeros(3)},), r"\['a'\] has 2, \['b'\] has 3"),
            (({"a": np.zeros(2), "b": np.float64(0)},), r"\['b'\] is a scalar"),
            ((np.zeros(2), ["a"]), "labels must be a list of 2, one for each case, got"),
            ((np.zeros(2), "ab"), "labels must be a list of 2"),
        ],
    )
    def test_cases(self, given, message):
        with pytest.raises(ValueError, match=message):
            tl.Cases(*given)

    @pytest.mark.parametrize(
        ("over", "message"),
        [
            ({"rate": labelled([0.1, 0.2])}, "'problem' has 3 places along 'case' and 'rate' has 2.*same length"),
            ({"rate": labelled([0.1] * 3, case=[1, 2, 3])}, r"'problem' and 'rate' label the dimension 'case' differ"),
            ({"rate": labelled([0.1] * 2, "step")}, "the dimension 'step' of 'rate' has a name that is that of what"),
            ({"rate": labelled([0.1] * 2, "seed")}, "'seed' of 'rate' has a name that is the sweep's own, for which"),
            ({"problem": tl.Cases(DIAGONALS, dim="seed")}, "use seeds="),
            ({"rate": xarray.DataArray(0.1)}, "the DataArray of 'rate' needs a dimension"),
            ({"rate": labelled([])}, "at least one value along it, got {'case': 0}"),
            ({"rate": labelled([0.1] * 2, "noise", noise=[0.1, 0.7])}, "label the dimension 'noise' differently"),
            ({"rate": labelled([0.1] * 3, "x"), "noise": labelled([0.1] * 2, "rate")}, "'rate' is a dimension, and a"),
            ({"rate": labelled([0.1] * 2, "e")}, r"\['e'\] are names of what the result holds"),
            ({"noise": ["low", "low"]}, "the labels of 'noise' must differ"),
        ],
    )
    def test_axes(self, over, message):
        with pytest.raises(ValueError, match=message):
            run(OVER | {"noise": [0.1, 0.2]} | over)

    def test_a_branch_on_a_case_names_its_axis(self):
        def branching(key, *, problem, rate, noise):
            return build(key, problem=problem, rate=rate, noise=noise if problem.b[0] > 0 else 0 * noise)

        with pytest.raises(TypeError, match="a value of the axis 'problem' into a Python number"):
            run(build=branching)
