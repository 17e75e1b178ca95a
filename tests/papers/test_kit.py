"""Checks decide as their words say: exact numbers by rounding, draws by standard errors, noise not at all."""

import numpy as np
import pytest
import xarray

import theorylab.papers.kit as kit
from theorylab.numerics import Estimate

RNG = np.random.default_rng(0)


def exact(*values, dim="x"):
    return lambda dataset: xarray.DataArray(list(values), dims=dim)


def draws(*means, spread=0.1, n=50, dim="x"):
    """Draws of numbers with given means, the same at each call."""
    values = np.random.default_rng(1).normal(means, spread, (n, len(means)))
    return lambda dataset: xarray.DataArray(values, dims=("seed", dim))


@pytest.mark.parametrize(
    ("value", "relation", "theory", "rounding", "verdict", "measured"),
    [
        (exact(1.0, 2.0), "<=", 2.0, 0.0, "holds", 2.0),
        (exact(1.0, 2.0), "<=", exact(0.9, 5.0), 0.0, "fails", 1.0),
        (exact(1.0, 2.0), "<=", exact(0.9, 5.0), 0.2, "holds", 1.0),
        (exact(1.0, 2.0), ">=", exact(1.0, 3.0, dim="y"), 0.0, "fails", 1.0),
        (exact(1.0, 2.0), "==", exact(1.0, np.nan), 0.0, "holds", 1.0),
        (exact(1.0, 2.0), "==", exact(np.nan, np.nan), 0.0, "undecided", None),
        (exact(1.0, np.nan), "<=", 3.0, 0.0, "undecided", None),
        (exact(1.0, 2.0), "==", exact(1.1, 2.2), exact(0.2, 0.1), "fails", 2.0),
    ],
)
def test_bounded(value, relation, theory, rounding, verdict, measured):
    found = kit.bounded(value, relation, theory, rounding=rounding, quantity="it")(None)
    assert (found.verdict, found.measured, found.statistical) == (verdict, measured, False)


@pytest.mark.parametrize(
    ("value", "relation", "theory", "verdict"),
    [
        (draws(1.0, 2.0), "<=", 3.0, "holds"),
        (draws(1.0, 2.0), "<=", exact(1.5, 1.5), "fails"),
        (draws(1.0, 2.0), ">=", exact(1.0, 1.0), "undecided"),
        (draws(1.0), "==", 1.0, "holds"),
        (draws(1.0), "==", 1.2, "fails"),
        (lambda dataset: Estimate(1.0, 0.1), "<=", 1.2, "undecided"),
        (lambda dataset: Estimate(1.0, 0.1), "<=", 1.4, "holds"),
    ],
)
def test_estimated(value, relation, theory, verdict):
    found = kit.estimated(value, relation, theory, quantity="it")(None)
    assert found.verdict == verdict and found.statistical


def test_few_draws_decide_as_rarely_wrong_as_many():
    """With three draws three standard errors are passed in 5 % of all cases; Student's quantile is what is asked."""
    few = draws(1.0, spread=0.01, n=3)
    mean, error = map(float, Estimate.of(few(None).isel(x=0), "seed"))
    border = mean + 8 * error
    assert kit.estimated(lambda dataset: Estimate(mean, error), "<=", border, quantity="it")(None).verdict == "holds"
    assert kit.estimated(few, "<=", border, quantity="it")(None).verdict == "undecided"


def test_many_equalities_have_one_error_rate():
    with pytest.raises(ValueError, match="agrees"):
        kit.estimated(draws(1.0, 2.0), "==", 1.0, quantity="numbers")(None)
    assert kit.agrees(draws(1.0, 2.0), exact(1.0, 2.0), quantity="numbers")(None).verdict == "holds"
    assert kit.agrees(draws(1.0, 2.0), exact(1.0, 2.1), quantity="numbers")(None).verdict == "fails"
    assert kit.agrees(draws(1.0, 2.0), exact(1.0, np.nan), quantity="numbers")(None).verdict == "holds"
    assert kit.agrees(draws(1.0, 1.0), 1.0, quantity="numbers")(None).verdict == "holds"  # one theory for both


