"""Where a method with constant steps settles on an affine game: stationary moments, and averages over time."""

import contextlib
import dataclasses
import math
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float

from ...numerics.checked import Key
from ...numerics.extrapolation import richardson_weights
from ...numerics.spectra import spectral_radius
from ..richardson import Richardson
from . import dispatch
from .chains import draw_orders, epoch_averages
from .commuting import is_shared, shared_law
from .equations import STABLE, NotConverged, radii, stationary
from .kept_orders import every_order, fixed_points
from .laws import products, uniform_law
from .subsets import reshuffled_law
from .updates import affine_epoch

SAMPLES = 64
"""Chains or orders of a Monte Carlo answer, when `samples` is None."""


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


class StationaryError(NamedTuple):
    """Where E|x - x*|^2 settles, and the factor by which an epoch multiplies it."""

    mse: float
    ms_contraction: float


def stationary_moments(
    game: Any,
    method: Any,
    *,
    key: Key | None = None,
    samples: int | None = None,
) -> Moments:
    r"""Find the stationary mean, mean-square error and covariance of a method with constant steps, at ends of epochs.

    An epoch is a random affine map $z \mapsto M_w z + c_w$ of the state z = (x, memory), of size D (for `Richardson`
    the states of all chains), with w independent of z. With x* = 0 the mean solves $m = E[M_w] m + E[c_w]$ and the
    covariance $V = E[M_w V M_w^T] + Q$, Q that of one epoch from the mean, smoothing noise included. With p = D + 1:

    - `"independent"`: exact while `4 p^3` times the number of different groups is <= 1e9 flops: for single components
      always.
    - `"reshuffle"`: exact where all matrices are equal, at any n; for n <= 16 while `4 p^3 n 2^(n-1)` <= 1e9, by a
      recursion over subsets (with batches there are fewer terms, with two samples more, see `subsets.terms`); and for
      single components whose matrices commute while `n^3 p^2` <= 1e9, by quadrature. Beyond, averages over time in
      independent chains.
    - `"flipflop"`: exact where all matrices are equal, and for n <= 16 while `p^3 (p+1)^3 n 2^(n-2)` or `4 p^3 n!` is
      <= 1e9. Beyond, chains.
    - `"once"`: the permutation is drawn once for all time, so that x settles at the fixed point of its epoch (with
      noise, about it); moments are over the permutation. Exact for n <= 9 while `2 D^3 n!` <= 1e9, beyond that over
      sampled permutations. The two contractions are, as for `"reshuffle"`, of the averages over permutations; what
      decides is whether *every* permutation's epoch is stable.
    - `"cyclic"`: one map for every n; the covariance is 0 but for noise.
    - `"repeat"`: exact while `2 p^3 n^2` is <= 1e9 (with two samples `2 p^3 n^3`).

    `Richardson` with coupling `"shared"` has the joint law of its chains; with `"independent"` their moments add up,
    $\sum_j w_j m_j$ and $\sum_j w_j^2 V_j$. With `average=True` it is the limit of its running averages: the same mean
    without a covariance, but for `"once"`, whose permutation an average keeps.

    A method that is not mean-square stable (`ms_contraction >= 1`, for `"once"` a permutation whose epoch is not
    stable) has `mse` inf and `covariance` nan; the mean is still given while `contraction < 1`, and nan otherwise
    (for `"once"` with an unstable permutation, always). In a Monte Carlo answer the contractions are estimates too,
    from `samples` permutations, and so is that verdict.

    **Arguments**: `game`, an `AffineGame` of concrete arrays (any dtype; the work is in float64 on the host); `method`,
    an epoch method with constant steps, or `Richardson` of one; `key` and `samples` >= 2 (default 64; chains, or
    permutations for `"once"`) for Monte Carlo, unused where the answer is exact.

    **Returns** `Moments` of the emitted x, relative to `game.solution`.

    **Raises** `ValueError` for another kind of game (constraints too) or method, for step sizes that follow a schedule,
    for a Monte Carlo case without a key, for samples < 2.

    **Source**: derived here; checked against the enumeration of permutations for n <= 6, closed forms and simulation.

        >>> import jax.numpy as jnp, theorylab as tl
        >>> game = tl.games.AffineGame(jnp.asarray([[[3.0]], [[1.0]]]), jnp.asarray([[1.0], [-1.0]]))
        >>> moments = tl.games.stationary_moments(game, tl.games.GradientDescentAscent(0.125))
        >>> round(float(moments.mean[0]), 12), round(-0.125 * 2 / (2 * (4 - 0.125 * 3)), 12)
        (-0.034482758621, -0.034482758621)
    """
    if samples is not None and samples < 2:
        raise ValueError(f"samples = {samples} must be at least 2, or there is no error bar")
    epoch = affine_epoch(game, method)
    found = _exact(game, method)
    if found is None:
        if key is None:
            components = dispatch.EXACT_COMPONENTS.get(epoch.order, game.n)
            raise ValueError(
                f"key is None, but order={epoch.order!r} with n = {game.n} and d = {game.d} is beyond exact "
                f"computation (at most {components} components and {dispatch.EXACT_FLOPS:.0e} flops a pass): "
                "pass key= for Monte Carlo, or take a smaller game"
            )
        found = _monte_carlo(game, method, key, samples or SAMPLES)
    return found._replace(mean=np.asarray(game.solution, float) + found.mean)


