"""Random games have the spectra that they promise."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from theorylab import games

KEY = jax.random.key(7)


@pytest.mark.parametrize("heterogeneous", [True, False])
def test_quadratic_spectra(heterogeneous):
    game = games.quadratic_game(KEY, components=4, dim=3, mu=0.5, lipschitz=6.0, heterogeneous=heterogeneous)
    blocks = np.asarray(game.matrices)
    p, b, c = blocks[:, :3, :3], blocks[:, :3, 3:], blocks[:, 3:, 3:]
    assert np.array_equal(blocks[:, 3:, :3], -b)
    for block, spectrum in ((p, [0.5, 3.25, 6.0]), (c, [0.5, 3.25, 6.0]), (b, [0.0, 0.5, 1.0])):
        assert np.allclose(block, block.mT, rtol=0, atol=1e-14)
        assert np.allclose(np.linalg.eigvalsh(block), spectrum, rtol=0, atol=1e-13)
        assert (len(np.unique(block.round(9), axis=0)) == 1) is not heterogeneous
    assert not np.allclose(p[0], c[0])
    assert games.step_sizes.constants(game).mu >= 0.5 - 1e-13


@pytest.mark.parametrize("heterogeneous", [True, False])
def test_bilinear_spectra(heterogeneous):
    game = games.bilinear_game(KEY, components=5, dim=2, mu=0.5, lipschitz=2.0, heterogeneous=heterogeneous)
    b = np.asarray(game.matrices)[:, :2, 2:]
    assert np.allclose(np.linalg.svd(b, compute_uv=False), [2.0, 0.5], rtol=0, atol=1e-14)
    found = games.step_sizes.constants(game)
    assert found.mu == 0.0 and found.lambda_min >= 0.5 - 1e-14 and found.lipschitz_max == pytest.approx(2.0, rel=1e-13)


@pytest.mark.parametrize("heterogeneous", [True, False])
def test_convex_concave_spectra_and_solution(heterogeneous):
    game = games.convex_concave_game(KEY, components=4, dim=3, lipschitz=6.0, heterogeneous=heterogeneous)
    blocks = np.asarray(game.matrices)
    assert not blocks[:, :3, 3:].any() and not blocks[:, 3:, :3].any()
    for block in (blocks[:, :3, :3], blocks[:, 3:, 3:]):
        assert np.allclose(np.linalg.eigvalsh(block), [0.0, 3.0, 6.0], rtol=0, atol=1e-13)
        assert (len(np.unique(block.round(9), axis=0)) == 1) is not heterogeneous
    mean = np.linalg.eigvalsh(blocks.mean(axis=0))
    # frames of one's own leave no direction flat; shared ones leave one to each player
    assert (np.abs(mean) < 1e-13).sum() == (0 if heterogeneous else 2)
    assert float(jnp.abs(game.operator(game.solution)).max()) < 1e-14
    # the shift is one vector for all components
    draws = np.asarray(game.offsets) - np.asarray(game.offsets).mean(axis=0)
    assert 0.5 < draws.var() < 1.5 and np.abs(np.asarray(game.solution)).max() > 0.1


def test_flat_directions_do_not_move():
    """With shared frames the mean operator has no part in its null space, and extragradient solves the rest."""
    game = games.convex_concave_game(KEY, components=2, dim=3, lipschitz=2.0, heterogeneous=False)
    values, vectors = np.linalg.eigh(np.asarray(game.matrices[0]))
    flat = vectors[:, np.abs(values) < 1e-12]
    solution = np.asarray(game.solution)
    matrix, offset = np.asarray(game.matrices[0]), np.asarray(game.offsets).mean(axis=0)
    x = solution + 1
    for _ in range(200):
        x = x - 0.25 * (matrix @ (x - 0.25 * (matrix @ x + offset)) + offset)
    assert np.allclose(flat.T @ (x - solution), flat.T @ np.ones(6), rtol=0, atol=1e-13)
    # (1 - 0.25 (1 - 0.25))^200, the slowest direction, is below rounding
    assert np.abs(matrix @ x + offset).max() < 1e-13


def test_offsets():
    """Standard deviations 1 and 1/n, at five standard errors."""
    for make, deviation in ((games.quadratic_game, 1.0), (games.bilinear_game, 1 / 200)):
        offsets = make(KEY, components=200, dim=3, mu=1.0, lipschitz=2.0).offsets / deviation
        assert abs(float((offsets**2).mean()) - 1) < 5 * np.sqrt(2 / 1200) and abs(float(offsets.mean())) < 5 / np.sqrt(
            1200
        )


def test_frames_are_haar():
    """The first entry of a Haar frame's first column has mean square 1/dim and no sign: five standard errors."""
    game = games.quadratic_game(KEY, components=2000, dim=3, mu=0.0, lipschitz=2.0)
    entries = np.asarray(game.matrices)[:, [0, 1, 2], [0, 1, 2]]
    # diag(Q diag(0, 1, 2) Q^T) has mean 1 and variance 2 (sum s^2 - (sum s)^2 / 3) / (3 * 5) = 4/15
    assert np.all(np.abs(entries.mean(axis=0) - 1) < 5 * np.sqrt(4 / 15 / 2000))
    assert np.all(np.abs(entries.var(axis=0) - 4 / 15) < 0.05)  # five of its standard errors, about 0.01