def test_ordered():
    """Exact numbers decide at once; draws in pairs, so that what they share does not count."""
    assert kit.ordered(exact(3.0, 2.0, 1.0), "x", "falls", quantity="it")(None).verdict == "holds"
    assert kit.ordered(exact(3.0, 2.0, 2.5), "x", "falls", quantity="it")(None).measured == 0.5
    common = RNG.normal(0, 10, (50, 1))
    paired = xarray.DataArray(common + RNG.normal([1.0, 2.0], 0.1, (50, 2)), dims=("seed", "x"))
    assert kit.ordered(lambda dataset: paired, "x", "rises", quantity="it")(None).verdict == "holds"
    assert kit.ordered(lambda dataset: paired, "x", "falls", quantity="it")(None).verdict == "fails"


STEPS = xarray.DataArray([0.4, 0.2, 0.1], dims="h", coords={"h": [0.4, 0.2, 0.1]})


def test_power_of_exact_numbers():
    law = xarray.Dataset({"y": 3 * STEPS**2, "bent": STEPS + 0.2 * STEPS**2})
    assert kit.power("y", "h", "==", 2, rounding=1e-12, quantity="it")(law).verdict == "holds"
    assert kit.power("y", "h", ">=", 3, quantity="it")(law).verdict == "fails"
    # two places see the next power of x, three do not to its first order
    assert kit.power("bent", "h", "==", 1, rounding=0.01, quantity="it")(law).verdict == "fails"
    assert kit.power("bent", "h", "==", 1, tail=3, rounding=0.01, quantity="it")(law).verdict == "holds"


@pytest.mark.parametrize(("spread", "verdict"), [(0.01, "holds"), (3.0, "undecided")])
def test_power_of_draws(spread, verdict):
    """Signal decides, noise does not."""
    noise = xarray.DataArray(RNG.normal(1, spread, (64, 3)), dims=("seed", "h"))
    dataset = xarray.Dataset({"y": STEPS**2 * noise})
    assert kit.power("y", "h", "==", 2, tail=3, over="seed", quantity="it")(dataset).verdict == verdict


def test_a_printed_number_may_lie_where_one_more_draw_may():
    """Of 300 further draws no more than four lie outside, where 0.8 are expected: four standard deviations."""
    ours = RNG.normal(5.0, 0.1, (300, 6))
    verdicts = [kit.printed(exact(*row[:5], dim="seed"), row[5], quantity="it")(None).verdict for row in ours]
    assert verdicts.count("fails") <= 4 and verdicts.count("undecided") == 0
    assert kit.printed(exact(*ours[0], dim="seed"), 8.0, quantity="it")(None).verdict == "fails"


def test_tabulate_keeps_names_shapes_and_coordinates():
    table = kit.tabulate(lambda n, word: {"sum": n + len(word), "row": np.arange(3) * n}, n=[1, 2], word=["a", "bcd"])
    assert table["sum"].dims == ("n", "word") and table["sum"].sel(n=2, word="bcd") == 5
    assert table.row.dims == ("n", "word", "row_0") and table.row.sel(n=2, word="a").values.tolist() == [0, 2, 4]
    named = kit.tabulate(lambda n: {"row": ("place", np.arange(3) * n), "grid": (("a", "b"), np.eye(2))}, n=[1, 2])
    assert named.row.dims == ("n", "place") and named.grid.dims == ("n", "a", "b")
    assert kit.tabulate(lambda game: game["n"], game=[{"n": 1}, {"n": 5}]).value.values.tolist() == [1, 5]
    assert kit.tabulate(lambda x: Estimate(x, 0.1), x=[1.0]).standard_error.values.tolist() == [0.1]


def test_ratio_of_means_is_that_of_independent_estimates():
    """Its standard error adds those of the two, relative; two lists of labels are taken in pairs."""
    values = np.random.default_rng(2).normal([4.0, 2.0, 1.0], 0.1, (50, 3))
    dataset = xarray.Dataset({"y": (("seed", "rule"), values)}, {"rule": ["a", "b", "c"]})
    found = kit.ratio("y", "rule", "a", "b")(dataset)
    mean, error = values.mean(axis=0), values.std(axis=0, ddof=1) / 50**0.5
    assert float(found.value) == pytest.approx(mean[0] / mean[1], rel=1e-14)
    assert float(found.standard_error / found.value) == pytest.approx(np.hypot(*(error / mean)[:2]), rel=1e-12)
    pairs = kit.ratio("y", "rule", ["a", "b"], ["b", "c"])(dataset).value.values
    assert pairs == pytest.approx(mean[:2] / mean[1:], rel=1e-14)


