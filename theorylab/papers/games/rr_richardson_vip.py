"""Reshuffled descent-ascent, extrapolated in its step size: what each of the two removes, and what is left."""

from typing import Any

import numpy as np

import theorylab.figures as figures
import theorylab.games as games
from theorylab.papers import Claim, Experiment, Paper, Size, Verdict, mean_and_error

from ._extrapolated import (
    FOUR,
    check_coefficient,
    check_common_coefficient,
    check_no_bias,
    check_order,
    check_smooth_mse,
    descent,
    plot_orders,
    quadratic,
    race_of_four,
    run_orders,
)
from ._races import (
    ERROR,
    SETTLED,
    SLOPE,
    check_levels,
    draw_levels,
    draw_traces,
    extragradient,
    finish,
    limit,
    race,
    theory,
)
from ._sums import check_clt, check_tighter, plot_clt, run_clt


def coupled(pair, coupling) -> Any:
    return games.Richardson(descent(pair, "reshuffle"), coupling=coupling)


def smoothed(pair, site) -> Any:
    return games.GradientDescentAscent(pair[0], noise_site=site)


# four variants on quadratic games


def run_curves(size, key):
    import jax

    # variance over squared bias grows as (gamma n) n^2: few components and small steps, or the pair has nothing to mend
    sizes = {"small": (4, 2, 5, 2400), "paper": (4, 5, 5, 16_000), "large": (4, 100, 64, 16_000)}
    n, dim, seeds, epochs = sizes[size]
    conditions, many = ((1.0, 2.0) if size == "small" else (1.0, 5.0, 10.0)), 4
    draw, run = jax.random.split(key)
    drawn = [quadratic(one, n, dim, kappa) for kappa in conditions for one in jax.random.split(draw, many)]
    tops = [games.step_sizes.constants(game).lipschitz_max for game in drawn]
    steps = np.asarray([[(1 / (80 * n * top), 0.0)] for top in tops])
    dataset = race_of_four(run, drawn, steps, descent, seeds=seeds, epochs=epochs)
    return dataset.assign_coords(kappa=("case", np.repeat(conditions, many)))


def plot_curves(dataset):
    kappas = np.unique(dataset.kappa)
    figure, axes = figures.panels(len(kappas), sharey=True)
    for panel, kappa in zip(axes, kappas, strict=True):
        one = dataset.isel(case=dataset.kappa == kappa, choice=0).mean("case")
        start = one.error.isel(step=0).mean()
        relative = one.assign(error=one.error / start, exact=one.exact / start)
        draw_traces(panel, relative, rf"$\kappa = {kappa:g}$, four games")
    return finish(figure, axes, r"$|x - x^\star|^2 / |x_0 - x^\star|^2$")


def check_lowest(dataset):
    """The largest ratio of where the extrapolated, reshuffled variant settles to where another does."""
    mean, error = mean_and_error(dataset.settled.groupby("kappa").mean("case"))
    others, relative = [name for name in FOUR if name != "RR2+RR1"], error / mean
    ratio = mean.sel(order="RR2+RR1") / mean.sel(order=others)
    doubt = ratio * np.hypot(relative.sel(order="RR2+RR1"), relative.sel(order=others))
    return Verdict.worst(ratio, "<=", 1.0, doubt, quantity="settled |x - x*|^2 of RR2+RR1 over that of another variant")


# the bound on the mean-square error


def run_bounds(size, key):
    import jax
    import xarray

    n, drawn = {"small": (5, 5), "paper": (10, 20), "large": (12, 100)}[size]
    keys = jax.random.split(key, drawn)
    fractions = 2.0 ** -np.arange(6)
    rows: dict[str, Any] = {name: [] for name in ("mse", "growth", "bound", "claimed", "step_size")}
    for one in keys:
        game = quadratic(one, n, 2, 3.0)
        steps = fractions * games.claims.rr_richardson_vip.step_size_cap(game).product
        found = [games.stationary_moments(game, games.GradientDescentAscent(step)) for step in steps]
        bounds = [games.claims.rr_richardson_vip.mse_bound(game, step_size=step) for step in steps]
        rows["mse"].append([each.mse for each in found])
        rows["growth"].append([each.ms_contraction for each in found])
        rows["bound"].append([each.neighbourhood for each in bounds])
        rows["claimed"].append([each.contraction for each in bounds])
        rows["step_size"].append(steps)
    return xarray.Dataset({name: (("game", "fraction"), row) for name, row in rows.items()}, {"fraction": fractions})


