"""Where a method with constant steps settles on an affine game: the exact stationary mean and mean-square error."""

import math
from itertools import permutations
from typing import Any, NamedTuple

import jax
import numpy as np
from jaxtyping import Float, PRNGKeyArray
from scipy.sparse import linalg as sparse

from ..numerics import spectral_radius
from . import laws
from .affine import AffineGame
from .chains import epoch_averages
from .extragradient import Extragradient, GradientDescentAscent

STABLE = 1 - 1e-12
"""A spectral radius below this is stable; float64 cannot tell the rest from 1."""
EXACT_FLOPS = 1e9
"""The most that one pass over the subsets (reshuffle) or the orders (once) may cost to be done exactly."""
EXACT_COMPONENTS = {"reshuffle": 16, "once": 9}
"""The most components whose subsets or orders are enumerated."""
SAMPLES = 64
"""Chains or orders of a Monte Carlo answer, when `samples` is None."""
DENSE = 60
"""Second-moment maps of at most this size are solved as matrices, larger ones by Krylov methods."""


class Moments(NamedTuple):
    """What stays of x at the ends of epochs, once the start is forgotten.

    `mean` (d,) = E x; `mse` = E|x - x*|^2; `covariance` (d, d); `contraction`, the spectral radius of E[M_w], M_w the
    matrix of one epoch; `ms_contraction`, that of E[M_w kron M_w]; `standard_error` of `mse` and `mean_standard_error`
    (d,) of `mean`, zero for an exact answer.

    **Source**: derived here; see `stationary_moments`.

        >>> import jax.numpy as jnp, theorylab as tl
        >>> game = tl.games.AffineGame(jnp.asarray([[[1.0]], [[1.0]]]), jnp.asarray([[1.0], [-1.0]]))
        >>> moments = tl.games.stationary_moments(game, tl.games.GradientDescentAscent(0.5, order="cyclic"))
        >>> moments.contraction, moments.mean_square_stable
        (0.25, True)
    """

    mean: Float[np.ndarray, " d"]
    mse: float
    covariance: Float[np.ndarray, "d d"]
    contraction: float
    ms_contraction: float
    standard_error: float
    mean_standard_error: Float[np.ndarray, " d"]

    @property
    def mean_square_stable(self) -> bool:
        """Whether the mean-square error settles at all."""
        return bool(np.isfinite(self.mse))


def stationary_moments(
    game: Any,
    method: Any,
    *,
    key: PRNGKeyArray | None = None,
    samples: int | None = None,
) -> Moments:
    r"""The stationary mean, mean-square error and covariance of a method with constant steps, at the ends of epochs.

    An epoch is a random affine map $x \mapsto M_w x + c_w$ with w independent of x. With x* = 0 the mean solves
    $m = E[M_w] m + E[c_w]$ and the second moment $S = E[M_w S M_w^T] + E[c c^T + M m c^T + c m^T M^T]$.

    - `"independent"`: exact for every n.
    - `"reshuffle"`: exact for n <= 16 while `4 (d+1)^3 n 2^(n-1)` <= 1e9 flops, by a recursion over subsets; exact for
      every n where all matrices are equal. Beyond, averages over time in independent chains.
    - `"once"`: the permutation is drawn once for all time, so that x settles at the fixed point of its epoch; moments
      are over the permutation. Exact for n <= 9 while `2 (d+1)^3 n!` <= 1e9, beyond that over sampled permutations. The
      two contractions are, as for `"reshuffle"`, of the averages over permutations; what decides is whether *every*
      permutation's epoch is stable.
    - `"cyclic"`: one deterministic map for every n; the covariance is 0.

    A method that is not mean-square stable (`ms_contraction >= 1`, for `"once"` a permutation whose epoch is not
    stable) has `mse` inf and `covariance` nan; the mean is still given while `contraction < 1`, and nan otherwise
    (for `"once"` with an unstable permutation, always). In a Monte Carlo answer the contractions are estimates too,
    from `samples` permutations, and so is that verdict.

    **Arguments**: `game`, an `AffineGame` of concrete arrays (any dtype; the work is in float64 on the host); `method`,
    `GradientDescentAscent` or `Extragradient`; `key` and
    `samples` >= 2 (default 64; chains, or permutations for `"once"`) for Monte Carlo, unused where the answer is exact.

    **Returns** `Moments`, relative to `game.solution`.

    **Raises** `ValueError` for another kind of game or method, for a Monte Carlo case without a key, for samples < 2.

    **Source**: derived here; checked against the enumeration of permutations for n <= 6, closed forms and simulation.

        >>> import jax.numpy as jnp, theorylab as tl
        >>> game = tl.games.AffineGame(jnp.asarray([[[3.0]], [[1.0]]]), jnp.asarray([[1.0], [-1.0]]))
        >>> moments = tl.games.stationary_moments(game, tl.games.GradientDescentAscent(0.125))
        >>> round(float(moments.mean[0]), 12), round(-0.125 * 2 / (2 * (4 - 0.125 * 3)), 12)
        (-0.034482758621, -0.034482758621)
    """
    step_size, extrapolation_step = _steps(game, method)
    if samples is not None and samples < 2:
        raise ValueError(f"samples = {samples} must be at least 2, or there is no error bar")
    maps = laws.update_maps(game, step_size, extrapolation_step)
    exact = _is_exact(maps, method.order)
    count = samples or SAMPLES
    if not exact and key is None:
        raise ValueError(
            f"key is None, but order={method.order!r} with n = {game.n} and d = {game.d} is beyond exact "
            f"computation (at most {EXACT_COMPONENTS[method.order]} components and {EXACT_FLOPS:.0e} flops a pass): "
            "pass key= for Monte Carlo, or take a smaller game"
        )
    if method.order == "independent":
        found = _stationary(laws.uniform_law(maps), updates=game.n)
    elif method.order == "cyclic":
        found = _fixed_point(laws.products(maps, np.arange(game.n)[None])[0])
    elif method.order == "once":
        law = _reshuffled(maps) if exact else None
        found = _over_permutations(maps, law, None if exact else _draw(key, count, game.n))
    elif exact:
        found = _stationary(_reshuffled(maps))
    else:
        found = _by_chains(game, method, maps, key, count)
    return found._replace(mean=np.asarray(game.solution, float) + found.mean)


