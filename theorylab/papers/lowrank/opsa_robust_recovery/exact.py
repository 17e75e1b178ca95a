"""Limits and closed forms of preconditioned subgradient steps, and the regularised variant."""

import numpy as np

import theorylab.engine as tl
import theorylab.figures as figures
import theorylab.lowrank as lowrank
import theorylab.papers.kit as kit
from theorylab.numerics import Estimate
from theorylab.papers import Claim, Experiment

from ._races import ERROR, HERE, LOST

REGULARISATIONS, FAR, STEPS = [2.0, 0.2, 0.02], 1e8, 15
EPS = np.finfo(float).eps
ROUNDED = STEPS * 1e4 * EPS  # of fifteen steps, Gram matrices of condition up to ten thousand


def run_exact(setting, key):
    import jax
    import jax.numpy as jnp
    import xarray

    n, r, m, many = setting
    of_problem, of_bases, of_step = jax.random.split(key, 3)
    rng = tl.keys.generator(of_bases)
    problem = lowrank.sensing_problem(
        of_problem, shape=(n, n), true_rank=r, measurements=m, condition=5.0, outliers=0.1
    )
    scale, wide = jnp.linalg.norm(problem.solution), lowrank.truncated_spectral_init(problem, 2 * r, outliers=0.1)
    L, R = (factor[:, :r] for factor in wide)
    # the identity, a rotation, and a change of basis that stretches by ten
    rotation = np.linalg.qr(rng.standard_normal((r, r)))[0]
    bases = np.stack([np.eye(r), rotation, rotation * np.geomspace(10, 1, r)])
    keep = tl.Record(tl.every(1), X=lambda problem, state: state.x[0] @ state.x[1].T)

    def moved(key, *, basis, damping):
        return lowrank.PreconditionedSubgradient(damping), problem, (L @ basis[0], R @ basis[1].T)

    def regularised(key, *, regularisation):
        return lowrank.PreconditionedSubgradient(regularisation, regularised=True), problem, wide

    over = {"damping": [0.0, 1.0, FAR], "basis": tl.Cases((bases, np.linalg.inv(bases)))}
    X = tl.sweep(moved, over=over, key=0, steps=STEPS, record=keep).X.isel(seed=0, drop=True) / float(scale)
    plain = tl.solve(
        lowrank.PreconditionedSubgradient(0.0, preconditioner="none"), problem, (L, R), key=0, steps=STEPS, record=keep
    )
    watch = tl.Record(tl.every(10), regularised=lambda problem, state: problem.error(state.x))
    runs = tl.sweep(regularised, over={"regularisation": REGULARISATIONS}, key=0, steps=1000, record=watch)
    entries, gram = ["step", "X_0", "X_1"], jnp.linalg.norm(L[:, 0]) ** 2 + jnp.linalg.norm(R[:, 0]) ** 2
    return xarray.Dataset({
        "basis_change": abs(X - X.isel(basis=0)).max(entries),
        "far": abs(X.sel(damping=FAR).isel(basis=0, drop=True) - plain.trace["X"] / scale).max(),
        # a step misses by a share of gram / damping in its direction, and by another in its size
        "far_bound": 2 * STEPS * float(gram) / FAR,
        "regularised": runs.regularised.isel(seed=0, drop=True),
        "heron": ("t", heron(2.0, 9.0)),
    }).merge(one_step(rng, of_step, many))  # fmt: skip


def heron(truth, start):
    """The iterates of the scalar case, x = l r, each of them seen three times."""
    operator, one = lowrank.EntrySampling.from_indices([0, 0, 0], [0, 0, 0], (1, 1)), np.ones((1, 1))
    problem = lowrank.SensingProblem(operator, np.full(3, truth), solution=truth * one)
    record = tl.Record(tl.every(1), x=lambda problem, state: (state.x[0] * state.x[1]).sum())
    run = tl.solve(
        lowrank.PreconditionedSubgradient(0.0), problem, (2 * one, start / 2 * one), key=0, steps=7, record=record
    )
    return np.asarray(run.trace["x"]) / truth


def one_step(rng, key, m, n=5, r=2, condition=10.0):
    """A scaled step near the truth, by the share of the error that both factors see; how much sampling moves it."""
    import jax.numpy as jnp

    U, V = (np.linalg.qr(rng.standard_normal((n, n)))[0] for _ in range(2))
    truth = (U[:, :r] * np.linspace(condition, 1, r)) @ V[:, :r].T
    shares, starts = np.linspace(0, 1, 6), []
    for a in shares:
        E = np.zeros((n, n))
        E[:r, :r] = np.sqrt(a / r) * np.eye(r)
        E[r, 0] = E[1, r] = np.sqrt((1 - a) / 2)
        left, values, right = np.linalg.svd(truth + 1e-5 * U @ E @ V.T)
        starts.append((left[:, :r] * np.sqrt(values[:r]), right[:r].T * np.sqrt(values[:r])))
    operator = lowrank.GaussianSensing(key, (n, n), m)
    problem = lowrank.SensingProblem(operator, operator.apply(jnp.asarray(truth)), solution=truth)

    def build(key, *, start):
        return lowrank.PreconditionedSubgradient(0.0), problem, start

    cases = tl.Cases(tuple(map(np.stack, zip(*starts, strict=True))), labels=shares, dim="share")
    record = tl.Record(tl.every(1), error=lambda problem, state: problem.error(state.x))
    error = tl.sweep(build, over={"start": cases}, key=0, steps=1, record=record).error.isel(seed=0, drop=True)
    dataset = (error.isel(step=1, drop=True) / error.isel(step=0, drop=True)).to_dataset(name="ratio")
    # S is sqrt(2/pi) E / |E| and noise of variance 1/m an entry, of which what both factors see moves twice
    tangent, both = r * (2 * n - r), r * r
    noise = np.sqrt(np.pi / 2 * (tangent + 3 * both) / m)
    return dataset.assign(derived=("share", lowrank.derived_contraction(shares)), noise=noise)


