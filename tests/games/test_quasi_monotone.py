"""Quasi-monotone games keep their inequality at every point tried, and are not monotone."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from theorylab import games
from theorylab.games.quasi_monotone import LEAST_SINC

KEY = jax.random.key(11)
COMMON = {"components": 5, "dim": 2, "mu": 0.5, "lipschitz": 2.0}
MAKERS = {
    "rippled": lambda **change: games.quasi_monotone_game(
        KEY, **({**COMMON, "ripple": 1.5, "frequency": 4.0} | change)
    ),
    "gently rippled": lambda **change: games.quasi_monotone_game(
        KEY, **({**COMMON, "mu": 0.2, "lipschitz": 0.4, "ripple": 0.2, "frequency": 4.0} | change)
    ),
    "wavering": lambda **change: games.quasi_strongly_monotone_game(
        KEY, **({**COMMON, "ripple": 0.5, "frequency": 3.0} | change)
    ),
}


@pytest.fixture(scope="module", params=MAKERS)
def game(request):
    return MAKERS[request.param]()


def test_the_inequality_and_what_it_starts_from(game):
    """At 3000 points of all sizes; F(x*) = 0 to rounding."""
    assert float(jnp.abs(game.operator(game.solution)).max()) < 1e-15
    sizes = jnp.geomspace(1e-3, 1e2, 3000)[:, None]
    x = sizes * jnp.asarray(np.random.default_rng(0).normal(size=(3000, 4)))
    inner = jnp.sum(jax.vmap(game.operator)(x) * x, axis=1)
    least = game.mu * jnp.sum(x**2, axis=1) - game.weakness
    assert bool(jnp.all(inner >= least - 1e-12 * jnp.sum(x**2, axis=1)))


def test_they_are_not_monotone(game):
    """Two points that F pushes apart: they are looked for along the axes and along rays."""
    base = jnp.concatenate([jnp.eye(4), jnp.ones((1, 4))])[:, None] * jnp.linspace(0.1, 30.0, 600)[None, :, None]
    x = base.reshape(-1, 4)
    y = 1.01 * x
    inner = jnp.sum((jax.vmap(game.operator)(x) - jax.vmap(game.operator)(y)) * (x - y), axis=1)
    assert float((inner / jnp.sum((x - y) ** 2, axis=1)).min()) < -0.05


def test_weakness():
    """lambda = d r^2 / (4 mu) for a strong ripple, 0 for one that 0.2172 r omega <= mu holds down; both are needed."""
    assert float(MAKERS["rippled"]().weakness) == pytest.approx(4 * 1.5**2 / 2, rel=1e-15)
    assert float(MAKERS["gently rippled"]().weakness) == 0
    z = np.linspace(4, 5, 1_000_001)
    assert np.min(np.sin(z) / z) == pytest.approx(LEAST_SINC, abs=1e-12)
    # with a ripple of this strength the inequality without lambda fails somewhere
    game = games.quasi_monotone_game(KEY, **COMMON, ripple=10.0, frequency=1.0)
    x = jnp.linspace(-10.0, 10.0, 401)[:, None] * jnp.ones((1, 4))
    inner = jnp.sum(jax.vmap(game.operator)(x) * x, axis=1)
    assert float((inner - game.mu * jnp.sum(x**2, axis=1)).min()) < -10


def test_the_components_are_those_of_the_docstring(game):
    """Linear parts by differences: without ripple the component is affine, and its symmetric part has its spectrum."""
    data = game.data
    x = jnp.asarray([0.3, -0.2, 1.0, 0.7])
    if "strength" in data:
        wave = 1 + data["ripple"] * jnp.cos(data["frequency"] * jnp.log(1 + x @ x))
        extra = game.mu / (1 - data["ripple"]) * wave * x
        assert jnp.allclose(data["matrices"], -data["matrices"].mT, rtol=0, atol=1e-14)
    else:
        extra = data["ripple"] * jnp.sin(data["frequency"] * x)
        spectra = jnp.linalg.eigvalsh((data["matrices"] + data["matrices"].mT) / 2)
        assert float(spectra.min()) == pytest.approx(2 * float(game.mu), rel=1e-12)
    for i in range(game.n):
        expected = data["matrices"][i] @ x + data["offsets"][i] + extra
        assert jnp.allclose(game.component(i, x), expected, rtol=1e-14)
    assert jnp.abs(data["offsets"]).max() > 0.3 and jnp.abs(jnp.mean(data["offsets"], axis=0)).max() < 1e-15


def test_slope_along_a_ray():
    """The formula from which the wavering game is not monotone."""
    game = MAKERS["wavering"]()
    direction = jnp.asarray([0.5, 0.5, 0.5, 0.5])
    for r in (0.5, 2.0, 7.0):
        slope = jax.grad(lambda r: direction @ game.operator(r * direction))(r)
        theta = 3.0 * np.log1p(r**2)
        wave = 1 + 0.5 * np.cos(theta) - 2 * 0.5 * 3.0 * r**2 / (1 + r**2) * np.sin(theta)
        assert float(slope) == pytest.approx(0.5 / 0.5 * wave, rel=1e-12)


def test_both_precisions(game, cast, dtype):
    x = jnp.asarray([0.3, -0.2, 1.0, 0.7], dtype)
    found = cast(game, dtype).component(1, x)
    assert found.dtype == dtype
    # rounding of entries up to ten
    assert np.allclose(found, game.component(1, x.astype(float)), rtol=0, atol=100 * float(jnp.finfo(dtype).eps))


def test_traced_parameters():
    """Under vmap the facts are lanes too."""
    stack = jax.vmap(lambda ripple: MAKERS["rippled"](ripple=ripple))(jnp.asarray([0.1, 1.5]))
    assert stack.weakness.tolist() == [0.0, float(MAKERS["rippled"]().weakness)]


@pytest.mark.parametrize("maker", ["rippled", "wavering"])
@pytest.mark.parametrize("change", [{"mu": 0.0}, {"frequency": -1.0}, {"ripple": -0.1}, {"components": 0}])
def test_bad_input(maker, change):
    (name,) = change
    with pytest.raises(ValueError, match=name):
        MAKERS[maker](**change)


def test_bad_curvature():
    with pytest.raises(ValueError, match=r"mu = 1\.5 must be at most half of lipschitz = 2\.0"):
        MAKERS["rippled"](mu=1.5)
    with pytest.raises(ValueError, match=r"ripple = 1\.0 must be >= 0 and below 1"):
        MAKERS["wavering"](ripple=1.0)