def _steps(game, method):
    if not isinstance(game, AffineGame):
        raise ValueError(
            f"game is a {type(game).__name__}: stationary moments have a formula for an AffineGame alone; run the "
            "method and average over late epochs instead"
        )
    if not isinstance(method, GradientDescentAscent | Extragradient):
        raise ValueError(f"method is a {type(method).__name__}: pass GradientDescentAscent or Extragradient")
    extrapolation_step = method.extrapolation_step if isinstance(method, Extragradient) else 0.0
    return float(method.step_size), float(extrapolation_step)


def _shared(maps):
    return bool(np.all(maps[:, :, :-1] == maps[0, :, :-1]))


def _is_exact(maps, order):
    n, p = len(maps), maps.shape[-1]
    if order in ("independent", "cyclic") or (order == "reshuffle" and _shared(maps)):
        return True
    if n > EXACT_COMPONENTS[order]:
        return False
    terms = 2 * n * 2 ** (n - 1) if order == "reshuffle" else math.factorial(n)
    return 2 * p**3 * terms <= EXACT_FLOPS


def _reshuffled(maps):
    return laws.shared_law(maps) if _shared(maps) else laws.reshuffled_law(maps)


def _draw(key, samples, n):
    seed = np.asarray(jax.random.key_data(key), np.uint32).ravel()
    return np.random.default_rng(seed).permuted(np.tile(np.arange(n), (samples, 1)), axis=1)


def _fixed_point(epoch):
    """The limit of one deterministic map x -> Mx + c."""
    d = len(epoch) - 1
    contraction = spectral_radius(epoch[:-1, :-1])
    radii = {"contraction": contraction, "ms_contraction": contraction**2}
    if contraction >= STABLE:
        return _moments(np.full(d, np.nan), np.inf, np.full((d, d), np.nan), **radii)
    mean = np.linalg.solve(np.eye(d) - epoch[:-1, :-1], epoch[:-1, -1])
    return _moments(mean, float(mean @ mean), np.zeros((d, d)), **radii)


def _stationary(law, updates=1):
    """Both moments of x -> Mx + c for a law of (M, c); `updates` such maps make an epoch."""
    d = len(law.mean) - 1
    drift, offset = law.mean[:-1, :-1], law.mean[:-1, -1]
    contraction = spectral_radius(drift)
    second_map = _second_moment_map(law)
    ms_contraction = _ms_radius(second_map)
    exact = {"contraction": contraction**updates, "ms_contraction": ms_contraction**updates}
    mean = np.linalg.solve(np.eye(d) - drift, offset) if contraction < STABLE else np.full(d, np.nan)
    if max(contraction, ms_contraction) >= STABLE:
        return _moments(mean, np.inf, np.full((d, d), np.nan), **exact)
    forcing = np.block([[np.zeros((d, d)), mean[:, None]], [mean[None], np.ones((1, 1))]])
    second = _solve(second_map, law.transport(forcing)[:-1, :-1])
    return _moments(mean, float(np.trace(second)), second - np.outer(mean, mean), **exact)


def _moments(mean, mse, covariance, contraction, ms_contraction, standard_error=0.0, mean_standard_error=None):
    errors = np.zeros_like(mean) if mean_standard_error is None else mean_standard_error
    return Moments(mean, mse, covariance, contraction, ms_contraction, standard_error, errors)


