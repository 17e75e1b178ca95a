"""The rules, from numbers by hand and from games, and the schedules."""

import math

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from theorylab import games
from theorylab.games import step_sizes

NUMBERS = {"n": 7, "lambda_min": 0.5, "lipschitz_max": 3.0, "lipschitz": 2.0, "variance_growth": 11.0}


def test_rules_by_hand():
    assert step_sizes.strongly_monotone(n=10, mu=2.0, lipschitz_max=4.0) == pytest.approx(
        (2 / (160 * math.sqrt(1074)), 4 / (160 * math.sqrt(1074))), rel=1e-15
    )
    assert step_sizes.affine(n=10, lambda_min=2.0, lipschitz_max=4.0) == pytest.approx(
        (2 / (2 * math.sqrt(120) * 160), 8 / (2 * math.sqrt(120) * 160)), rel=1e-15
    )
    assert step_sizes.monotone(n=2, lipschitz_max=5.0) == pytest.approx((1 / 30, 1 / 15), rel=1e-15)


@pytest.mark.parametrize("change", [{}, {"n": 1}, {"lambda_min": 1e-3}, {"lipschitz": 0.01, "variance_growth": 1e-4}])
def test_figure1_by_hand(change):
    given = NUMBERS | change
    n, mu, top, lipschitz, growth = given.values()
    p = 24 * n**2 - 23 * n + 1
    omega = top / (n * mu) * (2 * (p + 2.5 * (n - 1) * (2 * n - 1)) * lipschitz**2 + growth * p)
    bounds = [mu / (4 * top**2), (math.sqrt(top**4 + n * mu * omega / 4) - top**2) / omega]
    if n > 1:
        bounds.append(1 / (3 * math.sqrt(2 * n * (n - 1)) * top))
    # the literal difference of square roots loses the digits that our form keeps
    assert step_sizes.affine(version="figure1", **given) == pytest.approx((min(bounds), 4 * min(bounds)), rel=1e-10)


def test_names_of_the_curvature():
    renamed = {("mu" if name == "lambda_min" else name): value for name, value in NUMBERS.items()}
    assert step_sizes.affine(version="figure1", **renamed) == step_sizes.affine(version="figure1", **NUMBERS)
    with pytest.raises(ValueError, match="two names of one"):
        step_sizes.affine(version="figure1", mu=1.0, **NUMBERS)


def test_games_give_their_constants(make_affine):
    game = make_affine(0, 6, 4)
    found = step_sizes.constants(game)
    mean = np.mean(game.matrices, axis=0)
    rng = np.random.default_rng(0)
    x = rng.standard_normal((200, 4))
    directions = x / np.linalg.norm(x, axis=1, keepdims=True)
    forms = np.einsum("ki,ij,kj->k", directions, mean, directions)
    stretch = np.linalg.norm(directions @ mean.T, axis=1)
    assert found.mu <= forms.min() and found.lambda_min <= stretch.min() and stretch.max() <= found.lipschitz
    each = np.linalg.norm(np.einsum("nij,kj->nki", game.matrices, directions), axis=2)
    assert each.max() <= found.lipschitz_max and found.mu <= found.lambda_min <= found.lipschitz <= found.lipschitz_max
    # the variance inequality that variance_growth is there for
    values = np.einsum("nij,kj->nki", game.matrices, x) + np.asarray(game.offsets)[:, None]
    scatter = np.mean(np.sum((values - values.mean(axis=0)) ** 2, axis=2), axis=0)
    distance = np.sum((x - np.asarray(game.solution)) ** 2, axis=1)
    assert np.all(scatter <= found.variance_growth * distance + 2 * found.variance)

    def pick(*names):
        return {name: getattr(found, name) for name in names}

    assert step_sizes.strongly_monotone(game) == step_sizes.strongly_monotone(**pick("n", "mu", "lipschitz_max"))
    assert step_sizes.affine(game) == step_sizes.affine(**pick("n", "lambda_min", "lipschitz_max"))
    assert step_sizes.affine(game, version="figure1") == step_sizes.affine(version="figure1", **pick(*NUMBERS))
    assert step_sizes.monotone(game) == step_sizes.monotone(**pick("n", "lipschitz_max"))


def test_rules_are_stable(make_affine):
    """The step sizes of the theorems are mean-square stable, and contract at 1 - n mu gamma1 / 2 an epoch or faster."""
    game = make_affine(1, 5, 3)
    found = step_sizes.constants(game)
    for rule in (step_sizes.strongly_monotone, step_sizes.affine, step_sizes.monotone):
        step_size, extrapolation_step = rule(game)
        moments = games.stationary_moments(game, games.Extragradient(step_size, extrapolation_step))
        assert moments.mean_square_stable
        assert moments.ms_contraction < 1 - found.n * found.mu * step_size / 2
    bilinear = games.bilinear_game(jax.random.key(0), components=5, dim=2, mu=0.5, lipschitz=2.0)
    for version in ("main", "figure1"):
        method = games.Extragradient(*step_sizes.affine(bilinear, version=version))
        assert games.stationary_moments(bilinear, method).mean_square_stable


def test_schedules(dtype):
    t = jnp.asarray(3, jnp.int32)
    assert [float(rule(t)) for rule in step_sizes.decreasing(ratio=4.0)] == [0.25, 1.0]
    update, ahead = step_sizes.double(update=0.7, extrapolation=0.2)
    assert float(update(1)) == pytest.approx(20**-0.7, rel=1e-14)
    assert float(ahead(1)) == pytest.approx(0.1 * 20**-0.2, rel=1e-14)
    assert float(step_sizes.double(update=0.5, extrapolation=0.0)[1](5)) == 0.1
    narrow = games.Power(jnp.asarray(1, dtype), jnp.asarray(0.5, dtype), jnp.asarray(1, dtype))
    assert eqx.filter_jit(narrow)(t).dtype == dtype and float(narrow(t)) == 0.5


TURN = games.AffineGame(jnp.asarray([[[0.0, 1.0], [-1.0, 0.0]]]), jnp.zeros((1, 2)))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: step_sizes.monotone(n=1, lipschitz_max=1.0), "n = 1: the monotone rule .* needs n >= 2"),
        (lambda: step_sizes.monotone(TURN), "n = 1: the monotone rule"),
        (lambda: step_sizes.strongly_monotone(TURN), "mu = 0.0 must be positive"),
        (lambda: step_sizes.strongly_monotone(n=2, mu=-1.0, lipschitz_max=1.0), "mu = -1.0 must be positive"),
        (lambda: step_sizes.strongly_monotone(TURN, mu=1.0), "both a game and mu"),
        (lambda: step_sizes.strongly_monotone(), "n, mu, lipschitz_max missing"),
        (lambda: step_sizes.affine(n=2, lipschitz_max=1.0), "lambda_min missing"),
        (lambda: step_sizes.affine(n=2, lambda_min=1.0, lipschitz_max=1.0, lipschitz=1.0), "lipschitz is not used"),
        (
            lambda: step_sizes.affine(version="figure1", n=2, lambda_min=1.0, lipschitz_max=1.0),
            "variance_growth missing",
        ),
        (lambda: step_sizes.monotone(n=0, lipschitz_max=1.0), "n = 0 must be positive"),
        (lambda: step_sizes.affine(n=2, lambda_min=1.0, lipschitz_max=float("nan")), "lipschitz_max = nan"),
        (lambda: step_sizes.monotone(games.FiniteSum(lambda i, x: x, 2)), "pass an AffineGame, or the numbers"),
    ],
)
def test_bad_input(call, message):
    with pytest.raises(ValueError, match=message):
        call()
