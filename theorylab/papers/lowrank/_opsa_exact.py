"""Limits and closed forms of preconditioned subgradient steps, and the regularised variant."""

from typing import Any

import numpy as np

import theorylab.engine as tl
import theorylab.figures as figures
import theorylab.lowrank as lowrank
from theorylab.papers import Verdict

from ._sensing_races import LOST

REGULARISATIONS, FAR = (2.0, 0.2, 0.02), 1e8


def bases(rng, rank) -> Any:
    """The identity, a rotation, and a change of basis that stretches by ten."""
    rotation = np.linalg.qr(rng.standard_normal((rank, rank)))[0]
    return np.stack([np.eye(rank), rotation, rotation * np.geomspace(10, 1, rank)])


def run_exact(size, key):
    import jax
    import jax.numpy as jnp
    import xarray

    # the answers do not depend on sizes: larger ones are there to see that
    n, r, m, many = {"small": (8, 2, 200, 60_000), "paper": (20, 3, 1000, 400_000), "large": (40, 5, 4000, 400_000)}[
        size
    ]
    of_problem, of_bases, of_step = jax.random.split(key, 3)
    rng = tl.keys.generator(of_bases)
    keep = tl.Record(tl.every(1), X=lambda problem, state: state.x[0] @ state.x[1].T)
    watch = tl.Record(tl.every(10), error=lambda problem, state: problem.error(state.x))
    sizes = {"shape": (n, n), "true_rank": r, "measurements": m, "condition": 5.0, "outliers": 0.1}

    Subgradient = lowrank.PreconditionedSubgradient

    @jax.jit
    def runs(key, Q, inverse, dampings, regularisations):
        problem = lowrank.sensing_problem(key, **sizes)
        L, R = lowrank.truncated_spectral_init(problem, 2 * r, outliers=0.1)

        def iterates(method, x0):
            return tl.solve(method, problem, x0, key=0, steps=15, record=keep).trace["X"]

        def moved(damping):
            along = jax.vmap(lambda Q, inverse: iterates(Subgradient(damping), (L[:, :r] @ Q, R[:, :r] @ inverse.T)))
            return along(Q, inverse)

        def regularised(damping):
            method = Subgradient(damping, regularised=True)
            return tl.solve(method, problem, (L, R), key=0, steps=1000, record=watch).trace["error"]

        X = jax.vmap(moved)(dampings)
        far = jnp.max(jnp.abs(X[-1, 0] - iterates(Subgradient(0.0, preconditioner="none"), (L[:, :r], R[:, :r]))))
        gram = jnp.linalg.norm(L[:, 0]) ** 2 + jnp.linalg.norm(R[:, 0]) ** 2
        change = jnp.max(jnp.abs(X - X[:, :1]), axis=(2, 3, 4))
        return change, far, gram, jax.vmap(regularised)(regularisations), jnp.linalg.norm(problem.solution)

    Q, dampings = bases(rng, r), [0.0, 1.0, FAR]
    arrays = [jnp.asarray(one) for one in (Q, np.linalg.inv(Q), dampings, REGULARISATIONS)]
    change, far, gram, errors, scale = map(np.asarray, runs(of_problem, *arrays))
    share, ratio, noise = one_step(rng, of_step, many)
    return xarray.Dataset(
        {
            "basis_change": (("damping", "basis"), change / scale),
            "far": far / scale,
            # a step misses by a share of gram / damping in its direction, and by another in its size
            "far_bound": 2 * 15 * gram / FAR,
            "regularised": (("regularisation", "step"), errors),
            "share": ("share", share),
            "ratio": ("share", ratio),
            "derived": ("share", lowrank.derived_contraction(share)),
            "noise": noise,
            "heron": ("t", heron(2.0, 9.0)),
        },
        {"damping": dampings, "regularisation": list(REGULARISATIONS), "step": np.arange(0, 1001, 10)},
    )


def heron(truth, start) -> Any:
    """The iterates of the scalar case, x = l r, each of them seen three times."""
    import jax
    import jax.numpy as jnp

    operator = lowrank.EntrySampling.from_indices([0, 0, 0], [0, 0, 0], (1, 1))
    record = tl.Record(tl.every(1), X=lambda problem, state: jnp.sum(state.x[0] * state.x[1]))

    @jax.jit
    def run(operator, y, solution, x0):
        problem = lowrank.SensingProblem(operator, y, solution=solution)
        return tl.solve(lowrank.PreconditionedSubgradient(0.0), problem, x0, key=0, steps=7, record=record).trace["X"]

    one = np.ones((1, 1))
    return np.asarray(run(operator, np.full(3, truth), truth * one, (2 * one, start / 2 * one))) / truth