def stationary_error(game: Any, method: Any) -> StationaryError:
    """Find where E|x - x*|^2 settles and how an epoch multiplies it: numbers to lay over runs, nan where not exact.

    **Arguments**: `game` and `method`, as in `stationary_moments`.

    **Returns** `mse` and `ms_contraction`, those of `stationary_moments`; nan where they are beyond exact computation,
    or where the map is so close to critical that the iteration for its second moment does not converge.

    **Raises** `ValueError` as `stationary_moments` does, but for a case that has no exact answer.

    **Source**: derived here; see `stationary_moments`.

        >>> import theorylab as tl
        >>> game = tl.games.AffineGame([[[1.0]], [[1.0]]], [[1.0], [-1.0]])
        >>> error = tl.games.stationary_error(game, tl.games.GradientDescentAscent(0.5, order="independent"))
        >>> round(error.mse, 12), error.ms_contraction
        (0.333333333333, 0.0625)
    """
    with contextlib.suppress(NotConverged):
        if moments := _exact(game, method):
            return StationaryError(moments.mse, moments.ms_contraction)
    return StationaryError(math.nan, math.nan)


def clt_covariance(game: Any, method: Any) -> Float[np.ndarray, "d d"]:
    r"""Find the covariance $\Gamma$ of the limit $T^{-1/2} \sum_{t \le T} (x_t - E x) \to N(0, \Gamma)$ over epochs.

    With the state $z \mapsto M_w z + c_w$ of an epoch, $\bar M = E M_w$ and the stationary covariance $\Sigma$, the
    covariance at lag k is $\bar M^k \Sigma$, and their sum over all lags is
    $(I - \bar M)^{-1} \Sigma + \Sigma (I - \bar M)^{-T} - \Sigma$. For a linear function $v^T x$ the variance is
    $v^T \Gamma v$. With `Richardson` it is that of the extrapolated points, whose average over time is the
    extrapolation of averages, whatever its `average`.

    **Arguments**: `game`, an `AffineGame` of concrete arrays (any dtype; the work is in float64 on the host); `method`,
    an epoch method with constant steps, or `Richardson` of one, where `stationary_moments` is exact.

    **Returns** $\Gamma$ (d, d): zero for the order `"cyclic"` without noise, nan where the method is not mean-square
    stable.

    **Raises** `ValueError` as `stationary_moments` does, for the order `"once"` (a run keeps its permutation, so that
    averages over time do not tend to the mean over permutations), and where the law is beyond exact computation.

    **Source**: derived here; Emmanouilidis et al. (2026), "Shuffling the Data, Extrapolating the Step", Theorem 4.4,
    state the theorem. Checked against AR(1), $\sigma^2 / (1 - \rho)^2$, and against simulation.

        >>> import theorylab as tl
        >>> game = tl.games.AffineGame([[[1.0]], [[1.0]]], [[1.0], [-1.0]])
        >>> method = tl.games.GradientDescentAscent(0.5, "independent")
        >>> tl.games.clt_covariance(game, method).round(12).tolist()  # rho = 1/4, sigma^2 = 1/4 + 1/16
        [[0.555555555556]]
    """
    epoch = affine_epoch(game, method)
    if epoch.order == "once":
        raise ValueError(
            "order = 'once' keeps one permutation, so that averages over time have no common limit: take 'reshuffle', "
            "or `stationary_moments` of Richardson(..., average=True) for their spread over permutations"
        )
    if chains := _uncoupled(method):
        weights = richardson_weights(method.multipliers)
        return np.tensordot(weights**2, [clt_covariance(game, chain) for chain in chains], axes=1)
    if epoch.order == "cyclic" and epoch.noise_site == "none":
        return np.zeros((game.d, game.d))
    found = dispatch.law_of(epoch)
    if found is None:
        raise ValueError(
            f"order = {epoch.order!r} with n = {game.n}, d = {game.d} and batch_size = {epoch.updates.batch_size} is "
            f"beyond exact computation ({dispatch.EXACT_FLOPS:.0e} flops a pass): take a smaller game, or run chains"
        )
    law, repeats = found
    settled = stationary(law)
    if not settled.stable:
        return np.full((game.d, game.d), np.nan)
    drift = np.linalg.matrix_power(law.mean[:-1, :-1], repeats)
    lags = np.linalg.solve(np.eye(len(drift)) - drift, settled.covariance)
    return epoch.readout @ (lags + lags.T - settled.covariance) @ epoch.readout.T


