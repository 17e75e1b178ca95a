"""Stochastic extragradient with random reshuffling: an order of the step size for the price of a permutation."""

import numpy as np

import theorylab.figures as figures
import theorylab.games as games
from theorylab.papers import Claim, Experiment, Paper, Size, Verdict, mean_and_error

from ._one_epoch import (
    check_certificate,
    check_sides,
    check_toy,
    plot_certificate,
    plot_toy,
    run_certificate,
    run_toy,
)
from ._races import (
    BOTH,
    COLOURS,
    ERROR,
    ORDERS,
    SETTLED,
    SLOPE,
    check_below,
    check_levels,
    draw_levels,
    draw_traces,
    finish,
    limit,
    race,
    ratios,
    theory,
)
from ._released import (
    check_released_above,
    check_released_levels,
    check_released_order,
    check_released_ratio,
    plot_released,
    run_released,
)
from ._rivals import (
    check_path,
    plot_double,
    plot_hamiltonian,
    plot_optimistic,
    run_double,
    run_hamiltonian,
    run_optimistic,
)

SMALL = {"n": 6, "dim": 2, "seeds": 8, "epochs": 1200}  # one shape for three experiments: they share compiled programs


def quadratics(key, n, dim, conditions):
    return [games.quadratic_game(key, components=n, dim=dim, mu=1.0, lipschitz=kappa) for kappa in conditions]


# the order of the error in the step size


def run_orders(size, key):
    import jax

    n, dim, seeds, epochs = {"small": SMALL.values(), "paper": (10, 4, 128, 10_000), "large": (12, 4, 1024, 40_000)}[
        size
    ]
    draw, run = jax.random.split(key)
    drawn = [games.quadratic_game(draw, components=n, dim=dim, mu=1.0, lipschitz=3.0, heterogeneous=own)
             for own in (True, False)]  # fmt: skip
    steps = np.geomspace(1e-5, 0.05, 8)[:, None]
    ahead, descent = (np.stack([steps * (1, scale)] * 2) for scale in (2, 0))
    dataset = race(run, drawn, ahead[:, -4:], seeds=seeds, epochs=epochs, start=lambda game: game.solution)
    exact = theory(drawn, ahead).rename(choice="exact_choice")
    # without a look-ahead, where the order is read
    smallest = theory(drawn, descent[:, :3]).exact.rename(choice="smallest_choice")
    dataset = dataset.merge(exact).assign(exact_steps=("exact_choice", steps[:, 0]), descent_ascent=smallest)
    return dataset.assign_coords(case=["own matrices", "equal matrices"])


def plot_orders(dataset):
    figure, axes = figures.panels(2, sharey=True)
    for panel, case, high in zip(axes, dataset.case.values, (2, 3), strict=True):
        one = dataset.sel(case=case)
        draw_levels(panel, one, case)
        for order, slope in zip(BOTH, (1, high), strict=True):
            start = 6 * np.interp(1e-4, one.exact_steps, one.exact.sel(order=order))
            figures.slope_guide(panel, (1e-4, 1e-3), start, slope)
    return finish(figure, axes, "stationary " + ERROR)


def check_order(order, case, predicted):
    def check(dataset):
        here = dataset.isel(case=case, exact_choice=slice(3)).sel(order=order)
        both = [mse.transpose(..., "case").values[::-1] for mse in (here.exact, here.descent_ascent)]
        slopes = np.ravel([limit(here.exact_steps.values[::-1], mse) for mse in both])
        # the square of what the next power is of the first one at these steps
        return Verdict.compare(slopes[np.argmax(np.abs(slopes - predicted))], "==", predicted, 0.05, quantity=SLOPE)

    return check


def check_simulation(dataset):
    exact = dataset.exact.isel(exact_choice=slice(-4, None))
    return Verdict.agree(dataset.settled.transpose("seed", "order", "case", "choice"), exact, quantity=SETTLED)


# A: strongly monotone games at the theorem's steps, and at twice, four and eight times them


