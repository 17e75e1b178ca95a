"""What the papers state, by hand and over exact moments."""

import math

import jax
import numpy as np
import pytest

from theorylab import games
from theorylab.games.claims import rr_richardson_vip as extrapolated
from theorylab.games.claims import seg_rr

NUMBERS = {"n": 3, "mu": 0.5, "lipschitz_max": 2.0}


@pytest.mark.parametrize(("n", "mu", "top"), [(3, 0.5, 2.0), (10, 3.0, 3.0), (1, 1e-3, 40.0)])
def test_cap_by_hand(n, mu, top):
    cap = extrapolated.step_size_cap(n=n, mu=mu, lipschitz_max=top)
    for found, q in ((cap.product, mu**2 * top**2), (cap.quotient, mu**2 / top**2)):
        # the literal difference loses the digits that our form keeps
        assert found == pytest.approx(min(1 / (3 * n * top), (math.sqrt(1 + 6 * q) - 1) / (12 * n * top**2)), rel=1e-8)
    assert cap.smaller == min(cap.product, cap.quotient)


def test_units_of_the_cap():
    """F scaled by s asks for step sizes scaled by 1/s. Neither reading's root entry does that: the quotient's goes as
    1/s^2, exactly, and the product's as s^2 where s is small. With L_max = 1 the readings are one."""
    product = [extrapolated.step_size_cap(n=2, mu=s * 0.01, lipschitz_max=s * 0.1).product for s in (1.0, 0.5)]
    assert product[1] == pytest.approx(product[0] / 4, rel=1e-5)  # the next term of the root is 1.5 mu^2 L^2 = 1.5e-6
    quotient = [extrapolated.step_size_cap(n=2, mu=s * 1.0, lipschitz_max=s * 10.0).quotient for s in (1.0, 4.0)]
    assert quotient[1] == pytest.approx(quotient[0] / 16, rel=1e-12)
    unit = extrapolated.step_size_cap(n=5, mu=0.3, lipschitz_max=1.0)
    assert unit.product == unit.quotient
    first = extrapolated.step_size_cap(n=1, mu=100.0, lipschitz_max=100.0)  # the root is far above
    assert first.product == pytest.approx(1 / 300, rel=1e-15)


def test_bound_by_hand():
    bound = extrapolated.mse_bound(step_size=0.01, weakness=0.25, variance=3.0, **NUMBERS)
    assert bound.contraction == pytest.approx(1 - 0.01 * 3 * 0.5 / 2, rel=1e-15)
    assert bound.contraction == seg_rr.contraction(step_size=0.01, n=3, mu=0.5)
    assert bound.neighbourhood == pytest.approx(8 * 3 * 0.01**2 * 4 * 3 / 0.25, rel=1e-14)
    assert bound.weakness == 8 * 0.25 / 0.5
    level = bound.neighbourhood + bound.weakness
    assert bound.after(0, 7.0) == pytest.approx(7 + level, rel=1e-15)
    assert bound.after(np.inf, 7.0) == level
    assert bound.after([1, 2], 7.0) == pytest.approx([7 * bound.contraction**k + level for k in (1, 2)], rel=1e-15)


@pytest.mark.parametrize(("change", "grows"), [("step_size", 1), ("variance", 1), ("lipschitz_max", 1), ("mu", -1)])
def test_neighbourhood_is_monotone(change, grows):
    numbers = {"step_size": 0.01, "variance": 3.0, **NUMBERS}
    before, after = (extrapolated.mse_bound(**numbers | {change: scale * numbers[change]}) for scale in (1.0, 2.0))
    assert grows * (after.neighbourhood - before.neighbourhood) > 0
    assert (after.contraction < before.contraction) == (change in ("step_size", "mu"))


def test_units_of_the_bound():
    """F scaled by s and the step by 1/s is the same run; x scaled by s scales squares by s^2."""
    one = extrapolated.mse_bound(step_size=0.01, variance=3.0, **NUMBERS)
    faster = extrapolated.mse_bound(step_size=0.0025, variance=3.0 * 16, n=3, mu=2.0, lipschitz_max=8.0)
    assert faster == pytest.approx(one, rel=1e-14)
    assert extrapolated.mse_bound(step_size=0.01, variance=0.0, **NUMBERS).neighbourhood == 0


@pytest.mark.parametrize("seed", range(5))
def test_upper_envelope(make_affine, seed):
    """At the cap and below, exact errors are hundreds of times under the bound, and the contraction under its own."""
    game = make_affine(seed, 4 + seed % 2, 2)
    cap = extrapolated.step_size_cap(game)
    for step_size in (cap.product, cap.product / 4, cap.smaller):
        bound = extrapolated.mse_bound(game, step_size=step_size)
        for order in ("reshuffle", "once", "cyclic"):
            exact = games.stationary_moments(game, games.GradientDescentAscent(step_size, order))
            assert 100 * exact.mse < bound.neighbourhood
            assert exact.ms_contraction < bound.contraction
            assert bound.contraction == seg_rr.contraction(game, step_size=step_size)