def _uncoupled(method: Any) -> list[Any]:
    """The chains of a `Richardson` that draw for themselves; none where there is nothing to take apart."""
    if not isinstance(method, Richardson) or method.coupling == "shared":
        return []
    inner: Any = method.method
    return [inner.scaled(m) for m in method.multipliers]


def _exact(game: Any, method: Any, average: bool = False) -> Moments | None:
    """Moments about x*, or None where they are beyond exact computation."""
    average = method.average if isinstance(method, Richardson) else average
    if chains := _uncoupled(method):
        return _summed(richardson_weights(method.multipliers), [_exact(game, chain, average) for chain in chains])
    epoch = affine_epoch(game, method)
    if epoch.order == "cyclic":
        return _over_orders(epoch, np.tile(np.arange(game.n), epoch.updates.samples)[None], average)
    if epoch.order == "once":
        cost = 2 * len(epoch.after) ** 3 * math.factorial(game.n)
        if game.n > dispatch.EXACT_COMPONENTS["once"] or cost > dispatch.EXACT_FLOPS:
            return None
        return _over_orders(epoch, every_order(epoch), average)
    found = dispatch.law_of(epoch)
    if found is None:
        return None
    law, repeats = found
    settled, readout = stationary(law), epoch.readout
    # a running average loses its variance
    spread = np.zeros_like(settled.covariance) if average and settled.stable else settled.covariance
    contractions = settled.contraction**repeats, settled.ms_contraction**repeats
    return _moments(readout @ settled.mean, readout @ spread @ readout.T, contractions)


def _summed(weights, chains):
    """A weighted sum of independent chains."""
    if any(chain is None for chain in chains):
        return None
    mean = sum(w * chain.mean for w, chain in zip(weights, chains, strict=True))
    covariance = sum(w**2 * chain.covariance for w, chain in zip(weights, chains, strict=True))
    return _moments(mean, covariance, np.max([[c.contraction, c.ms_contraction] for c in chains], axis=0))