def run_theory_steps(size, key):
    import jax

    n, dim, seeds, epochs = {"small": SMALL.values(), "paper": (100, 10, 5, 40_000), "large": (100, 100, 64, 40_000)}[
        size
    ]
    conditions, scales = ((1.0, 2.0) if size == "small" else (1.0, 5.0, 10.0)), np.asarray([[1], [2], [4], [8]])
    draw, run = jax.random.split(key)
    drawn = quadratics(draw, n, dim, conditions)
    pairs = np.stack([scales * games.step_sizes.strongly_monotone(game) for game in drawn])
    dataset = race(run, drawn, pairs, orders=ORDERS, seeds=seeds, epochs=epochs).merge(theory(drawn, pairs, ORDERS))
    promised = 1 - pairs[:, :1, 0] * n / 2
    return dataset.assign(promised=(("case", "theorem"), promised)).assign_coords(case=list(conditions))


def plot_theory_steps(dataset):
    figure, axes = figures.panels(dataset.sizes["case"], sharey=True)
    for panel, case in zip(axes, dataset.case.values, strict=True):
        one = dataset.sel(case=case).isel(choice=0)
        draw_traces(panel, one, rf"$\kappa = {case:g}$")
        start = float(one.error.isel(step=0).mean())
        figures.predicted(panel, one.step, start * float(one.promised[0]) ** one.step, color="black", linestyle="-.")
    figures.predicted(axes[0], [], [], color="black", linestyle="-.", label="theorem's rate")
    return finish(figure, axes, ERROR)


def check_rate(dataset):
    """The excess of the exact contraction over the promised one, at the theorem's own steps."""
    growth = dataset.growth.isel(choice=0).sel(order=list(BOTH)).max("order")
    excess = (growth - dataset.promised.isel(theorem=0)).max()
    return Verdict.compare(excess, "<=", 0.0, 1e-12, quantity="contraction of E|x - x*|^2 an epoch, above the promised")


# B and C: constant steps, the largest 1/(6 L)


def run_constant_steps(size, key):
    import jax

    n, dim, seeds, epochs = {"small": SMALL.values(), "paper": (100, 100, 5, 10_000), "large": (100, 100, 64, 100_000)}[
        size
    ]
    conditions = {"small": (1.0, 5.0), "paper": (1.0, 5.0, 10.0), "large": (1.0, 5.0, 10.0, 100.0)}[size]
    divisors = (6, 10, 30, 100) if size == "small" else (6, 10, 100, 1000)
    draw, run = jax.random.split(key)
    drawn = quadratics(draw, n, dim, conditions)
    bounds = [games.step_sizes.constants(game).lipschitz_max for game in drawn]
    pairs = np.asarray([[(1 / (k * bound), 4 / (k * bound)) for k in divisors] for bound in bounds])
    dataset = race(run, drawn, pairs, seeds=seeds, epochs=epochs).merge(theory(drawn, pairs))
    return dataset.assign_coords(case=list(conditions))


def plot_constant_steps(dataset):
    figure, axes = figures.panels(dataset.sizes["case"], sharey=True)
    for panel, case in zip(axes, dataset.case.values, strict=True):
        draw_levels(panel, dataset.sel(case=case), rf"$\kappa = {case:g}$, $\gamma_2 = 4\gamma_1$")
    return finish(figure, axes, "settled " + ERROR)


def check_gap(dataset):
    """From each step size to the next smaller one the logarithm of the errors' ratio falls."""
    ratio, error = (part.transpose(..., "choice").values for part in ratios(dataset))
    relative = error / ratio
    doubt = np.hypot(relative[..., 1:], relative[..., :-1])
    change = "change of log(reshuffled over independent |x - x*|^2) to the next smaller step"
    return Verdict.worst(np.diff(np.log(ratio)), "<=", 0.0, doubt, quantity=change)


# D: bilinear games, where descent-ascent (no extrapolation, every other choice) diverges


def run_bilinear(size, key):
    import jax

    n, dim, seeds, epochs = {"small": SMALL.values(), "paper": (100, 2, 5, 1000), "large": (100, 2, 64, 1000)}[size]
    steps = (0.02, 0.03) if size == "small" else (0.01, 0.015)
    draw, run = jax.random.split(key)
    drawn = [games.bilinear_game(draw, components=n, dim=dim, mu=1.0, lipschitz=top) for top in (1.0, 1.5)]
    pairs = np.asarray([[(step, scale * step) for step in steps for scale in (0, 4)]] * 2)
    dataset = race(run, drawn, pairs, seeds=seeds, epochs=epochs)
    return dataset.merge(theory(drawn, pairs)).assign_coords(case=[1.0, 1.5])


