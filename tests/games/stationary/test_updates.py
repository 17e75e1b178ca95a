"""The update as an affine map: closed forms, and products of maps that are the methods' own epochs."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from theorylab import games
from theorylab.games.stationary.updates import affine_epoch

KEY = jax.random.key(4)
N, D = 4, 2


@pytest.fixture(scope="module")
def game():
    rng = np.random.default_rng(1)
    return games.AffineGame(rng.standard_normal((N, D, D)) + 2 * np.eye(D), rng.standard_normal((N, D)))


def methods():
    yield games.GradientDescentAscent(0.05, "cyclic")
    yield games.Extragradient(0.05, 0.1, "cyclic", batch_size=3)
    yield games.IndependentExtragradient(0.05, 0.1, "cyclic", batch_size=2)
    yield games.OptimisticGradient(0.05, "cyclic", batch_size=2)
    yield games.HamiltonianGradient(0.05, "cyclic")


def groups(method):
    sequence = np.tile(np.arange(N), method.samples)
    size = method.samples * method.batch_size
    return [sequence[k : k + size][None] for k in range(0, len(sequence), size)]


@pytest.mark.parametrize("method", [*methods()], ids=lambda method: type(method).__name__)
@pytest.mark.parametrize("multipliers", [None, (1, 2), (1, 2, 4)])
def test_products_of_maps_are_epochs(game, method, multipliers):
    whole = method if multipliers is None else games.Richardson(method, multipliers)
    epoch = affine_epoch(game, whole)
    x0 = jnp.asarray([1.0, -0.5])
    after = whole.step(game, whole.init(game, KEY, x0), KEY)
    start = [np.asarray(x0 - game.solution)]
    if isinstance(method, games.OptimisticGradient):
        start.append(np.asarray(game.operator(x0)))
    z = np.concatenate([*start * (1 if multipliers is None else len(multipliers)), [1.0]])
    for group in groups(method):
        z = epoch.updates.maps(group)[0] @ z
    # a dozen updates of some roundings each, weighted by up to 8/3
    assert np.allclose(epoch.readout @ z[:-1], after.x - game.solution, rtol=0, atol=1e-13)


def test_closed_forms(game):
    a, at_solution = np.asarray(game.matrices), np.asarray(game.matrices @ game.solution + game.offsets)
    g1, g2 = 0.07, 0.2
    maps = affine_epoch(game, games.Extragradient(g1, g2)).updates.maps(np.arange(N)[:, None])
    look = np.eye(D) - g2 * a
    assert np.allclose(maps[:, :D, :D], np.eye(D) - g1 * a @ look, rtol=0, atol=1e-15 * 8)
    assert np.allclose(maps[:, :D, D], -g1 * np.einsum("nij,nj->ni", look, at_solution), rtol=0, atol=1e-15 * 8)
    assert np.array_equal(maps[:, D], np.broadcast_to([0, 0, 1], (N, D + 1)))
    pair = np.asarray([[1, 2]])
    descent = affine_epoch(game, games.HamiltonianGradient(g1)).updates.maps(pair)[0]
    assert np.allclose(descent[:D, :D], np.eye(D) - g1 / 2 * (a[1].T @ a[2] + a[2].T @ a[1]), rtol=0, atol=1e-15 * 8)


def test_noise_of_one_update(game):
    """Descent-ascent moves by -g (g sqrt(n) sigma) u at the oracle; at the iterate the epoch ends with that level."""
    level = 0.1 * np.sqrt(N) * 0.5
    index = np.arange(2)[:, None]
    step = affine_epoch(game, games.GradientDescentAscent(0.1, noise_site="oracle_step", sigma=0.5))
    assert np.allclose(step.loadings(index), -0.1 * level * np.eye(D), rtol=0, atol=1e-16)
    epoch = affine_epoch(game, games.Richardson(games.GradientDescentAscent(0.1, noise_site="iterate", sigma=0.5)))
    assert epoch.loadings(index).shape == (2, 2 * D, 0)
    assert np.allclose(epoch.after, np.concatenate([level * np.eye(D), 2 * level * np.eye(D)]), rtol=1e-15)


def test_bad_input(game):
    with pytest.raises(ValueError, match="FiniteSum"):
        affine_epoch(games.FiniteSum(lambda i, x: x, 2), games.GradientDescentAscent(0.1))
    with pytest.raises(ValueError, match="schedule"):
        affine_epoch(game, games.GradientDescentAscent(games.Power(1.0)))
    with pytest.raises(ValueError, match="method is a dict"):
        affine_epoch(game, {})
