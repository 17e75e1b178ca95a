"""What the experiments share: descent from small starts, and the slopes of late losses."""

from typing import Any

import numpy as np

import theorylab.engine as tl
import theorylab.figures as figures
import theorylab.lowrank as lowrank

LOWER, LINEAR, FIX, HERE = (
    "Theorem 1.1 (abstract)",
    "asymmetric theorem (abstract)",
    "eq. 5.1, reconstructed",
    "derived here",
)
STEP, SIGNAL = 0.1, (1.0, 0.8, 0.6)  # step size times sigma_1, singular values of the truth
R, SIDE = len(SIGNAL), 50  # true rank, and side of the paper's matrices
FLOOR, LATE = 1e-22, 1e-9  # a loss is late, and clear of rounding, between these


def truth(n) -> Any:
    return np.diag(np.append(SIGNAL, np.zeros(n - R)))


def small_starts(key, n, rank, scales, seeds) -> Any:
    """Starts of standard deviation scale / sqrt(n), seed by seed within each scale: one seed's draws at every scale."""
    import jax

    keys = jax.random.split(key, seeds)
    drawn = [lowrank.small_factors(one, (n, n), rank, scale / np.sqrt(n)) for scale in scales for one in keys]
    return tuple(np.stack(part) for part in zip(*drawn, strict=True))


def population(key, rank, scales, seeds) -> Any:
    """The loss |W - M|^2 / 2 and starts, of the paper's side but for a rotation.

    The truth is zero outside of the signal's rows, which an orthogonal matrix turns into as many as the rank: descent
    from turned factors is the turned descent, with the same losses and singular values at the cost of r + k rows.
    """
    starts = [np.concatenate([one[:, :R], np.linalg.qr(one[:, R:], "r")], axis=1)
              for one in small_starts(key, SIDE, rank, scales, seeds)]  # fmt: skip
    return lowrank.squared_loss(truth(R + rank)), tuple(starts)


def residual(problem, state) -> Any:
    """W - M of a state's product."""
    W1, W2 = state.x if isinstance(state.x, tuple) else (state.x, state.x)
    return W1 @ W2.T - problem.solution


def squared_error(problem, state) -> Any:
    return (residual(problem, state) ** 2).sum()


def descend(problem, starts, steps, when, *also, **more) -> Any:
    """Descent from each start, one factor or a pair, stacked along `start`: losses, and what else is recorded."""

    def build(key, *, start):
        return lowrank.FactorisedDescent(STEP), problem, start

    records = [tl.Record(when, loss=squared_error, **more), *also]
    return tl.sweep(build, over={"start": tl.Cases(starts)}, key=0, steps=steps, record=records).isel(seed=0, drop=True)


def surplus(dataset) -> Any:
    """The runs with surplus columns."""
    return dataset.isel(rank=dataset["rank"].values > R)


def windows(values) -> Any:
    """The rows that bound two windows of a loss between LATE and FLOOR; None where it has no five rows there."""
    rows = np.flatnonzero((values < LATE) & (values > FLOOR))
    return rows[[0, len(rows) // 2, -1]] if len(rows) >= 5 else None


def late_slopes(loss, times) -> Any:
    """The slopes of ln loss over the last two windows between LATE and FLOOR; nan where there are none."""
    import xarray

    def slopes(values, times):
        rows = windows(values)
        return np.full(2, np.nan) if rows is None else np.diff(np.log(values[rows])) / np.diff(times[rows])

    dims = [[times.dims[-1]]] * 2
    return xarray.apply_ufunc(slopes, loss, times, input_core_dims=dims, output_core_dims=[["window"]], vectorize=True)


def decay(panel, loss, times, slope, **looks) -> None:
    """A loss above FLOOR, and its predicted slope from where it is late on, in black on the line that it predicts."""
    loss, times = np.asarray(loss), np.asarray(times, float)
    clear, at = loss > FLOOR, int(np.flatnonzero(loss < LATE)[0])
    figures.measured(panel, times[clear], loss[clear], **looks)
    line = loss[at] * np.exp(float(slope) * (times - times[at]))
    figures.predicted(panel, times[clear], line[clear], linewidth=1.1)