def plot_bounds(dataset):
    figure, axes = figures.panels(2)
    pairs = [("mse", "bound"), ("growth", "claimed")]
    for panel, (exact, claimed) in zip(axes, pairs, strict=True):
        for k in range(min(5, dataset.sizes["game"])):
            one, colour = dataset.isel(game=k), figures.COLOURS[k]
            panel.plot(one.step_size, one[exact], "o-", color=colour, markersize=4, label="exact" if k == 0 else None)
            figures.predicted(panel, one.step_size, one[claimed], color=colour)
        panel.set(xscale="log", xlabel=r"step size $\gamma$")
        panel.xaxis.set_minor_formatter("")
    axes[0].set(yscale="log", title="where it settles, five games")
    axes[1].set(ylabel="factor an epoch", title="how it contracts")
    return finish(figure, axes, ERROR, "claimed bound")


def check_bound(exact, claimed, quantity):
    """The largest ratio of an exact number and its bound: no run enters, rounding is the only doubt."""
    return lambda dataset: Verdict.compare((dataset[exact] / dataset[claimed]).max(), "<=", 1.0, 1e-12,
                                           quantity=quantity)  # fmt: skip


# the pair on one permutation or on two; smoothing noise; a Wasserstein GAN


def run_levels(labels, method):
    """Settled errors at three steps, with exact ones at more."""

    def run(size, key):
        import jax

        sizes = {"small": (4, 2, 8, 2000), "paper": (6, 2, 128, 10_000), "large": (10, 3, 1024, 20_000)}
        n, dim, seeds, epochs = sizes[size]
        draw, run = jax.random.split(key)
        drawn = [quadratic(draw, n, dim, 2.0)]
        steps = np.geomspace(1e-6, 0.05, 10)[None, :, None] * np.ones(2)
        runs = {"seeds": seeds, "epochs": epochs, "start": lambda game: game.solution}
        dataset = race(run, drawn, steps[:, -3:], orders=labels, method=method, **runs)
        exact = theory(drawn, steps, labels, method).rename(choice="exact_choice")
        return dataset.merge(exact).assign(exact_steps=("exact_choice", steps[0, :, 0])).isel(case=0)

    return run


def plot_levels(title, slopes):
    def plot(dataset):
        figure, axes = figures.panels(1)
        draw_levels(axes[0], dataset, title)
        for label, slope in slopes.items():
            start = 6 * np.interp(1e-4, dataset.exact_steps, dataset.exact.sel(order=label))
            figures.slope_guide(axes[0], (1e-4, 1e-3), start, slope)
        return finish(figure, axes, "stationary " + ERROR)

    return plot


def check_level_order(label, predicted):
    def check(dataset):
        steps, values = (one.values[2::-1] for one in (dataset.exact_steps, dataset.exact.sel(order=label)))
        # the square of what the next power, often with a large coefficient, is of the first one at these steps
        return Verdict.compare(limit(steps, values), "==", predicted, 0.05, quantity=SLOPE)

    return check


def check_levels_agree(dataset):
    exact = dataset.exact.isel(exact_choice=slice(-3, None))
    return Verdict.agree(dataset.settled.transpose("seed", "order", "choice"), exact, quantity=SETTLED)


def check_shared(dataset):
    """The largest ratio of the exact errors, on one permutation over on two: no run enters."""
    ratio = (dataset.exact.sel(order="shared") / dataset.exact.sel(order="independent")).max()
    return Verdict.compare(ratio, "<=", 1.0, quantity="exact E|x - x*|^2 on one permutation over that on two")


def run_wgan(size, key):
    import jax
    import jax.numpy as jnp

    seeds, epochs = {"small": (8, 300), "paper": (5, 1000), "large": (1024, 1000)}[size]
    draw, run = jax.random.split(key)
    drawn, pairs = [games.wgan_mean_game(draw, components=100)], np.asarray([[(0.01, 0.04)]])

    def start(game):
        return jnp.asarray([1.4, 1.4, 1.7, 1.7])

    dataset = race_of_four(run, drawn, pairs, extragradient, seeds=seeds, epochs=epochs, start=start)
    return dataset.isel(case=0, choice=0)


def plot_wgan(dataset):
    figure, axes = figures.panels(1)
    draw_traces(axes[0], dataset, "a WGAN that learns a mean")
    return finish(figure, axes, ERROR)