def plot_bilinear(dataset):
    figure, axes = figures.panels(3)
    descent, ahead = (dataset.isel(case=0, choice=choice) for choice in (2, 3))
    draw_traces(axes[0], descent, "descent-ascent")
    draw_traces(axes[1], ahead, r"extragradient, $\gamma_2 = 4\gamma_1$")
    start, growth = float(descent.error.isel(step=0).mean()), descent.growth.sel(order="independent")
    figures.predicted(axes[0], dataset.step, start * growth**dataset.step)
    for order in BOTH:
        path = ahead.plane.sel(order=order).isel(seed=0, step=slice(10, None)).values.T
        axes[2].plot(*path, "o-", color=COLOURS[order], linewidth=0.8, markersize=4)
    axes[2].plot(0, 0, "k+", markersize=14)
    axes[2].set(xlabel=r"$u_1 - u_1^\star$", ylabel=r"$v_1 - v_1^\star$", title="extragradient, one run, settled")
    return finish(figure, axes, ERROR)


def check_diverges(dataset):
    error = dataset.error.isel(choice=slice(0, None, 2))
    mean, spread = mean_and_error(np.log(error.isel(step=-1) / error.isel(step=0)))
    return Verdict.worst(mean, ">=", 0.0, spread, quantity="log of the last |x - x*|^2 over the first")


def only_extragradient(check):
    return lambda dataset: check(dataset.isel(choice=slice(1, None, 2)))


# E: a Wasserstein GAN learns a mean


def run_wgan(size, key):
    import jax
    import jax.numpy as jnp

    seeds, epochs = {"small": (8, 300), "paper": (5, 1000), "large": (1024, 1000)}[size]
    draw, run = jax.random.split(key)
    drawn, pairs = [games.wgan_mean_game(draw, components=100)], np.asarray([[(0.01, 0.04)]])
    dataset = race(run, drawn, pairs, seeds=seeds, epochs=epochs, start=lambda game: jnp.asarray([1.4, 1.4, 1.7, 1.7]))
    return dataset.merge(theory(drawn, pairs)).isel(case=0, choice=0)


def plot_wgan(dataset):
    figure, axes = figures.panels(1)
    draw_traces(axes[0], dataset, "a WGAN that learns a mean")
    return finish(figure, axes, ERROR)


# distributionally robust logistic regression on real data


def run_logistic(size, key):
    seeds, epochs = {"small": (4, 100), "paper": (16, 4000), "large": (256, 4000)}[size]
    pairs = np.asarray([[(step, 2 * step) for step in (0.005, 0.01)]])
    return race(
        key, [games.robust_logistic_game()], pairs, seeds=seeds, epochs=epochs, start=lambda game: game.start
    ).isel(case=0)


def plot_logistic(dataset):
    figure, axes = figures.panels(2, sharey=True)
    for panel, choice in zip(axes, (0, 1), strict=True):
        draw_traces(
            panel, dataset.isel(choice=choice), rf"breast cancer, $\gamma_1 = {float(dataset.steps[choice, 0]):g}$"
        )
    low, ratio = dataset.settled.mean("seed").isel(choice=0), float(dataset.steps[1, 0] / dataset.steps[0, 0])
    for order, slope in zip(BOTH, (1, 2), strict=True):
        level = float(low.sel(order=order)) * ratio**slope
        figures.predicted(axes[1], dataset.step[[0, -1]], level, color=COLOURS[order])
    return finish(figure, axes, ERROR, "left level, scaled by the order")