def test_games_give_their_constants(make_affine):
    game = make_affine(1, 4, 3)
    found = games.step_sizes.constants(game)._asdict()

    def pick(*names):
        return {name: found[name] for name in names}

    names = ("n", "mu", "lipschitz_max")
    assert extrapolated.step_size_cap(game) == extrapolated.step_size_cap(**pick(*names))
    assert extrapolated.mse_bound(game, step_size=0.01) == extrapolated.mse_bound(
        step_size=0.01, **pick(*names, "variance")
    )
    names = ("n", "lipschitz_max", "lipschitz", "variance_growth")
    expected = seg_rr.monotone_constant(step_size=0.01, **pick(*names))
    assert seg_rr.monotone_constant(game, step_size=0.01) == expected


def test_monotone_constant_by_hand():
    n, top, lipschitz, growth, g = 4, 3.0, 2.0, 5.0, 0.01
    c = ((50 + 2 * n) * growth + 2 * (10 * n**2 + 50 * n + 2) * lipschitz**2) * g**2
    c += 4 * (growth + 2 * lipschitz**2) * g**2
    expected = 2 * (1 + g**2 * n**2 * (2 * lipschitz**2 + 8 * g**2 * lipschitz**4 + 3) + 3 * c * top**2)
    numbers = {"n": n, "lipschitz_max": top, "lipschitz": lipschitz, "variance_growth": growth}
    assert seg_rr.monotone_constant(step_size=g, **numbers) == pytest.approx(expected, rel=1e-14)
    assert seg_rr.monotone_constant(step_size=1e-12, **numbers) == pytest.approx(2.0, rel=1e-15)


def test_claimed_orders_are_the_papers():
    assert extrapolated.convergence_orders("independent") == (1, 1) and extrapolated.convergence_orders(
        "independent", 2
    ) == (1.5, None)
    assert extrapolated.convergence_orders("reshuffle") == (1, 2) and extrapolated.convergence_orders(
        "reshuffle", 2
    ) == (3, 2)
    # where it speaks of reshuffling itself exact computation agrees, and of the extrapolated pair it does not
    assert extrapolated.convergence_orders("reshuffle") == games.convergence_orders("reshuffle")
    claimed, derived = (table("reshuffle", 2) for table in (extrapolated.convergence_orders, games.convergence_orders))
    assert claimed.bias > derived.bias and claimed.mse < derived.mse


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: extrapolated.step_size_cap(), r"n, mu, lipschitz_max missing"),
        (lambda: extrapolated.step_size_cap(n=3, mu=0.0, lipschitz_max=1.0), r"mu = 0.0 must be positive"),
        (lambda: extrapolated.step_size_cap(n=0, mu=1.0, lipschitz_max=1.0), r"n = 0 must be positive"),
        (lambda: extrapolated.step_size_cap(games.FiniteSum(lambda i, x: x, 2)), r"game is a FiniteSum"),
        (lambda: extrapolated.mse_bound(step_size=0.1, **NUMBERS), r"variance missing"),
        (
            lambda: extrapolated.mse_bound(step_size=0.1, variance=-1.0, **NUMBERS),
            r"variance = -1.0 must be not neg",
        ),
        (
            lambda: extrapolated.mse_bound(step_size=0.1, variance=1.0, weakness=-1.0, **NUMBERS),
            r"weakness = -1.0",
        ),
        (lambda: seg_rr.contraction(step_size=0.0, n=1, mu=1.0), r"step_size = 0.0 must be positive"),
        (lambda: seg_rr.contraction(step_size=0.5, n=4, mu=1.0), r"step_size = 0.5 is not below 2/\(n mu\)"),
        (lambda: extrapolated.convergence_orders("cyclic"), r"order = 'cyclic' with points = 1: the paper"),
        (lambda: extrapolated.convergence_orders("reshuffle", 3), r"points = 3: the paper"),
    ],
)
def test_bad_input(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_a_game_or_numbers():
    game = games.quadratic_game(jax.random.key(0), components=3, dim=1, mu=1.0, lipschitz=2.0)
    with pytest.raises(ValueError, match=r"both a game and mu"):
        seg_rr.contraction(game, step_size=0.1, mu=1.0)
    with pytest.raises(ValueError, match=r"mu = 0.0 must be positive"):
        flat = games.bilinear_game(jax.random.key(0), components=3, dim=1, mu=1.0, lipschitz=2.0)
        seg_rr.contraction(flat, step_size=0.1)