def check_extrapolation(dataset):
    """The smaller of the two ratios of an extrapolated variant's exact error to its plain twin's: no run enters."""
    plain, extrapolated = (dataset.exact.sel(order=list(names)).values for names in (FOUR[:2], FOUR[2:]))
    return Verdict.compare((extrapolated / plain).min(), ">=", 1.0,
                           quantity="exact E|x - x*|^2, extrapolated over plain")  # fmt: skip


def check_reshuffled(dataset):
    """The larger of the two ratios of a reshuffled variant's settled error to that of its independent twin."""
    mean, error = mean_and_error(dataset.settled)
    relative = error / mean
    pairs = [("RR1", "SGDA"), ("RR2+RR1", "RR2")]
    ratio = [float(mean.sel(order=a) / mean.sel(order=b)) for a, b in pairs]
    spread = [float(np.hypot(relative.sel(order=a), relative.sel(order=b))) for a, b in pairs]
    return Verdict.worst(ratio, "<=", 1.0, np.multiply(ratio, spread),
                         quantity="settled |x - x*|^2, reshuffled over independent")  # fmt: skip


PAIR = (
    r"Theorem 4.6 states a bias of third order for the extrapolated pair. The weights $(2, -1)$ cancel the"
    r" first power of the step alone. On affine games the stationary mean under reshuffling is an exact power series,"
    r" $c_1\gamma + c_2\gamma^2 + \dots$, whose second coefficient is not zero on generic games"
    r" (games.bias_expansion), so that the pair keeps a bias of $2|c_2|\gamma^2$. With two scalar components, $a_1x +"
    r" b$ and $a_2x - b$, the whole curve is known: with $s = a_1 + a_2$ and $p = a_1a_2$ it is $\gamma^2b(a_1 -"
    r" a_2)p/((s - \gamma p)(s - 2\gamma p))$, of second order unless $p = 0$ or $a_1 = a_2$. Three step sizes do give"
    r" the third order; and what is cubic with two is the mean-square error, since the variance of a reshuffled"
    r" epoch's end is."
)
COMMON = (
    r"Lemma 4.5 lets reshuffling share the bias' first coefficient with independent draws. On affine games"
    r" independent draws have no bias at all, for every step size: the mean iterates $x - \gamma\bar Ax$ and settles"
    r" at $x^*$. Reshuffling has $c_1 = -\frac{1}{2n}\bar A^{-1}\sum_i A_ib_i$, which is not zero unless the matrices"
    r" and offsets of components are uncorrelated. On smooth games that are not affine both have a coefficient, and"
    r" they differ."
)
STATED, SEEN, HERE = "theorem, from a reading note", "experiments, from a reading note", "derived here"
WORDS: dict[Size, Size] = {"small": "small", "paper": "paper", "large": "large"}
PAPER = Paper(
    slug="rr_richardson_vip",
    title="Shuffling the Data, Extrapolating the Step: Sharper Bias in Constant Step-Size SGD",
    authors=(
        "Konstantinos Emmanouilidis",
        "René Vidal",
        "Nicolas Loizou",
        "Emmanouil-Vasileios Vlatakis-Gkaragkounis",
    ),
    venue="International Conference on Learning Representations (ICLR)",
    year=2026,
    room="games",
    core="stochastic extragradient, reshuffled and extrapolated",
    bibtex={"url": "https://openreview.net/forum?id=QQZ53UtXgf"},
    source_quality="abstract, referee reports and a detailed reading note; the paper's own text was not read, its list"
    " of authors not seen in full (these four, and co-authors), and its formulas are those of the note",
    setting=r"Find $x^*$ with $F(x^*) = 0$ for a finite sum $F = \frac1n \sum_i F_i$ of Lipschitz operators, $F$"
    r" quasi-strongly monotone. Descent-ascent with a constant step size, a pass over the components an epoch, is"
    r" reshuffled (RR1), or extrapolated from the step sizes $\gamma$ and $2\gamma$ as $2x^{(\gamma)} - x^{(2\gamma)}$"
    r" (RR2), or both; the extrapolated point is emitted and never fed back.",
    method=r"An epoch makes $x \leftarrow x - \gamma F_{\omega(k)}(x)$ for $k = 1, \dots, n$, $\omega$ a new"
    r" permutation (RR1) or independent draws. Chains at $\gamma$ and $2\gamma$ are combined as $\hat x = 2"
    r" x^{(\gamma)} - x^{(2\gamma)}$ (RR2). A bias $E[x^{(\gamma)}] - x^* = c_1\gamma + c_2\gamma^2 + \dots$ then"
    r" loses its first term; reshuffling lowers the mean-square error from first order in $\gamma$ to second.",
    experiments=(
        Experiment(
            "orders",
            "exact orders of bias and mean-square error in the step size",
            sizes=WORDS,
            run=run_orders,
            plot=plot_orders,
            seconds={"small": 2.4, "paper": 3.4},
            claims=(
                Claim(
                    "pair_bias",
                    "Reshuffled and extrapolated from two step sizes, the bias is of third order.",
                    STATED,
                    check_order("RR2+RR1", "affine_bias", ">=", 3),
                    expected="fails",
                    why=PAIR,
                ),
                Claim(
                    "pair_bias_affine",
                    "It is of second order on an affine game.",
                    HERE,
                    check_order("RR2+RR1", "affine_bias", "==", 2),
                ),
                Claim(
                    "pair_bias_smooth",
                    "It is of second order on a smooth game that is not affine.",
                    HERE,
                    check_order("RR2+RR1", "smooth_bias", "==", 2),
                ),
                Claim("pair_bias_constant", r"It tends to $2|c_2|\gamma^2$.", HERE, check_coefficient(2, "RR2+RR1")),
                Claim(
                    "pair_mse",
                    "The mean-square error of the pair is of second order or better.",
                    STATED,
                    check_order("RR2+RR1", "affine_mse", ">=", 2),
                ),
                Claim("pair_mse_cubic", "It is of third order.", HERE, check_order("RR2+RR1", "affine_mse", "==", 3)),
                Claim(
                    "three_bias_affine",
                    "From three step sizes the bias is of third order on an affine game.",
                    HERE,
                    check_order("RR3+RR1", "affine_bias", "==", 3),
                ),
                Claim(
                    "three_bias_smooth", "And on a smooth one.", HERE, check_order("RR3+RR1", "smooth_bias", "==", 3)
                ),
                Claim(
                    "three_mse",
                    "Their mean-square error is of third order, that of the variance.",
                    HERE,
                    check_order("RR3+RR1", "affine_mse", "==", 3),
                ),
                Claim(
                    "reshuffled_bias",
                    "Reshuffled alone, the bias is of first order.",
                    STATED,
                    check_order("RR1", "affine_bias", "==", 1),
                ),
                Claim("reshuffled_bias_constant", r"It tends to $|c_1|\gamma$.", HERE, check_coefficient(1, "RR1")),
                Claim(
                    "reshuffled_mse",
                    "The mean-square error is of second order.",
                    STATED,
                    check_order("RR1", "affine_mse", "==", 2),
                ),
                Claim("reshuffled_mse_smooth", "On a smooth game too.", STATED, check_smooth_mse("reshuffle", 2)),
                Claim(
                    "common_coefficient",
                    "The bias has its first coefficient in common with that of independent draws.",
                    STATED,
                    check_common_coefficient("affine"),
                    expected="fails",
                    why=COMMON,
                ),
                Claim(
                    "common_coefficient_smooth",
                    "On a smooth game that is not affine it has, too.",
                    STATED,
                    check_common_coefficient("smooth"),
                    expected="fails",
                    why=COMMON,
                ),
                Claim(
                    "independent_bias",
                    "Drawn independently, the bias is of first order (on a smooth game).",
                    STATED,
                    check_order("SGDA", "smooth_bias", "==", 1),
                ),
                Claim(
                    "independent_bias_affine",
                    "On an affine game there is none, at every step size.",
                    HERE,
                    check_no_bias,
                ),
                Claim(
                    "independent_mse",
                    "The mean-square error is of first order.",
                    STATED,
                    check_order("SGDA", "affine_mse", "==", 1),
                ),
                Claim("independent_mse_smooth", "On a smooth game too.", STATED, check_smooth_mse("independent", 1)),
                Claim(
                    "independent_pair_bias",
                    "Extrapolated, the bias is of order 3/2 or better (on a smooth game).",
                    STATED,
                    check_order("RR2", "smooth_bias", ">=", 1.5),
                ),
                Claim(
                    "independent_pair_bias_exact",
                    "It is of second order.",
                    HERE,
                    check_order("RR2", "smooth_bias", "==", 2),
                ),
                Claim(
                    "independent_pair_mse",
                    "Extrapolation does not mend the mean-square error of independent draws.",
                    HERE,
                    check_order("RR2", "affine_mse", "==", 1),
                ),
            ),
        ),
        Experiment(
            "curves",
            "four variants on quadratic games, over epochs",
            sizes=WORDS,
            run=run_curves,
            plot=plot_curves,
            seconds={"small": 3.5, "paper": 34.0},
            claims=(
                Claim(
                    "lowest",
                    ("Reshuffled and extrapolated it settles lowest of the four (few components, small steps)."),
                    SEEN,
                    check_lowest,
                ),
                Claim("exact_levels", "Runs settle at the exact stationary errors.", HERE, check_levels),
            ),
        ),
        Experiment(
            "clt",
            "sums over epochs and their Gaussian limit",
            sizes=WORDS,
            run=run_clt,
            plot=plot_clt,
            seconds={"small": 3.4, "paper": 27.0},
            claims=(
                Claim(
                    "clt",
                    (r"Sums over $T$ epochs, over $\sqrt{T}$, are normal in the limit, with the exact " "variance."),
                    STATED,
                    check_clt,
                ),
                Claim("clt_step", "The smaller the step, the tighter they are.", SEEN, check_tighter),
            ),
        ),
        Experiment(
            "bounds",
            "exact errors and contractions beside the claimed ones",
            sizes=WORDS,
            run=run_bounds,
            plot=plot_bounds,
            seconds={"small": 2.3, "paper": 6.0},
            claims=(
                Claim(
                    "bound",
                    r"Up to the cap the mean-square error is below $8n\gamma^2L_{\max}^2\sigma^2/\mu^2$.",
                    STATED,
                    check_bound("mse", "bound", "exact E|x - x*|^2 over its bound"),
                ),
                Claim(
                    "contraction",
                    r"Up to the cap an epoch contracts the mean square by $1 - \gamma n\mu/2$ or more.",
                    STATED,
                    check_bound("growth", "claimed", "exact contraction an epoch over the claimed"),
                ),
            ),
        ),
        Experiment(
            "coupling",
            "the pair on one permutation, or on one each",
            sizes=WORDS,
            run=run_levels(("shared", "independent"), coupled),
            plot=plot_levels("RR2+RR1, by its permutations", {"independent": 3}),
            seconds={"small": 3.2, "paper": 49.0},
            claims=(
                Claim(
                    "shared_below",
                    "On one permutation the pair's mean-square error is below that on two.",
                    HERE,
                    check_shared,
                ),
                Claim("shared_order", "It is of third order on one.", HERE, check_level_order("shared", 3)),
                Claim("independent_order", "It is of third order on two.", HERE, check_level_order("independent", 3)),
                Claim("coupling_levels", "Runs settle at the exact errors of either.", HERE, check_levels_agree),
            ),
        ),
        Experiment(
            "noise",
            "smoothing noise, by where it enters",
            sizes=WORDS,
            run=run_levels(("oracle_step", "iterate"), smoothed),
            plot=plot_levels("RR1 with smoothing noise", {"oracle_step": 2, "iterate": 1}),
            seconds={"small": 5.2},
            claims=(
                Claim(
                    "oracle_noise",
                    "Smoothing noise at the oracle leaves the mean-square error of second order.",
                    STATED,
                    check_level_order("oracle_step", 2),
                ),
                Claim(
                    "iterate_noise",
                    "At the iterate the same noise makes it of first order.",
                    HERE,
                    check_level_order("iterate", 1),
                ),
                Claim("noise_levels", "Runs settle at the exact errors of all.", HERE, check_levels_agree),
            ),
        ),
        Experiment(
            "wgan",
            "a Wasserstein GAN learns a mean",
            sizes=WORDS,
            run=run_wgan,
            plot=plot_wgan,
            seconds={"small": 4.1},
            claims=(
                Claim(
                    "wgan",
                    "Learning a mean, either method settles lower when it is reshuffled.",
                    SEEN,
                    check_reshuffled,
                ),
                Claim(
                    "wgan_levels",
                    "It settles at the exact stationary errors about the sample's solution.",
                    HERE,
                    check_levels,
                ),
                Claim(
                    "wgan_extrapolated",
                    "Where all matrices are equal there is no bias, and extrapolation adds variance.",
                    HERE,
                    check_extrapolation,
                ),
            ),
        ),
    ),
)