RATES, SEEN, HERE = "theorem, reconstructed", "experiments", "derived here"
WORDS: dict[Size, Size] = {"small": "small", "paper": "paper", "large": "large"}
PAPER = Paper(
    slug="seg_rr",
    title="Stochastic Extragradient with Random Reshuffling: Improved Convergence for Variational Inequalities",
    authors=("Konstantinos Emmanouilidis", "René Vidal", "Nicolas Loizou"),
    venue="Proceedings of the 27th International Conference on Artificial Intelligence and Statistics (AISTATS)",
    year=2024,
    arxiv="2403.07148",
    room="games",
    bibtex={"series": "Proceedings of Machine Learning Research", "volume": "238"},
    source_quality="public code read, abstract read; theorems reconstructed, paper text not read. The released code"
    " does not do what its names say: its reshuffled epoch is one random component $n$ times, as it draws a permutation"
    " and never advances in it, and its 'shuffle once' never uses its permutation, so that it is the cyclic order. Here"
    " every order is the intended one, and the experiment 'released' shows that of the code beside them: figures that"
    " the code made as released are of that order",
    setting=r"Find $x^*$ with $F(x^*) = 0$ for a finite sum $F = \frac1n \sum_i F_i$: strongly monotone, affine"
    r" (bilinear too) or monotone. Same-sample stochastic extragradient looks ahead by $\gamma_2F_i$ and steps by"
    r" $\gamma_1F_i$ there, with $i$ drawn independently, reshuffled each epoch, shuffled once, or in cyclic order.",
    method=r"With one index for both calls, $\bar x = x - \gamma_2 F_i(x)$ and $x \leftarrow x - \gamma_1 F_i(\bar"
    r" x)$. Reshuffled, an epoch lets $i$ run through a new permutation of $1, \dots, n$. On affine components an"
    r" epoch is an affine random map, so that the stationary mean-square error, and whether there is one, follow"
    r" exactly from the first two moments of that map; runs are laid over them. The authors' released code calls"
    r" reshuffled an epoch that takes one random $i$ for all $n$ updates: its map is $T_i^n$ with $T_i$ the update of"
    r" component $i$, its stationary error is exact in the same way, and, as $\gamma_1 \to 0$, it is $n$ times that of"
    r" independent sampling.",
    experiments=(
        Experiment(
            "orders",
            "the order of the stationary error in the step size",
            sizes=WORDS,
            run=run_orders,
            plot=plot_orders,
            seconds={"small": 4.4, "paper": 113.0},
            claims=(
                Claim(
                    "order_independent",
                    "Sampled independently, the mean-square error is of first order in the step size.",
                    RATES,
                    check_order("independent", slice(None), 1),
                ),
                Claim(
                    "order_reshuffled",
                    "Reshuffled, it is of second order where the components have matrices of their own.",
                    RATES,
                    check_order("reshuffle", slice(1), 2),
                ),
                Claim(
                    "order_reshuffled_equal",
                    "Reshuffled, it is of third order where all matrices are equal.",
                    HERE,
                    check_order("reshuffle", slice(1, None), 3),
                ),
                Claim("exact_moments", "Runs settle at the exact stationary error.", HERE, check_simulation),
            ),
        ),
        Experiment(
            "released",
            "what the released code calls reshuffling",
            sizes=WORDS,
            run=run_released,
            plot=plot_released,
            seconds={"small": 8.1, "paper": 51.0},
            claims=(
                Claim(
                    "released_levels",
                    (
                        "One random component $n$ times, which the released code calls reshuffling, settles "
                        "at an exact stationary error of its own."
                    ),
                    HERE,
                    check_released_levels,
                ),
                Claim("released_order", "That error is of first order in the step size.", HERE, check_released_order),
                Claim(
                    "released_ratio",
                    "As the step shrinks it becomes $n$ times that of independent sampling.",
                    HERE,
                    check_released_ratio,
                ),
                Claim(
                    "released_above",
                    "At every step it is above that of independent sampling and that of true reshuffling.",
                    HERE,
                    check_released_above,
                ),
            ),
        ),
        Experiment(
            "theory_steps",
            "strongly monotone games, the theorem's steps",
            sizes=WORDS,
            run=run_theory_steps,
            plot=plot_theory_steps,
            seconds={"small": 4.9, "paper": 351.0},
            claims=(
                Claim(
                    "rate",
                    (r"At the theorem's steps an epoch contracts $E|x - x^*|^2$ by $1 - \gamma_1n\mu/2$ or " "more."),
                    RATES,
                    check_rate,
                ),
                Claim(
                    "below_theory_steps",
                    "At the theorem's steps every other order settles below independent sampling.",
                    SEEN,
                    check_below,
                ),
            ),
        ),
        Experiment(
            "constant_steps",
            "constant steps, large and small",
            sizes=WORDS,
            run=run_constant_steps,
            plot=plot_constant_steps,
            seconds={"small": 2.6},
            claims=(
                Claim(
                    "below_equal_step",
                    "At every constant step reshuffling settles below independent sampling.",
                    SEEN,
                    check_below,
                ),
                Claim("gap_grows", "The gap between them grows as the step shrinks.", SEEN, check_gap),
            ),
        ),
        Experiment(
            "bilinear",
            "a bilinear game, with and without extrapolation",
            sizes=WORDS,
            run=run_bilinear,
            plot=plot_bilinear,
            seconds={"small": 2.7},
            claims=(
                Claim("descent_ascent_diverges", "On bilinear games descent-ascent diverges.", SEEN, check_diverges),
                Claim(
                    "extragradient_converges",
                    "On the same games extragradient settles at its exact level.",
                    HERE,
                    only_extragradient(check_levels),
                ),
                Claim("below_bilinear", "There too reshuffling settles below.", SEEN, only_extragradient(check_below)),
            ),
        ),
        Experiment(
            "toy",
            "the contraction on the game uv",
            sizes=WORDS,
            run=run_toy,
            plot=plot_toy,
            seconds={"small": 0.4, "paper": 1.0},
            claims=(
                Claim(
                    "toy_contraction",
                    r"On $uv$ a step multiplies $|x|^2$ by $(1 - \gamma_1\gamma_2)^2 + \gamma_1^2$.",
                    HERE,
                    check_toy,
                ),
            ),
        ),
        Experiment(
            "wgan",
            "a Wasserstein GAN that learns a mean",
            sizes=WORDS,
            run=run_wgan,
            plot=plot_wgan,
            seconds={"small": 2.4, "paper": 8.0},
            claims=(
                Claim("below_wgan", "Learning a mean, reshuffling settles below.", SEEN, check_below),
                Claim(
                    "wgan_moments",
                    "It settles at the exact stationary error about the sample's solution.",
                    HERE,
                    check_levels,
                ),
            ),
        ),
        Experiment(
            "optimistic",
            "optimistic descent learns a mean",
            sizes=WORDS,
            run=run_optimistic,
            plot=plot_optimistic,
            seconds={"small": 3.9, "paper": 16.0},
            claims=(
                Claim(
                    "below_optimistic",
                    "Optimistic descent, too, settles lower when it is reshuffled.",
                    SEEN,
                    check_below,
                ),
            ),
        ),
        Experiment(
            "hamiltonian",
            "Hamiltonian descent on bilinear games",
            sizes=WORDS,
            run=run_hamiltonian,
            plot=plot_hamiltonian,
            seconds={"small": 3.9, "paper": 14.0},
            claims=(
                Claim("below_hamiltonian", "So does Hamiltonian descent, on bilinear games.", SEEN, check_below),
                Claim("hamiltonian_moments", "It settles at its exact stationary error.", HERE, check_levels),
            ),
        ),
        Experiment(
            "double",
            "decreasing double steps on bilinear games",
            sizes=WORDS,
            run=run_double,
            plot=plot_double,
            seconds={"small": 5.0},
            claims=(
                Claim(
                    "below_double",
                    "With the double steps $(t + 19)^{-0.5}$ and 1/10 reshuffling ends below.",
                    SEEN,
                    lambda dataset: check_below(dataset.isel(choice=[1])),
                ),
                Claim(
                    "double_path",
                    (
                        "With the other two pairs bilinear games are left where the mean's own path ends: the"
                        r" product of $(1 - \gamma_1\gamma_2)^2 + \gamma_1^2$ over all updates, which does not"
                        " vanish."
                    ),
                    HERE,
                    check_path,
                ),
            ),
        ),
        Experiment(
            "logistic",
            "robust logistic regression on the breast-cancer data",
            sizes=WORDS,
            run=run_logistic,
            plot=plot_logistic,
            seconds={"small": 3.3},
            claims=(
                Claim(
                    "below_logistic", "On real data, beyond affine games, reshuffling settles below.", HERE, check_below
                ),
            ),
        ),
        Experiment(
            "certificate",
            "mean-square stability, certified and run",
            sizes=WORDS,
            run=run_certificate,
            plot=plot_certificate,
            seconds={"small": 1.1, "paper": 4.0},
            claims=(
                Claim(
                    "certificate",
                    "An epoch multiplies the mean square by the certificate's factor.",
                    HERE,
                    check_certificate,
                ),
                Claim(
                    "certificate_sides",
                    "Runs grow where the certificate exceeds one, and only there.",
                    HERE,
                    check_sides,
                ),
            ),
        ),
    ),
)