def _over_orders(epoch, sequences, average, drawn=False):
    """Moments over the orders that are kept: one, all of them, or a sample."""
    found, readout = fixed_points(epoch, sequences), epoch.readout
    if epoch.order == "cyclic":
        radius = spectral_radius(found.maps[0, :-1, :-1])
        contractions = radius, radius**2
    else:
        contractions = radii(uniform_law(found.maps) if drawn else _shuffled(epoch, found.maps))
    x = found.points @ readout.T
    within = np.zeros((*x.shape, x.shape[-1])) if average else readout @ found.covariances @ readout.T
    mean = x.mean(axis=(0, 1))
    covariance = np.mean((x - mean)[..., :, None] * (x - mean)[..., None, :] + within, axis=(0, 1))
    squares = np.mean(np.sum(x**2, axis=-1) + np.trace(within, axis1=-2, axis2=-1), axis=0)
    errors = _errors(squares, x.mean(axis=0)) if drawn and found.stable else ()
    if not found.stable:
        mean, covariance = np.full_like(mean, np.nan), np.full_like(covariance, np.nan)
    return _moments(mean, covariance, contractions, *errors)


def _shuffled(epoch, epochs):
    if epoch.updates.samples == 2:
        return uniform_law(epochs)
    return shared_law(epoch.updates) if is_shared(epoch.updates) else reshuffled_law(epoch.updates)


def _moments(mean, covariance, contractions, standard_error=0.0, mean_standard_error=None, mse=None):
    mse = float(mean @ mean + np.trace(covariance)) if mse is None else mse
    errors = np.zeros_like(mean) if mean_standard_error is None else mean_standard_error
    contraction, ms_contraction = map(float, contractions)
    return Moments(
        mean, mse if np.isfinite(mse) else np.inf, covariance, contraction, ms_contraction, standard_error, errors
    )


def _errors(squares, means):
    root = np.sqrt(len(squares))
    return float(squares.std(ddof=1) / root), means.std(axis=0, ddof=1) / root


def _monte_carlo(game, method, key, samples):
    """Sampled orders where they are kept for all time, averages over time in chains else."""
    epoch = affine_epoch(game, method)
    average = isinstance(method, Richardson) and method.average
    sequences = draw_orders(key, epoch, samples)
    if epoch.order == "once" and not _uncoupled(method):
        return _over_orders(epoch, sequences, average, drawn=True)
    law = uniform_law(products(epoch.updates, sequences, epoch.order == "flipflop")[0])
    contractions, d = radii(law), game.d
    rate = max(contractions)
    if rate >= STABLE:
        mean = np.full(d, np.nan)
        if contractions[0] < STABLE:
            drift, offset = law.mean[:-1, :-1], law.mean[:-1, -1]
            mean = epoch.readout @ np.linalg.solve(np.eye(len(drift)) - drift, offset)
        return _moments(mean, np.full((d, d), np.nan), contractions)
    # the start's share of the mean falls as rate^t: exp(-10) of it is left after the burn-in
    burn_in = math.ceil(10 / -math.log(rate)) if rate > 0 else 1
    if average:
        method = dataclasses.replace(method, average=False)
    means, seconds = epoch_averages(game, method, key, samples, burn_in, epochs=4 * burn_in)
    if average:
        return _of_averages(means, contractions, epoch.order == "once")
    mean, second = means.mean(axis=0), seconds.mean(axis=0)
    squares = np.trace(seconds, axis1=1, axis2=2)
    errors = _errors(squares, means)
    return _moments(mean, second - np.outer(mean, mean), contractions, *errors, mse=float(squares.mean()))


def _of_averages(means, contractions, kept):
    """Of running averages, from those of a finite time: what is left in the limit is the spread of the kept orders."""
    mean, squares = means.mean(axis=0), np.sum(means**2, axis=1)
    error, mean_error = _errors(squares, means)
    if kept:
        return _moments(mean, np.cov(means.T, bias=True).reshape(2 * mean.shape), contractions, error, mean_error)
    variance = mean_error**2
    # of the square of a mean with these errors: its expectation is above the square of the expectation
    mse = float(mean @ mean - variance.sum())
    error = float(np.sqrt(4 * mean**2 @ variance + 2 * variance @ variance))
    return _moments(mean, np.zeros((len(mean), len(mean))), contractions, error, mean_error, mse=mse)
