"""The central limit theorem of epochs on an affine game: the variance of averages over time (host, float64)."""

from typing import Any

import numpy as np
from jaxtyping import Float

from ..numerics.extrapolation import richardson_weights
from . import exact
from .stationary import stationary


def clt_covariance(game: Any, method: Any) -> Float[np.ndarray, "d d"]:
    r"""The covariance $\Gamma$ of the limit $T^{-1/2} \sum_{t \le T} (x_t - E x) \to N(0, \Gamma)$ over epochs.

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
    given = exact.setting(game, method)
    if given.order == "once":
        raise ValueError(
            "order = 'once' keeps one permutation, so that averages over time have no common limit: take 'reshuffle', "
            "or `stationary_moments` of Richardson(..., average=True) for their spread over permutations"
        )
    if chains := exact.uncoupled(method):
        weights = richardson_weights(method.multipliers)
        return np.tensordot(weights**2, [clt_covariance(game, chain) for chain in chains], axes=1)
    if given.order == "cyclic" and given.noise_site == "none":
        return np.zeros((game.d, game.d))
    by_update = exact.update_law(given)
    law, updates = (exact.epoch_law(given), 1) if by_update is None else by_update
    if law is None:
        raise ValueError(
            f"order = {given.order!r} with n = {game.n}, d = {game.d} and batch_size = {given.updates.batch_size} is "
            f"beyond exact computation ({exact.EXACT_FLOPS:.0e} flops a pass): take a smaller game, or run chains"
        )
    found = stationary(law)
    if not found.stable:
        return np.full((game.d, game.d), np.nan)
    drift = np.linalg.matrix_power(law.mean[:-1, :-1], updates)
    lags = np.linalg.solve(np.eye(len(drift)) - drift, found.covariance)
    return given.linear.readout @ (lags + lags.T - found.covariance) @ given.linear.readout.T