def one_step(rng, key, m, n=5, r=2, condition=10.0) -> Any:
    """A scaled step near the truth, by the share of the error that both factors see; how much sampling moves it."""
    import jax
    import jax.numpy as jnp

    U, V = (np.linalg.qr(rng.standard_normal((n, n)))[0] for _ in range(2))
    truth = (U[:, :r] * np.linspace(condition, 1, r)) @ V[:, :r].T
    shares, lanes = np.linspace(0, 1, 6), []
    for a in shares:
        E = np.zeros((n, n))
        E[:r, :r] = np.sqrt(a / r) * np.eye(r)
        E[r, 0] = E[1, r] = np.sqrt((1 - a) / 2)
        left, values, right = np.linalg.svd(truth + 1e-5 * U @ E @ V.T)
        lanes.append((left[:, :r] * np.sqrt(values[:r]), right[:r].T * np.sqrt(values[:r])))
    starts = tuple(jnp.asarray(np.stack(part)) for part in zip(*lanes, strict=True))
    method = lowrank.PreconditionedSubgradient(0.0)

    @jax.jit
    def ratios(operator, truth, starts):
        problem = lowrank.SensingProblem(operator, operator.apply(truth), solution=truth)

        def one(x):
            after = method.step(problem, method.init(problem, key, x), key)
            return problem.error(after.x) / problem.error(x)

        return jax.vmap(one)(starts)

    # S is sqrt(2/pi) E / |E| and noise of variance 1/m an entry, of which what both factors see moves twice
    tangent, both = r * (2 * n - r), r * r
    found = ratios(lowrank.GaussianSensing(key, (n, n), m), jnp.asarray(truth), starts)
    return shares, np.asarray(found), np.sqrt(np.pi / 2 * (tangent + 3 * both) / m)


def plot_exact(dataset):
    figure, axes = figures.panels(3)
    grid = np.linspace(0, 1, 200)
    figures.predicted(axes[0], grid, lowrank.derived_contraction(grid), label=r"$\sqrt{a(1-a)}/(1+a)$")
    axes[0].plot(dataset.share, dataset.ratio, "o", color=figures.COLOURS[0], label="one step, $\\kappa = 10$")
    axes[0].set(xlabel="share $a$ of $|E|^2$ that both factors see", ylabel=r"$|E^+|/|E|$",
                title="a scaled step near the truth")  # fmt: skip
    figures.legend(axes[0])
    excess = np.abs(dataset.heron - 1)
    exact = [float(dataset.heron[0])]
    for _ in range(dataset.sizes["t"] - 1):
        exact.append(1 + (exact[-1] - 1) ** 2 / (4 * exact[-1]))
    shown = np.flatnonzero(excess.values > 0)
    figures.predicted(axes[1], shown, np.abs(np.asarray(exact)[shown] - 1), label=r"$(x-1)^2/4x$")
    axes[1].plot(shown, excess[shown], "o", color=figures.COLOURS[0], label="Polyak steps")
    axes[1].set(yscale="log", xlabel="step", ylabel=r"$|x - 1|$", title="one number: Heron's iteration")
    figures.legend(axes[1])
    for damping, colour in zip(dataset.regularisation.values, figures.COLOURS, strict=False):
        one = dataset.regularised.sel(regularisation=damping)
        figures.measured(axes[2], one.step, one, color=colour, label=rf"$\lambda = {damping:g}$")
    axes[2].set(yscale="log", xlabel="step", ylabel=r"$|X_t - X^\star| / |X^\star|$", title="the regularised variant")
    figures.legend(axes[2])
    return figure


ROUNDED = 15 * 1e4 * np.finfo(float).eps  # fifteen steps, Gram matrices of condition up to ten thousand


def change(damping, basis) -> Any:
    return lambda dataset: dataset.basis_change.sel(damping=damping).isel(basis=basis)


def check_invariant(damping, basis):
    return lambda dataset: Verdict.compare(
        change(damping, basis)(dataset), "<=", 0.0, ROUNDED, quantity="largest change of an iterate over |X*|"
    )


def check_dependent(damping, basis):
    return lambda dataset: Verdict.compare(
        change(damping, basis)(dataset), ">=", ROUNDED, quantity="largest change of an iterate over |X*|"
    )


def check_far(dataset):
    return Verdict.compare(dataset.far, "<=", dataset.far_bound, quantity="largest distance of iterates over |X*|")


def check_heron(dataset):
    x = dataset.heron.values
    miss = np.abs(x[1:] - 1 - (x[:-1] - 1) ** 2 / (4 * x[:-1])).max()
    rounding = 50 * np.finfo(float).eps  # a handful of roundings of numbers up to five
    return Verdict.compare(miss, "<=", 0.0, rounding, quantity="largest distance from Heron's iterates, over the truth")


def check_one_step(dataset):
    """The largest distance from the derived factor, in units of the root mean square of the sampling noise."""
    return Verdict.compare(
        np.abs(dataset.ratio - dataset.derived).max() / dataset.noise, "<=", 3.0,
        quantity="largest distance from the derived factor, in standard errors",
    )  # fmt: skip


def check_diverges(dataset):
    """The least error of the last steps at the largest regularisation."""
    last = dataset.regularised.isel(regularisation=0, step=slice(-20, None))
    return Verdict.compare(last.min(), ">=", LOST, quantity="least relative error of the last 200 steps")


def check_slower(dataset):
    """The least difference of the log error to that at the next smaller regularisation, over the last records."""
    last = np.log10(dataset.regularised.isel(step=slice(-20, None)))
    # records of one run are not independent: their scatter stands for the error of their mean
    gap, scatter = -last.mean("step").diff("regularisation"), last.std("step", ddof=1)
    error = np.hypot(scatter, scatter.shift(regularisation=1)).isel(regularisation=slice(1, None))
    return Verdict.worst(
        gap, ">=", 0.0, error, quantity="decimal digits of the final error from one regularisation to the next smaller"
    )
