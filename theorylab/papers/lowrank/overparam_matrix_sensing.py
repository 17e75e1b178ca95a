"""Over-parameterised matrix sensing: surplus columns slow symmetric descent down to 1/T^2, asymmetric to alpha^2."""

from typing import Any

import numpy as np

import theorylab.engine as tl
import theorylab.figures as figures
import theorylab.lowrank as lowrank
from theorylab.papers import Claim, Experiment, Paper, Size, Verdict, mean_and_error

STEP, SIGNAL = 0.1, (1.0, 0.8, 0.6)  # step size times sigma_1, singular values of the truth
SIDE = 50  # of the paper's matrices
FLOOR, LATE = 1e-22, 1e-9  # a loss is late, and clear of rounding, between these


def truth(n) -> Any:
    return np.diag(np.append(SIGNAL, np.zeros(n - len(SIGNAL))))


def squared_error(solution) -> Any:
    """|W - M|^2 of a state's product."""
    import jax.numpy as jnp

    return lambda problem, state: jnp.sum(residual(solution)(problem, state) ** 2)


def residual(solution) -> Any:
    """W - M of a state's product."""
    import jax.numpy as jnp

    def difference(problem, state):
        W1, W2 = state.x if isinstance(state.x, tuple) else (state.x, state.x)
        return W1 @ W2.T - jnp.asarray(solution)

    return difference


def descent(problem, solution, starts, steps, when, **more) -> Any:
    """Descent from each start (lanes first): the dataset of squared errors and what else is recorded."""
    import jax.numpy as jnp
    from jax import tree

    table = tree.map(jnp.asarray, starts)

    def build(key, *, lane):
        return lowrank.FactorisedDescent(STEP), problem, tree.map(lambda leaf: leaf[lane], table)

    record = tl.Record(when, loss=squared_error(solution), **more)
    lanes = jnp.arange(len(tree.leaves(table)[0]))
    dataset = tl.sweep(build, over={"lane": lanes}, key=0, steps=steps, record=record)
    return dataset.isel(seed=0, drop=True).drop_vars("lane")


def ends(dataset) -> Any:
    """The factors at the end, lanes first."""
    return [dataset[name].values for name in dataset if str(name).startswith("value")]


def descend(problem, solution, starts, steps, when) -> Any:
    """Descent from each start (lanes first): squared errors (lane, step), and the factors at the end."""
    dataset = descent(problem, solution, starts, steps, when)
    return dataset.loss, ends(dataset)


def small_starts(key, n, rank, scales, seeds) -> Any:
    """Starts of standard deviation scale / sqrt(n), seed by seed within each scale: one seed's draws at every scale."""
    import jax
    import jax.numpy as jnp

    keys = jax.random.split(key, seeds)
    drawn = [lowrank.small_factors(one, (n, n), rank, scale / np.sqrt(n)) for scale in scales for one in keys]
    return tuple(jnp.stack(part) for part in zip(*drawn, strict=True))


def turned(factor) -> Any:
    """Factors (lane, n, k) whose rows outside the signal an orthogonal matrix has turned into k rows at most.

    The truth is zero on those rows, so that descent from turned factors is the turned descent, with the same losses
    and singular values: the size n is in the start's draws, and a step costs what matrices of r + k rows do.
    """
    factor = np.asarray(factor)
    r = len(SIGNAL)
    return np.concatenate([factor[:, :r], np.linalg.qr(factor[:, r:], "r")], axis=1)