def plot_exact(dataset):
    figure, axes = figures.panels(3)
    grid = np.linspace(0, 1, 200)
    figures.predicted(axes[0], grid, lowrank.derived_contraction(grid), label=r"$\sqrt{a(1-a)}/(1+a)$")
    axes[0].plot(dataset.share, dataset.ratio, "o", color=figures.COLOURS[0], label="one step, $\\kappa = 10$")
    axes[0].set(xlabel="share $a$ of $|E|^2$ that both factors see", ylabel=r"$|E^+|/|E|$",
                title="a scaled step near the truth")  # fmt: skip
    exact = [float(dataset.heron[0])]
    for _ in range(dataset.sizes["t"] - 1):
        exact.append(1 + (exact[-1] - 1) ** 2 / (4 * exact[-1]))
    shown = np.flatnonzero(dataset.heron.values != 1)
    figures.predicted(axes[1], shown, np.abs(np.asarray(exact)[shown] - 1), label=r"$(x-1)^2/4x$")
    axes[1].plot(shown, abs(dataset.heron[shown] - 1), "o", color=figures.COLOURS[0], label="Polyak steps")
    axes[1].set(yscale="log", xlabel="step", ylabel=r"$|x - 1|$", title="one number: Heron's iteration")
    labels = r"$\lambda = {:g}$".format
    kit.curves(axes[2], dataset, "regularised", by="regularisation", labels=labels, title="the regularised variant")
    axes[2].set_ylabel(ERROR)
    for panel in axes:
        figures.legend(panel)
    return figure


def change(relation, limit, damping, basis, rounding=0.0):
    return kit.bounded(lambda dataset: dataset.basis_change.sel(damping=damping).isel(basis=basis), relation, limit,
                       rounding=rounding, quantity="largest change of an iterate over |X*|")  # fmt: skip


def off_heron(dataset):
    x = dataset.heron.values
    return np.abs(x[1:] - 1 - (x[:-1] - 1) ** 2 / (4 * x[:-1])).max()


def late(dataset):
    return dataset.regularised.isel(step=slice(-20, None))


def gain(dataset):
    """The differences of the log error to that at the next smaller regularisation, over the last records."""
    last = np.log10(late(dataset))
    # records of one run are not independent: their scatter stands for the error of their mean
    gap, scatter = -last.mean("step").diff("regularisation"), last.std("step", ddof=1)
    return Estimate(gap, np.hypot(scatter, scatter.shift(regularisation=1)).isel(regularisation=slice(1, None)))


EXACT = Experiment(
    "exact", "limits and closed forms", run=run_exact, plot=plot_exact,
    # the answers do not depend on sizes: larger ones are there to see that
    sizes={"small": (8, 2, 200, 60_000), "paper": (20, 3, 1000, 400_000), "large": (40, 5, 4000, 400_000)},
    seconds={"small": 13.7, "paper": 9.0},
    claims=(
        Claim("invariant", "Without damping no iterate depends on the basis of the factors.",
              HERE, change("<=", 0.0, 0.0, 2, ROUNDED)),
        Claim("rotation", "With damping none depends on a rotation.", HERE, change("<=", 0.0, 1.0, 1, ROUNDED)),
        Claim("stretch", "On a basis that is stretched they do depend then.", HERE, change(">=", ROUNDED, 1.0, 2)),
        Claim("far", "At large damping Polyak steps are those of the method without preconditioner.", HERE,
              kit.bounded("far", "<=", "far_bound", quantity="largest distance of iterates over |X*|")),
        Claim("heron", "In one dimension an iterate $x$ becomes $x^* + (x - x^*)^2/4x$.", HERE,
              # a handful of roundings of numbers up to five
              kit.bounded(off_heron, "<=", 0.0, rounding=50 * EPS,
                          quantity="largest distance from Heron's iterates, over the truth")),
        Claim("one_step", "Near the truth and with many measurements a scaled step contracts by"
              r" $\sqrt{a(1 - a)}/(1 + a) \le 1/\sqrt{8}$.", HERE,
              kit.bounded(lambda dataset: abs(dataset.ratio - dataset.derived).max() / dataset.noise, "<=", 3.0,
                          quantity="largest distance from the derived factor, in standard errors")),
        Claim("regularised_slower", "With the Polyak step of the loss alone the regularised variant of the first"
              " version ends further off the stronger it is.", HERE,
              kit.estimated(gain, ">=", quantity="decimal digits of the final error from one regularisation to the next"
                            " smaller")),
        Claim("regularised_diverges", "At twice the least singular value it does not come near the truth.", HERE,
              kit.bounded(lambda dataset: late(dataset).isel(regularisation=0).min(), ">=", LOST,
                          quantity="least relative error of the last 200 steps")),
    ),
)  # fmt: skip