@pytest.mark.parametrize(("spread", "verdict"), [(0.01, "holds"), (1.0, "undecided")])
def test_ordered_estimates_are_judged_by_their_errors(spread, verdict):
    estimate = Estimate(exact(3.0, 2.0, 1.0)(None), exact(spread, spread, spread)(None))
    assert kit.ordered(lambda dataset: estimate, "x", "falls", quantity="it")(None).verdict == verdict


def test_tables_have_the_axes_of_sweeps():
    """Cases, labelled arrays of several dimensions, words as Python's own; what shares a dimension goes together."""
    games = kit.cases([np.asarray([1.0, 2.0]), np.asarray([3.0, 4.0])], ["easy", "hard"])
    steps = xarray.DataArray([[0.1, 0.2], [0.3, 0.4]], {"choice": ["safe", "bold"]}, ("game", "choice"))
    seen = []

    def at(rule, game, step_size):
        seen.append(rule)
        return {"y": game[0] * step_size}

    table = kit.tabulate(at, rule=["a", "b"], game=games, step_size=steps)
    assert table.y.dims == ("rule", "game", "choice") and {type(rule) for rule in seen} == {str}
    assert float(table.y.sel(rule="b", game="hard", choice="bold")) == pytest.approx(3.0 * 0.4)
    assert float(table.step_size.sel(game="easy", choice="safe")) == 0.1


def test_a_race_stands_beside_its_theory():
    """Gradient descent on a x^2 / 2: the error after t steps is (1 - step a)^(2t), which theory says of every lane."""
    import jax.numpy as jnp

    from theorylab.games import AffineGame, GradientDescentAscent, squared_distance

    games = kit.cases([AffineGame([[[a]]], [[0.0]]) for a in (1.0, 0.5)], [1.0, 0.5])

    def build(key, *, game, step_size):
        return GradientDescentAscent(step_size), game, jnp.ones(1)

    def rate(game, method):
        return {"rate": (1 - float(method.step_size) * float(game.matrices[0, 0, 0])) ** 2}

    runs = kit.race(build, {"game": games, "step_size": [0.25, 0.5]}, seeds=2, key=0, steps=8,
                    record={"error": lambda game, state: squared_distance(game, state.x)}, theory=rate)  # fmt: skip
    assert runs.rate.dims == ("game", "step_size")
    # sixteen roundings of float32
    assert float(abs(runs.error / runs.rate**runs.step - 1).max()) < 16 * float(jnp.finfo("float32").eps)


def test_theory_of_a_figure_has_an_axis_of_its_own_or_is_a_level():
    from theorylab.figures import panels

    dataset = xarray.Dataset(
        {"y": ("x", [1.0, 2.0]), "fine": ("t", [1.0, 1.5, 2.0]), "level": ((), 3.0)},
        {"x": [1, 2], "t": [1.0, 1.5, 2.0]},
    )
    _, (axes, other) = panels(2)
    kit.curves(axes, dataset, "y", x="x", theory="fine")
    kit.curves(other, dataset, "y", x="x", theory="level")
    assert axes.lines[1].get_xdata().tolist() == [1.0, 1.5, 2.0]
    assert other.lines[1].get_ydata().tolist() == [3.0, 3.0]


def test_each_place_of_a_dimension_has_its_panels():
    dataset = xarray.Dataset({"y": (("game", "step"), [[1.0, 2.0], [3.0, 4.0]])}, {"game": ["a", "b"], "step": [0, 1]})
    plot = kit.drawn(lambda panel, one: kit.curves(panel, one, "y", title=one.game.item()), ylabel="y", per="game")
    assert [axes.get_title(loc="left") or axes.get_title() for axes in plot(dataset).axes] == ["a", "b"]