def windows(values) -> Any:
    """The rows that bound two windows of a loss between LATE and FLOOR; None where it has no five rows there."""
    rows = np.flatnonzero((values < LATE) & (values > FLOOR))
    return rows[[0, len(rows) // 2, -1]] if len(rows) >= 5 else None


def late_slopes(loss) -> Any:
    """The slopes of ln loss over the last two windows between LATE and FLOOR, (lane, 2); nan where there are none."""
    slopes = np.full((len(loss), 2), np.nan)
    for lane, values in enumerate(loss.values):
        rows = windows(values)
        if rows is not None:
            slopes[lane] = np.diff(np.log(values[rows])) / np.diff(loss.step.values[rows])
    return slopes


def linear_slope(loss, E, F, G) -> Any:
    """The slope of ln loss over the last window, from the residuals E (step, n, n) and the factors at the end.

    Near a solution E^+ = E - eta (E G G' + F F' E): in the left singular vectors of F and of G each entry of E has a
    rate of its own, the sum of two squared singular values, and the loss is a sum of as many exponentials. It comes to
    the least rate in the end; where two are close, that is after the loss is rounding.
    """
    rows = windows(loss.values)
    if rows is None:
        return np.nan
    (U, f, _), (V, g, _) = (np.linalg.svd(factor) for factor in (F, G))
    rates = np.add.outer(*(np.pad(one, (0, len(F) - len(one))) ** 2 for one in (f, g)))
    steps = loss.step.values[rows[-1]] - loss.step.values[rows[1]]
    weights = (U.T @ E[rows[1]] @ V) ** 2
    return np.log(np.sum(weights * (1 - STEP * rates) ** (2 * steps)) / np.sum(weights)) / steps


def check_slopes(dataset):
    """The last slopes over the predicted ones, in units of what the slope still changes between its two windows."""
    early, last = (dataset.slopes.isel(window=k) for k in (0, 1))
    # the rest decays, so that what is left of it is less than the change that brought it here
    deviation = np.abs(last / dataset.predicted - 1) / (np.abs(last / early - 1) + 1e-6)
    return Verdict.compare(
        deviation.max(), "<=", 1.0, quantity="relative miss of the late slope, over its change between windows"
    )


# symmetric descent, exact rank and surplus


def run_symmetric(size, key):
    import jax.numpy as jnp
    import xarray

    ranks, seeds, steps = {"small": ((3, 6), 3, 10_000), "paper": ((3, 5, 8), 10, 100_000),
                           "large": ((3, 5, 8), 100, 1_000_000)}[size]  # fmt: skip
    solution, found = truth(len(SIGNAL) + max(ranks)), []
    problem = lowrank.squared_loss(jnp.asarray(solution))

    def begin(rank):
        starts, _ = small_starts(key, SIDE, rank, (0.5,), seeds)
        # a column that is zero stays zero, so that one program serves all ranks
        return turned(np.pad(starts, ((0, 0), (0, 0), (0, max(ranks) - rank))))

    for rank in ranks:
        loss, _ = descend(problem, solution, begin(rank), steps, tl.geometric(80))
        _, (middle,) = descend(problem, solution, begin(rank), steps // 10, tl.geometric(2))
        # the surplus is what X has outside the signal
        left = [np.linalg.svd(X[len(SIGNAL) :], compute_uv=False)[: rank - len(SIGNAL)] for X in middle]
        law = [lowrank.surplus_loss(values, STEP, steps - steps // 10) for values in left]
        found.append(xarray.Dataset({"loss": loss, "law": ("lane", law)}))
    exact, _ = descend(problem, solution, begin(len(SIGNAL)), 1000, tl.every(5))
    slopes = xarray.Dataset({"slopes": (("lane", "window"), late_slopes(exact))})
    dataset = xarray.concat(found, "rank").assign_coords(rank=list(ranks)).merge(slopes)
    return dataset.assign(predicted=2 * np.log(1 - STEP * SIGNAL[-1]))


def plot_symmetric(dataset):
    figure, axes = figures.panels(1)
    for rank, colour in zip(dataset["rank"].values, figures.COLOURS, strict=False):
        loss = dataset.loss.sel(rank=rank).isel(step=slice(1, None))
        label = f"$k = {rank}$" + (", the true rank" if rank == len(SIGNAL) else "")
        figures.measured(axes[0], loss.step, loss, color=colour, label=label)
        if rank > len(SIGNAL):
            late = loss.step.values[loss.step.values > 100]
            figures.predicted(axes[0], late, (rank - len(SIGNAL)) / (2 * STEP * late) ** 2)
    figures.predicted(axes[0], [], [], label=r"$(k - r)/(2\eta t)^2$")
    axes[0].set(xscale="log", yscale="log", ylim=(1e-20, 30), xlabel="step $t$", title="symmetric: $XX^T$")
    axes[0].set_ylabel(r"$|XX^T - M|^2$")
    figures.legend(axes)
    return figure


def surplus_runs(dataset) -> Any:
    return dataset.isel(rank=dataset["rank"].values > len(SIGNAL))


def check_law(dataset):
    """The last loss over the law of the surplus seen at a tenth of the run."""
    one = surplus_runs(dataset)
    # the law leaves out x^+ - x beyond its first order: 3 eta x^2 / 2 of the change of x^-2, ln 10 / 18 eta x^2 in all
    x2 = np.sqrt(one.loss.isel(step=-1) / (one["rank"] - len(SIGNAL)))
    return Verdict.compare(
        np.abs(one.loss.isel(step=-1) / one.law - 1).max(), "<=", 0.0, 6 * STEP * np.log(10) * x2.max(),
        quantity="relative distance of the last loss from its law",
    )  # fmt: skip


def check_sharp(dataset):
    """Loss (2 eta t)^2 / (k - r), the largest of all late rows: it comes to one from below."""
    one = surplus_runs(dataset).isel(step=slice(-20, None))
    scaled = one.loss * (2 * STEP * one.step) ** 2 / (one["rank"] - len(SIGNAL))
    return Verdict.compare(scaled.max(), "<=", 1.0, quantity="largest late loss (2 eta t)^2 / (k - r)")


def check_slow(dataset):
    """Loss times t^2 at the end, over its value twenty records before: a loss that fell faster would make it fall."""
    scaled = (dataset.loss * dataset.step**2).isel(step=[-20, -1])
    growth = (scaled.isel(step=1) / scaled.isel(step=0)).min()
    return Verdict.compare(growth, ">=", 1.0, quantity="loss t^2 at the end, over its value twenty records before")


# asymmetric descent: the rate is that of the start's imbalance


def run_asymmetric(size, key):
    import jax.numpy as jnp
    import xarray

    ranks, seeds, scales, steps = {
        "small": ((4, 6), 4, (0.5, 0.25, 0.125), 4000),
        "paper": ((3, 5, 8), 10, (0.5, 0.25, 0.125, 0.0625), 8000),
        "large": ((3, 5, 8), 100, (0.5, 0.25, 0.125, 0.0625, 0.03125), 8000),
    }[size]
    found = []
    for rank in ranks:
        solution, surplus, each = truth(len(SIGNAL) + rank), rank > len(SIGNAL), []
        problem = lowrank.squared_loss(jnp.asarray(solution))
        for scale in scales:
            starts = tuple(map(turned, small_starts(key, SIDE, rank, (scale,), seeds)))
            # surplus columns have the time 1 / (eta scale^2)
            many = round(steps * (scales[0] / scale) ** 2) if surplus else steps
            dataset = descent(problem, solution, starts, many, tl.every(many // 400), residual=residual(solution))
            loss, factors = dataset.loss, ends(dataset)
            pairs = list(zip(*factors, strict=True))
            rates = [lowrank.late_rate(F, G, len(SIGNAL)) for F, G in pairs]
            laws = [lowrank.surplus_rate(F, G, solution) for F, G in pairs] if surplus else rates
            values = {
                "loss": (("seed", "row"), loss.values),
                "step": ("row", loss.step.values),
                "slopes": (("seed", "window"), late_slopes(loss)),
                "linear": (
                    "seed",
                    [
                        linear_slope(one, E, *pair)
                        for one, E, pair in zip(loss, dataset.residual.values, pairs, strict=True)
                    ],
                ),
                "predicted": ("seed", 2 * np.log(1 - STEP * np.asarray(rates))),
                "rate": ("seed", rates),
                "law": ("seed", laws),
                "law_error": ("seed", [law_error(F, G, rate) for (F, G), rate in zip(pairs, rates, strict=True)]),
            }
            each.append(xarray.Dataset(values))
        found.append(xarray.concat(each, "scale"))
    return xarray.concat(found, "rank").assign_coords(rank=list(ranks), scale=list(scales))


def law_error(F, G, rate) -> Any:
    """By how much the law of the imbalance may miss the rate of factors at a solution.

    With A and C the signal's rows of F and G, B and E the others, F G' = M says A C' = Sigma and A E' = B C' = B E' =
    0. Let R be the range of A' and N its complement, as indices of columns, and T = C_R^-1 C_N. Then E_R = 0, B_R =
    -B_N T', and the imbalance D = F'F - G'G has the blocks

        D_NN = B_N' B_N - E_N' E_N - C_N' C_N,    -D_RN = C_R' C_R T + T B_N' B_N.

    The Schur complements of the signal in F F' and in G'G are B_N B_N' and E_N' E_N, whose row spaces are orthogonal:
    the rate is the least of their positive eigenvalues, divided by something between 1 and 1 + 2 |T|^2 while surplus
    columns are below the signal. By Weyl the
    least eigenvalue of D_NN differs from theirs by |C_N|^2 at most, and |C_N| <= |C_R^-T D_RN|, for the rest of the
    second equation is positive semidefinite. Together |C_N|^2 + 2 |T|^2 rate. As D is of second order in the start's
    scale, this is of fourth order, and of second order relative to the rate.

    Source: derived here. Checked by long runs at n = 20 and k = 6: from the scale 1/2 on down to 1/16 the order of the
    relative miss between one scale and its half was 1.2 to 2.2, 1.7 to 2.1 and 1.9 to 2.1 over six starts.
    """
    r = len(SIGNAL)
    basis = np.linalg.svd(F[:r])[2]
    D = basis @ (F.T @ F - G.T @ G) @ basis.T
    C = G[:r] @ basis[:r].T
    C_N, least = np.linalg.solve(C.T, D[:r, r:]), np.linalg.svd(C, compute_uv=False)[-1]
    return np.sum(C_N**2) * (1 + 2 * rate / least**2)


def plot_asymmetric(dataset):
    figure, axes = figures.panels(dataset.sizes["rank"], sharey=True)
    for panel, rank in zip(np.ravel(axes), dataset["rank"].values, strict=True):
        for scale, colour in zip(dataset.scale.values, figures.COLOURS, strict=False):
            one = dataset.sel(rank=rank, scale=scale).isel(seed=0)
            clear = one.loss > FLOOR
            figures.measured(
                panel, one.step[clear], one.loss[clear], color=colour, label=rf"$\alpha = {scale:g}/\sqrt{{n}}$"
            )
            at = int(np.flatnonzero(one.loss < LATE)[0])
            line = one.loss[at] * np.exp(one.predicted * (one.step - one.step[at]))
            figures.predicted(panel, one.step[clear], line[clear], linewidth=1.1)  # black, on the line that it predicts
        panel.set(yscale="log", xlabel="step $t$", title=f"asymmetric: $FG^T$, $k = {rank}$")
    figures.predicted(np.ravel(axes)[0], [], [], label="predicted slope")
    np.ravel(axes)[0].set_ylabel(r"$|FG^T - M|^2$")
    figures.legend(axes)
    return figure


def surplus_scales(dataset) -> Any:
    """The runs with surplus columns, from the largest scale down."""
    return surplus_runs(dataset).sortby("scale", ascending=False)


def check_rates(dataset):
    """The last slopes off those of the linear law, in units of what the factors may still move."""
    miss = np.abs(dataset.slopes.isel(window=1) / dataset.linear - 1) / (np.sqrt(LATE) / dataset.rate)
    return Verdict.compare(
        miss.max(), "<=", 1.0, quantity="largest relative miss of the late slope, over what the factors may still move"
    )


def check_square(dataset):
    """The order in the scale of the late slope, between the two smallest scales."""
    runs = surplus_scales(dataset)
    log_slopes = np.log(-runs.slopes.isel(window=1, drop=True)).mean("rank")
    orders = log_slopes.diff("scale") / np.log(runs.scale).diff("scale")
    mean, error = mean_and_error(orders)
    # what is left of it falls as the scale or faster, so that it is at most what it was seen to change
    change = np.abs(mean.diff("scale").isel(scale=-1))
    return Verdict.compare(
        mean.isel(scale=-1), "==", 2.0, 3 * error.isel(scale=-1) + change,
        quantity="slope of log late rate against log scale of the start",
    )  # fmt: skip


def check_law_error(dataset):
    """The miss of the law of the imbalance, in units of its bound."""
    runs = surplus_runs(dataset)
    # runs end before their limit: factors are off by the last error at most
    left = (np.sqrt(runs.loss.isel(row=-1)) / runs.law_error).max()
    return Verdict.compare(
        (np.abs(runs.law - runs.rate) / runs.law_error).max(), "<=", 1.0, left,
        quantity="largest miss of the imbalance's least eigenvalue, over its bound",
    )  # fmt: skip


# one step in between


def run_fix(size, key):
    import jax
    import jax.numpy as jnp
    import xarray

    rank, seeds, scales = {"small": (6, 3, (0.5, 0.25)), "paper": (8, 10, (0.5, 0.25, 0.125)),
                           "large": (8, 100, (0.5, 0.25, 0.125, 0.0625))}[size]  # fmt: skip
    first, steps = 800, 1000  # surplus columns have settled, and the smallest start is not at rounding yet
    solution = truth(len(SIGNAL) + rank)
    problem = lowrank.squared_loss(jnp.asarray(solution))
    starts = tuple(map(turned, small_starts(key, SIDE, rank, scales, seeds)))
    before, factors = descend(problem, solution, starts, first, tl.every(10))
    plain, _ = descend(problem, solution, factors_of(factors), steps, tl.every(10))
    mended = jax.vmap(lambda F, G: lowrank.rescaled_factors(F, G, 1.0))(*factors_of(factors))
    fixed, _ = descend(problem, solution, mended, steps, tl.every(10))
    kept = np.einsum("lik,ljk->lij", *map(np.asarray, mended)) - np.einsum("lik,ljk->lij", *factors)
    dataset = xarray.Dataset(
        {
            "before": before.rename(step="first"),
            "plain": plain,
            "fixed": fixed,
            "moved": ("lane", np.abs(kept).max((1, 2))),
            "slopes": (("lane", "window"), late_slopes(fixed)),
        }
    ).assign(predicted=2 * np.log(1 - STEP))
    place = {"scale": ("lane", np.repeat(scales, seeds)), "seed": ("lane", np.tile(np.arange(seeds), len(scales)))}
    return dataset.assign_coords(place).set_index(lane=["scale", "seed"]).unstack("lane")


def factors_of(arrays) -> Any:
    import jax.numpy as jnp

    return tuple(jnp.asarray(one) for one in arrays)


def plot_fix(dataset):
    figure, axes = figures.panels(1)
    switch = int(dataset["first"][-1])
    for scale, colour in zip(dataset.scale.values, figures.COLOURS, strict=False):
        one = dataset.sel(scale=scale).isel(seed=0)
        clear = one.fixed > FLOOR
        figures.measured(axes[0], one["first"], one.before, color=colour, label=rf"$\alpha = {scale:g}/\sqrt{{n}}$")
        figures.measured(axes[0], switch + one.step, one.plain, color=colour, linewidth=0.9)
        figures.measured(axes[0], switch + one.step[clear], one.fixed[clear], color=colour)
        at = int(np.flatnonzero(one.fixed < LATE)[0])
        line = one.fixed[at] * np.exp(one.predicted * (one.step - one.step[at]))
        figures.predicted(axes[0], switch + one.step[clear], line[clear], linewidth=1.1)
    axes[0].axvline(switch, color="0.6", linewidth=1)
    figures.predicted(axes[0], [], [], label="predicted slope")
    axes[0].set(yscale="log", xlabel="step $t$", ylabel=r"$|FG^T - M|^2$", title="one step in between (thin: without)")
    figures.legend(axes)
    return figure


def check_kept(dataset):
    # sums of a handful of products of numbers up to one, twice
    rounding = 50 * np.finfo(float).eps
    return Verdict.compare(
        dataset.moved.max(), "<=", 0.0, rounding, quantity="largest change of an entry of F G' over sigma_1"
    )


def still_moving(dataset) -> Any:
    """How much F^T F may yet change, over beta^2 = 1: what G takes in is the residual of the moment of the step."""
    return 2 * np.sqrt(dataset.before.isel(first=-1))


def check_fixed(dataset):
    """The slopes after the step, off the predicted one, in units of what F may still move."""
    miss = np.abs(dataset.slopes.isel(window=1) / dataset.predicted - 1) / still_moving(dataset)
    return Verdict.compare(
        miss.max(), "<=", 1.0, quantity="relative miss of the late slope, over what F may still move"
    )


def check_scale_free(dataset):
    """How far one seed's slopes of different scales are apart, relative."""
    last = dataset.slopes.isel(window=1)
    apart = last.min("scale") / last.max("scale") - 1
    return Verdict.compare(
        apart.max(), "<=", 0.0, 2 * still_moving(dataset).max(),
        quantity="relative distance of one start's late slopes at different scales",
    )  # fmt: skip


# the same through Gaussian measurements


def run_sensing(size, key):
    import jax
    import jax.numpy as jnp
    import xarray

    from ._two_layouts import TwoLayouts

    # the law of the surplus is seen from a few hundred steps on: 5000 of them show it at a tenth of the cost of 50,000
    n, rank, seeds, steps = {"small": (14, 5, 3, 3000), "paper": (50, 5, 5, 5000), "large": (50, 5, 20, 200_000)}[size]
    measure, begin = jax.random.split(key)
    solution = jnp.asarray(truth(n))
    operator = TwoLayouts(measure, n, 10 * n * rank)
    problem = lowrank.sensing_loss(lowrank.SensingProblem(operator, operator.apply(solution), solution=solution))
    F, G = small_starts(begin, n, rank, (0.5,), seeds)
    found = {
        "symmetric": descend(problem, solution, F, steps, tl.geometric(60))[0],
        "asymmetric": descend(problem, solution, (F, G), steps, tl.geometric(60))[0],
    }
    dataset = xarray.Dataset({"loss": xarray.concat(list(found.values()), "model")}).assign_coords(model=list(found))
    return dataset.assign(surplus=rank - len(SIGNAL), measurements=10 * n * rank)


def plot_sensing(dataset):
    figure, axes = figures.panels(1)
    for model, colour in zip(dataset.model.values, figures.COLOURS, strict=False):
        loss = dataset.loss.sel(model=model).isel(step=slice(1, None))
        for seed, values in enumerate(loss.values):
            figures.measured(axes[0], loss.step, values, color=colour, label="" if seed else str(model))
    late = dataset.step.values[dataset.step.values > 100]
    figures.predicted(axes[0], late, float(dataset.surplus) / (2 * STEP * late) ** 2, label="population law, symmetric")
    axes[0].set(xscale="log", yscale="log", ylim=(1e-20, 30), xlabel="step $t$", title="Gaussian measurements")
    axes[0].set_ylabel(r"$|W - M|^2$")
    figures.legend(axes)
    return figure


def check_faster(dataset):
    """The largest of the last asymmetric losses over the symmetric ones, from one start each.

    A surplus pair with the imbalance c ends at the product (c/2) / sinh(c eta t + ..) <= 1 / (2 eta t), which is
    what symmetric descent leaves of a column: at equal curvature no start has a ratio above one, and those with c eta t
    above one are far below. Measurements give two directions the curvatures 1 +- 3 sqrt(2/m) (three deviations of a
    mean of m squares), and either loss goes as the curvature to the power -2.
    """
    last = dataset.loss.isel(step=-1)
    apart = 3 * np.sqrt(2 / dataset.measurements)
    return Verdict.compare(
        (last.sel(model="asymmetric") / last.sel(model="symmetric")).max(), "<=", 1.0, 4 * apart,
        quantity="largest last loss of asymmetric descent, over that of symmetric descent",
    )  # fmt: skip


LOWER, LINEAR, FIX, HERE = (
    "Theorem 1.1 (abstract)",
    "asymmetric theorem (abstract)",
    "eq. 5.1, reconstructed",
    "derived here",
)
WORDS: dict[Size, Size] = {"small": "small", "paper": "paper", "large": "large"}
PAPER = Paper(
    slug="overparam_matrix_sensing",
    title="How Over-Parameterization Slows Down Gradient Descent in Matrix Sensing: The Curses of Symmetry and"
    " Initialization",
    authors=("Nuoya Xiong", "Lijun Ding", "Simon S. Du"),
    venue="International Conference on Learning Representations (ICLR)",
    year=2024,
    arxiv="2310.01769",
    room="lowrank",
    source_quality="abstract, opening pages, referee reports and summaries read; full text not read; constants"
    " reconstructed or derived here",
    setting="Recover a rank-$r$ matrix $M$ from linear measurements by gradient descent on factors of rank $k$, $XX^T$"
    " or $FG^T$, from a small random start. With $k > r$ the surplus columns must decay: symmetric descent is then"
    " sublinear, and asymmetric descent linear at a rate of the order of the square of the start's scale, by its"
    " imbalance.",
    method=r"With $S$ the gradient of $\frac12|\mathcal A(\cdot) - y|^2$ in the product, symmetric descent is $X"
    r" \leftarrow X - \frac\eta2(S + S^T)X$ on $XX^T$, and asymmetric descent $F \leftarrow F - \eta\,SG$, $G"
    r" \leftarrow G - \eta\,S^TF$ on $FG^T$. Starts are Gaussian of scale $\alpha$. A surplus singular value $x$ of"
    r" $X$ obeys $\dot x = -x^3$ in the time $\eta t$, so that the loss falls like $1/t^2$. The imbalance $F^TF -"
    r" G^TG$ is nearly kept: on the surplus directions it is of order $\alpha^2$, and its least eigenvalue there is"
    r" the linear rate.",
    experiments=(
        Experiment(
            "symmetric",
            "symmetric descent with exact and surplus rank",
            sizes=WORDS,
            run=run_symmetric,
            plot=plot_symmetric,
            seconds={"paper": 9.0},
            claims=(
                Claim(
                    "sublinear",
                    "With surplus rank symmetric descent falls no faster than $1/T^2$.",
                    LOWER,
                    lambda dataset: check_slow(surplus_runs(dataset)),
                ),
                Claim(
                    "surplus_law",
                    (r"The late loss is the sum of $(x^{-2} + 2\eta t)^{-2}$ over its surplus singular " "values."),
                    HERE,
                    check_law,
                ),
                Claim(
                    "surplus_limit",
                    r"Loss times $(2\eta t)^2$ comes to $k - r$ from"
                    r" below.",
                    HERE,
                    check_sharp,
                ),
                Claim(
                    "exact_rank",
                    "With the exact rank it is linear, at the rate of the least singular value.",
                    HERE,
                    check_slopes,
                ),
            ),
        ),
        Experiment(
            "asymmetric",
            "asymmetric descent from starts of several scales",
            sizes=WORDS,
            run=run_asymmetric,
            plot=plot_asymmetric,
            seconds={"paper": 28.0},
            claims=(
                Claim(
                    "imbalance_rate",
                    (
                        "Asymmetric descent is linear, at the rates of the singular values of the factors "
                        "that survive: the imbalance of surplus directions, and the signal."
                    ),
                    HERE,
                    check_rates,
                ),
                Claim(
                    "alpha_squared",
                    "With surplus rank that slope is of the order of the square of the start's scale.",
                    LINEAR,
                    check_square,
                ),
                Claim(
                    "imbalance_law",
                    (
                        "The least eigenvalue of the imbalance on the surplus directions gives that rate up "
                        "to its square between signal and surplus, over the signal: relative to the rate an "
                        "error of second order in the start's scale."
                    ),
                    HERE,
                    check_law_error,
                ),
            ),
        ),
        Experiment(
            "fix",
            "one rescaling of the factors in between",
            sizes=WORDS,
            run=run_fix,
            plot=plot_fix,
            seconds={"paper": 3.0},
            claims=(
                Claim("product_kept", "The one step leaves the product as it is.", FIX, check_kept),
                Claim(
                    "fixed_rate", r"After it every step contracts the residual by $1 - \eta\beta^2$.", FIX, check_fixed
                ),
                Claim("fixed_scale_free", "That slope does not depend on the start's scale.", FIX, check_scale_free),
            ),
        ),
        Experiment(
            "sensing",
            "both models through Gaussian measurements",
            sizes=WORDS,
            run=run_sensing,
            plot=plot_sensing,
            seconds={"paper": 106.0},
            claims=(
                Claim(
                    "sensing_faster",
                    "Through Gaussian measurements asymmetric descent ends below symmetric descent.",
                    LINEAR,
                    check_faster,
                ),
                Claim(
                    "sensing_sublinear",
                    "There too symmetric descent falls no faster than $1/T^2$.",
                    LOWER,
                    lambda dataset: check_slow(dataset.sel(model="symmetric")),
                ),
            ),
        ),
    ),
)