def _second_moment_map(law):
    """E[M . M^T] on the upper triangles of symmetric matrices: a matrix when small, products alone when large."""
    d = len(law.mean) - 1
    upper = np.triu_indices(d)
    size = len(upper[0])

    def transport(packed):
        z = np.zeros((*packed.shape[:-1], d + 1, d + 1))
        z[..., upper[0], upper[1]] = packed
        z[..., upper[1], upper[0]] = packed
        return law.transport(z)[..., upper[0], upper[1]]

    if size <= DENSE:
        return transport(np.eye(size)).T, upper
    return _linear_operator(size, transport), upper


def _linear_operator(size, apply):
    # the stubs of scipy know the subclass's constructor alone
    return sparse.LinearOperator((size, size), matvec=lambda v: apply(np.ravel(v)), dtype=float)  # pyright: ignore


def _ms_radius(second_map):
    operator, (rows, columns) = second_map
    # the leading eigenvector lies in the cone of positive semidefinite matrices, of which the identity is the middle
    return spectral_radius(operator, start=(rows == columns).astype(float))


def _solve(second_map, forcing):
    operator, upper = second_map
    packed = forcing[upper]
    if isinstance(operator, np.ndarray):
        packed = np.linalg.solve(np.eye(len(packed)) - operator, packed)
    else:
        residual = _linear_operator(len(packed), lambda v: v - operator @ v)
        rough, _ = sparse.gmres(residual, packed, rtol=1e-6, restart=100, maxiter=20)
        # v - Tv cannot be known better than to the rounding of v: near-critical maps stop there
        floor = 8 * float(np.finfo(float).eps) * float(np.linalg.norm(rough))
        packed, failed = sparse.gmres(residual, packed, rough, rtol=1e-13, atol=floor, restart=100, maxiter=20)
        if failed:
            raise RuntimeError(
                "GMRES for the second moment did not converge: the map is too close to critical; take a larger step "
                f"size or a game of dimension below {math.isqrt(2 * DENSE)}"
            )
    second = np.zeros_like(forcing)
    second[upper] = packed
    second.T[upper] = packed
    return second


def _over_permutations(maps, law, drawn):
    """Moments over the permutation that `"once"` draws: all of them, or a sample and its rotations.

    Rotating a permutation moves its fixed point one update on and leaves its spectrum, so one order of a cycle
    is enough.
    """
    n, d = len(maps), maps.shape[-1] - 1
    orders = drawn
    if orders is None:
        rest = list(permutations(range(1, n)))
        orders = np.column_stack([np.zeros(len(rest), int), np.asarray(rest, int).reshape(len(rest), n - 1)])
    epochs = laws.products(maps, orders)
    law = laws.uniform_law(epochs) if law is None else law
    radii = {"contraction": spectral_radius(law.mean[:-1, :-1]), "ms_contraction": _ms_radius(_second_moment_map(law))}
    matrices = epochs[:, :-1, :-1]
    if np.abs(np.linalg.eigvals(matrices)).max() >= STABLE:
        return _moments(np.full(d, np.nan), np.inf, np.full((d, d), np.nan), **radii)
    points = np.ones((n, len(orders), d + 1))
    points[0, :, :-1] = np.linalg.solve(np.eye(d) - matrices, epochs[:, :-1, -1:])[..., 0]
    for k in range(1, n):
        points[k] = np.einsum("kij,kj->ki", maps[orders[:, k - 1]], points[k - 1])
    x = points[..., :-1]
    mean = x.mean(axis=(0, 1))
    covariance = np.einsum("rki,rkj->ij", x - mean, x - mean) / x[..., 0].size
    squares = np.sum(x**2, axis=-1).mean(axis=0)
    errors = {} if drawn is None else _errors(squares, x.mean(axis=0))
    return _moments(mean, float(squares.mean()), covariance, **radii, **errors)


def _errors(squares, means):
    root = np.sqrt(len(squares))
    return {
        "standard_error": float(squares.std(ddof=1) / root),
        "mean_standard_error": means.std(axis=0, ddof=1) / root,
    }


def _by_chains(game, method, maps, key, samples):
    d = game.d
    law = laws.uniform_law(laws.products(maps, _draw(key, samples, game.n)))
    radii = {"contraction": spectral_radius(law.mean[:-1, :-1]), "ms_contraction": _ms_radius(_second_moment_map(law))}
    rate = max(radii.values())
    if rate >= STABLE:
        mean = np.full(d, np.nan)
        if radii["contraction"] < STABLE:
            mean = np.linalg.solve(np.eye(d) - law.mean[:-1, :-1], law.mean[:-1, -1])
        return _moments(mean, np.inf, np.full((d, d), np.nan), **radii)
    # the start's share of the mean falls as rate^t: exp(-10) of it is left after the burn-in
    burn_in = math.ceil(10 / -math.log(rate)) if rate > 0 else 1
    means, seconds = epoch_averages(game, method, key, samples, burn_in, epochs=4 * burn_in)
    mean, second = means.mean(axis=0), seconds.mean(axis=0)
    squares = np.trace(seconds, axis1=1, axis2=2)
    return _moments(mean, float(squares.mean()), second - np.outer(mean, mean), **radii, **_errors(squares, means))
