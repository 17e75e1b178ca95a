"""Random games with known constants, and the game of a Wasserstein GAN that learns a mean."""

import functools
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax.core import Tracer
from jaxtyping import Array, Float

from ..numerics.checked import Key
from ..numerics.draws import normal, orthogonal
from .affine import AffineGame


def quadratic_game(
    key: Key,
    *,
    components: int,
    dim: int,
    mu: float | Float[Array, ""],
    lipschitz: float | Float[Array, ""],
    heterogeneous: bool = True,
) -> AffineGame:
    r"""Draw a game of two players, each with curvature of its own.

    The game is $\min_u \max_v \frac1n\sum_i \frac12 u^T P_i u + u^T B_i v - \frac12 v^T C_i v + a_i^T u - c_i^T v$.

    Its components have $A_i = \begin{pmatrix} P_i & B_i \\ -B_i^T & C_i \end{pmatrix}$ and $b_i = (a_i, c_i)$. $P_i$
    and $C_i$ have the eigenvalues `linspace(mu, lipschitz, dim)` and $B_i$ `linspace(0, 1, dim)`, each in a
    Haar-distributed frame of its own; with `heterogeneous=False` all components share the three frames and differ in
    their offsets alone. With dim = 1 the spectra are their left ends, mu and 0. The game is mu-strongly monotone.

    **Arguments**: `key`; `components` n >= 1; `dim` of each player, so that x has d = 2 dim; 0 <= `mu` <= `lipschitz`.

    **Returns** an `AffineGame` with offsets N(0, 1), in JAX's default precision.

    **Raises** `ValueError` when n, dim, mu or lipschitz is out of range, or the mean matrix is singular.

    **Source**: Emmanouilidis, Vidal, Loizou (2024), arXiv 2403.07148, experiments; with frames of its own for each
    component and without the factor 1/n that the public code puts before this operator.

        >>> import jax, theorylab as tl
        >>> game = tl.games.quadratic_game(jax.random.key(0), components=4, dim=3, mu=1.0, lipschitz=5.0)
        >>> game.n, game.d
        (4, 6)
    """
    _check(components, dim, mu, lipschitz)
    return AffineGame(*_quadratic(key, components, dim, mu, lipschitz, heterogeneous))


def bilinear_game(
    key: Key,
    *,
    components: int,
    dim: int,
    mu: float | Float[Array, ""],
    lipschitz: float | Float[Array, ""],
    heterogeneous: bool = True,
) -> AffineGame:
    r"""Draw a game of two players with no curvature but their coupling's.

    The game is $\min_u \max_v \frac1n \sum_i u^T B_i v + a_i^T u - c_i^T v$.

    $B_i$ has the eigenvalues `linspace(mu, lipschitz, dim)` in a Haar-distributed frame of its own, or in one that
    all share (`heterogeneous=False`); with dim = 1 it is mu. Being symmetric and positive definite, the $B_i$ do not
    cancel: the mean coupling has singular values >= mu in either case.

    **Arguments**: `key`; `components` n >= 1; `dim` of each player, so that x has d = 2 dim; 0 < `mu` <= `lipschitz`.

    **Returns** an `AffineGame` with offsets N(0, 1/n^2), in JAX's default precision.

    **Raises** `ValueError` when n, dim, mu or lipschitz is out of range, or the mean coupling is singular.

    **Source**: Emmanouilidis, Vidal, Loizou (2024), arXiv 2403.07148, experiments.

        >>> import jax, theorylab as tl
        >>> game = tl.games.bilinear_game(jax.random.key(0), components=4, dim=3, mu=0.5, lipschitz=2.0)
        >>> bool(abs(game.matrices + game.matrices.mT).max() < 1e-6)
        True
    """
    _check(components, dim, mu, lipschitz)
    return AffineGame(*_bilinear(key, components, dim, mu, lipschitz, heterogeneous))


def convex_concave_game(
    key: Key,
    *,
    components: int,
    dim: int,
    lipschitz: float | Float[Array, ""],
    heterogeneous: bool = True,
) -> AffineGame:
    r"""Draw a game of two players that are not coupled, each with directions in which it has no curvature.

    The game is $\min_u \max_v \frac1n\sum_i \frac12 u^T P_i u - \frac12 v^T C_i v + a_i^T u - c_i^T v$: the quadratic
    game at $\mu = 0$ and $B_i = 0$. $P_i$ and $C_i$ have the eigenvalues `linspace(0, lipschitz, dim)`, each in a
    Haar-distributed frame of its own, so that each component is singular while the mean of two or more is not; with
    `heterogeneous=False` all share the frames, the mean is singular too, and the solutions are a plane through x*.

    **Arguments**: `key`; `components` n >= 1; `dim` >= 2 of each player, so that x has d = 2 dim (with one dimension
    the only eigenvalue is 0); `lipschitz` > 0; `heterogeneous`.

    **Returns** an `AffineGame` with offsets N(0, 1), shifted by what one and the same vector takes to make the
    `solution` x*, itself a standard normal draw, solve the mean system. In JAX's default precision.

    **Raises** `ValueError` when n, dim or lipschitz is out of range.

    **Source**: Emmanouilidis, Vidal, Loizou (2024), arXiv 2403.07148, the convex-concave experiment; the shift is ours:
    a singular mean has no solution for offsets at random.

        >>> import jax, theorylab as tl
        >>> game = tl.games.convex_concave_game(jax.random.key(0), components=4, dim=3, lipschitz=5.0)
        >>> game.n, game.d, bool(abs(game.operator(game.solution)).max() < 1e-5)
        (4, 6, True)
    """
    _check(components, dim, lipschitz=lipschitz)
    if dim < 2:
        raise ValueError(f"dim = {dim} must be at least 2: the one eigenvalue of one dimension is 0")
    return AffineGame(*_convex_concave(key, components, dim, lipschitz, heterogeneous))