def test_traced_and_vmapped():
    stack = jax.vmap(lambda key, mu: games.quadratic_game(key, components=3, dim=2, mu=mu, lipschitz=4.0))(
        jax.random.split(KEY, 2), jnp.asarray([1.0, 2.0])
    )
    alone = games.quadratic_game(jax.random.split(KEY, 2)[1], components=3, dim=2, mu=2.0, lipschitz=4.0)
    assert jnp.allclose(stack.matrices[1], alone.matrices, rtol=0, atol=1e-13)
    assert jnp.allclose(stack.solution[1], alone.solution, rtol=0, atol=1e-13)


def test_wgan():
    game = games.wgan_mean_game(KEY, components=400, mean=(3.0, -1.0, 0.5))
    assert (game.n, game.d) == (400, 6) and game.solution[:3].tolist() == [0.0, 0.0, 0.0]
    gap = -np.asarray(game.offsets[:, :3])
    assert np.allclose(game.solution[3:], gap.mean(axis=0), rtol=1e-14)
    assert np.all(np.abs(gap.mean(axis=0) - [3.0, -1.0, 0.5]) < 5 * np.sqrt(0.2 / 400))
    w, theta = jnp.asarray([1.0, 2.0, 3.0]), jnp.asarray([0.1, 0.2, 0.3])

    def payoff(theta, w):
        return jnp.mean(jnp.asarray(gap) - theta[None], axis=0) @ w

    descent, ascent = jax.grad(payoff, (0, 1))(theta, w)
    assert jnp.allclose(game.operator(jnp.concatenate([w, theta])), jnp.concatenate([-ascent, descent]), atol=1e-12)
    # sigma_*^2 is the scatter of the sample
    variance = np.mean(np.sum((gap - gap.mean(axis=0)) ** 2, axis=1))
    assert games.step_sizes.constants(game).variance == pytest.approx(variance, rel=1e-12)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"components": 0}, "components = 0"),
        ({"dim": 0}, "dim = 0"),
        ({"mu": 3.0}, "mu = 3.0 and lipschitz = 2.0"),
        ({"mu": -1.0}, "mu = -1.0"),
        ({"lipschitz": float("inf")}, "lipschitz = inf"),
        ({"mu": 0.0, "heterogeneous": False}, "singular mean"),
    ],
)
def test_bad_input(change, message):
    with pytest.raises(ValueError, match=message):
        games.bilinear_game(KEY, **({"components": 3, "dim": 2, "mu": 1.0, "lipschitz": 2.0} | change))


@pytest.mark.parametrize(
    ("change", "message"),
    [({"dim": 1}, "dim = 1 must be at least 2"), ({"components": 0}, "components = 0"), ({"lipschitz": -1.0}, "-1.0")],
)
def test_bad_convex_concave(change, message):
    with pytest.raises(ValueError, match=message):
        games.convex_concave_game(KEY, **({"components": 3, "dim": 2, "lipschitz": 2.0} | change))