def wgan_mean_game(
    key: Key,
    *,
    components: int,
    mean: Sequence[float] | Float[Array, " k"] = (3.0, 4.0),
    variance: float | Float[Array, ""] = 0.1,
) -> AffineGame:
    r"""Draw a WGAN that learns a mean: $\inf_\theta \sup_w \frac1n \sum_i \langle w, y_i - z_i - \theta\rangle$.

    The data are $y_i \sim N(\text{mean}, \text{variance}\, I)$ and the generator's noise $z_i \sim N(0,
    \text{variance}\, I)$. With $x = (w, \theta)$ the components are $F_i(x) = (\theta - (y_i - z_i), -w)$: one matrix
    for all, different offsets. The solution is that of the sample, $w = 0$ and $\theta = \bar y - \bar z$, which is
    not the population's mean.

    **Arguments**: `key`; `components` n >= 1; `mean` (k,), so that x has d = 2k; `variance` > 0 of each coordinate.

    **Returns** an `AffineGame`, in JAX's default precision.

    **Raises** `ValueError` for n < 1 or an empty mean.

    **Source**: Emmanouilidis, Vidal, Loizou (2024), arXiv 2403.07148, the GAN experiment, which starts at w = (1.4,
    1.4) and theta = (1.7, 1.7).

        >>> import jax, theorylab as tl
        >>> game = tl.games.wgan_mean_game(jax.random.key(0), components=100)
        >>> game.d, game.solution[:2].tolist()
        (4, [0.0, 0.0])
    """
    mean = jnp.asarray(mean, float)[None]
    k = mean.size
    _check(components, k)
    key_data, key_noise = jax.random.split(key)
    deviation = jnp.sqrt(jnp.asarray(variance, float))
    data = mean + deviation * normal(key_data, (components, k))
    gap = data - deviation * normal(key_noise, (components, k))
    matrix = jnp.block([[jnp.zeros((k, k)), jnp.eye(k)], [-jnp.eye(k), jnp.zeros((k, k))]])
    offsets = jnp.concatenate([-gap, jnp.zeros_like(gap)], axis=1)
    solution = jnp.concatenate([jnp.zeros(k), jnp.mean(gap, axis=0)])
    return AffineGame(jnp.broadcast_to(matrix, (components, 2 * k, 2 * k)), offsets, solution)


@functools.partial(jax.jit, static_argnums=(1, 2))
def _quadratic(key, components, dim, mu, lipschitz, heterogeneous):
    key_p, key_b, key_c, key_offset = jax.random.split(key, 4)
    curvature, coupling = jnp.linspace(mu, lipschitz, dim), jnp.linspace(0.0, 1.0, dim)
    spectra = jnp.stack([curvature, coupling, curvature])
    p, b, c = _symmetric(jnp.stack([key_p, key_b, key_c]), components, spectra, heterogeneous)
    return jnp.block([[p, b], [-b, c]]), normal(key_offset, (components, 2 * dim))


@functools.partial(jax.jit, static_argnums=(1, 2))
def _convex_concave(key, components, dim, lipschitz, heterogeneous):
    key_p, key_c, key_offset, key_solution = jax.random.split(key, 4)
    spectra = jnp.stack([jnp.linspace(0.0, lipschitz, dim)] * 2)
    p, c = _symmetric(jnp.stack([key_p, key_c]), components, spectra, heterogeneous)
    zero = jnp.zeros_like(p)
    matrices = jnp.block([[p, zero], [zero, c]])
    offsets = normal(key_offset, (components, 2 * dim))
    solution = normal(key_solution, (2 * dim,))
    residual = jnp.mean(matrices, axis=0) @ solution + jnp.mean(offsets, axis=0)
    return matrices, offsets - residual[None], solution


@functools.partial(jax.jit, static_argnums=(1, 2))
def _bilinear(key, components, dim, mu, lipschitz, heterogeneous):
    key_b, key_offset = jax.random.split(key)
    (b,) = _symmetric(key_b[None], components, jnp.linspace(mu, lipschitz, dim)[None], heterogeneous)
    zero = jnp.zeros_like(b)
    offsets = normal(key_offset, (components, 2 * dim)) / components
    return jnp.block([[zero, b], [-b, zero]]), offsets


def _symmetric(keys, components, spectra, heterogeneous):
    # all frames in one decomposition: several at once were seen to wait for each other forever on CPU (jaxlib 0.10.2)
    frames = jax.vmap(lambda key: orthogonal(key, spectra.shape[1], (components,)))(keys)
    # as many frames either way, so that both kinds of game are one program
    frames = jnp.where(heterogeneous, frames, frames[:, :1])
    matrices = jnp.einsum("knij,kj,knlj->knil", frames, spectra, frames)
    return (matrices + matrices.mT) / 2


def _check(components: int, dim: int, mu: Any = 0.0, lipschitz: Any = 1.0) -> None:
    for name, value in (("components", components), ("dim", dim)):
        if value < 1:
            raise ValueError(f"{name} = {value} must be an integer >= 1")
    traced = isinstance(mu, Tracer) or isinstance(lipschitz, Tracer)
    if not traced and not 0 <= mu <= lipschitz < float("inf"):
        raise ValueError(f"mu = {mu} and lipschitz = {lipschitz} must satisfy 0 <= mu <= lipschitz, both finite")
