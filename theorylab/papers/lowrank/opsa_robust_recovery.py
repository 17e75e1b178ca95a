"""OPSA: low-rank recovery from grossly corrupted measurements by preconditioned subgradient steps."""

import numpy as np

import theorylab.engine as tl
import theorylab.figures as figures
import theorylab.lowrank as lowrank
from theorylab.papers import Claim, Experiment, Paper, Size, Verdict, mean_and_error

from ._opsa_exact import (
    check_dependent,
    check_diverges,
    check_far,
    check_heron,
    check_invariant,
    check_one_step,
    check_slower,
    plot_exact,
    run_exact,
)
from ._recovery_outcomes import (
    check_called_recovered,
    check_minimum,
    check_missed,
    check_undecided,
    plot_outcomes,
    run_outcomes,
)
from ._robust_pca import (
    check_beats_truncation,
    check_clip,
    check_foreground,
    check_ghosts,
    check_low_rank_picture,
    check_schedule,
    plot_pictures,
    run_pictures,
)
from ._sensing_races import (
    OPSA,
    SCALED,
    check_claimed_rate,
    check_kappa_free,
    check_linear,
    check_lost,
    check_outlier_rate,
    check_plain_stalls,
    check_rank_free,
    check_rank_rate,
    check_recovered,
    check_width_slower,
    plot_breakdown,
    plot_condition,
    plot_rank,
    run_breakdown,
    run_condition,
    run_rank,
)

# how measurements scale low-rank matrices


FRACTIONS = np.asarray([0.1, 0.2, 0.3, 0.4])


def run_isometry(size, key):
    import jax
    import xarray

    n, d, m, draws, many = {"small": (8, 2, 300, 400, 4), "paper": (500, 20, 5000, 500, 12),
                            "large": (500, 20, 20_000, 5000, 24)}[size]  # fmt: skip
    of_ratio, of_draws, of_operators = jax.random.split(key, 3)
    rng, ratios = tl.keys.generator(of_ratio), []
    for _ in range(draws):
        # given X the <A_k, X> / |X| are independent standard normal numbers: large ones are drawn as such
        values = rng.standard_normal(m)
        if size == "small":
            X = rng.standard_normal((n, d)) @ rng.standard_normal((d, n))
            values = rng.standard_normal((m, n * n)) @ X.ravel() / np.linalg.norm(X)
        ratios.append(np.sum(np.abs(values)))
    side, m_kept = {"small": (12, 300), "paper": (40, 4000), "large": (60, 20_000)}[size]
    found = np.empty((2, 3, many, len(FRACTIONS)))
    for j, one in enumerate(jax.random.split(of_operators, many)):
        operator = lowrank.GaussianSensing(one, (side, side), m_kept)
        for i, support in enumerate(("random", "worst")):
            for k, p in enumerate(FRACTIONS):
                constants = lowrank.restricted_constants(
                    operator, 6, key=jax.random.fold_in(of_draws, j), outliers=float(p), support=support, draws=100
                )
                found[i, :, j, k] = constants.lipschitz, constants.sharpness, 1 / constants.chi
    limit = [[lowrank.gaussian_constants(float(p), support).sharpness for p in FRACTIONS]
             for support in ("random", "worst")]  # fmt: skip
    dims = ("support", "seed", "outliers")
    return xarray.Dataset(
        {
            "ratio": ("draw", ratios),
            "lipschitz": (dims, found[:, 0]),
            "sharpness": (dims, found[:, 1]),
            "inverse_chi": (dims, found[:, 2]),
            "limit": (("support", "outliers"), limit),
            "measurements": m,
        },
        {"support": ["random", "worst"], "outliers": FRACTIONS},
    )


def plot_isometry(dataset):
    figure, axes = figures.panels(2)
    m = float(dataset.measurements)
    mean, spread = m * np.sqrt(2 / np.pi), np.sqrt(m * (1 - 2 / np.pi))
    axes[0].plot(dataset.ratio, ".", color=figures.COLOURS[0], markersize=4)
    for level, width in ((mean, 1.5), (mean - 2 * spread, 1), (mean + 2 * spread, 1)):
        label = "mean, and two standard deviations" if level == mean else ""
        figures.predicted(axes[0], [0, dataset.sizes["draw"]], level, linewidth=width, label=label)
    axes[0].set(xlabel="draw", ylabel=r"$|A(X)|_1 / |X|_F$", ylim=(0.75 * m * 0.8, 1.25 * m * 0.8),
                title=r"Gaussian measurements: $m\sqrt{2/\pi}$")  # fmt: skip
    for support, colour in zip(dataset.support.values, figures.COLOURS, strict=False):
        one = dataset.sel(support=support)
        grid = np.linspace(0, 0.45, 100)
        limit = [lowrank.gaussian_constants(float(p), str(support)).sharpness for p in grid]
        figures.predicted(axes[1], grid, limit, color=colour)
        figures.measured(
            axes[1], one.outliers, one.sharpness, color=colour, marker="o", linestyle="", label=f"{support} support"
        )
    axes[1].axhline(0, color="0.6", linewidth=1)
    figures.predicted(axes[1], [], [], color="0.3", label="Gaussian limit")
    axes[1].set(xlabel="outlier fraction $p$", ylabel=r"outlier bound $\delta_3$", title="what outliers leave of it")
    for panel in axes:
        figures.legend(panel)
    return figure


def check_mean(dataset):
    mean, error = mean_and_error(dataset.ratio / dataset.measurements, ...)
    return Verdict.estimate(mean, "==", np.sqrt(2 / np.pi), error, quantity="mean of |A(X)|_1 / (m |X|_F)")


def check_spread(dataset):
    ratio = dataset.ratio / np.sqrt(dataset.measurements)
    spread = ratio.std(ddof=1)  # of sums of many numbers, which are normal: so is its error
    return Verdict.estimate(
        spread, "==", np.sqrt(1 - 2 / np.pi), spread / np.sqrt(2 * ratio.size - 2),
        quantity="standard deviation of |A(X)|_1 / (m |X|_F), times the root of m",
    )  # fmt: skip


def check_random(dataset):
    one = dataset.sel(support="random")
    return Verdict.agree(one.sharpness, one.limit, quantity="the outlier bounds")


def check_chi(dataset):
    return Verdict.agree(dataset.inverse_chi.sel(support="random"), 1 - 2 * FRACTIONS, quantity="the quotients 1/chi")


def check_worst(dataset):
    """The outlier bound of the worst support, positive below 0.239 and negative above."""
    mean, error = mean_and_error(dataset.sharpness.sel(support="worst") * np.sign(0.239 - dataset.outliers))
    return Verdict.worst(
        mean, ">=", 0.0, error, quantity="outlier bound of the worst support, its sign turned past 0.239"
    )


RATE, WITHOUT, OUTLIER, TRIALS, FREE, LIMIT, HERE = (
    "main theorem (abstract)",
    "first version (abstract)",
    "main theorem, with outliers (abstract)",
    "experiments (released code)",
    "published version (abstract)",
    "mixed-norm RIP and S-outlier bound",
    "derived here",
)
CLAIMED = "rate of scaled subgradient steps, reconstructed"
WORDS: dict[Size, Size] = {"small": "small", "paper": "paper", "large": "large"}
PAPER = Paper(
    slug="opsa_robust_recovery",
    title="Guarantees of a Preconditioned Subgradient Algorithm for Overparameterized Asymmetric Low-rank Matrix"
    " Recovery",
    authors=("Paris Giampouras", "HanQin Cai", "René Vidal"),
    venue="International Conference on Machine Learning (ICML)",
    year=2025,
    arxiv="2410.16826",
    room="lowrank",
    core="robust low-rank recovery",
    source_quality="the authors' released code, the abstracts of both versions and a review of the first read; full"
    " text not read; the theorem's constants reconstructed from its case without damping at the true rank",
    setting="Recover a low-rank matrix from linear measurements, a fraction of which is grossly wrong, as a product"
    " $LR^T$ of factors that are wider than its rank. Subgradient steps on the mean absolute residual are"
    " preconditioned by the damped inverse Gram matrix of the other factor, and sized after Polyak.",
    method=r"For $f(L, R) = \frac1m\|\mathcal A(LR^T) - y\|_1$ with the subgradient $S = \frac1m\sum_k"
    r" \mathrm{sign}(z_k)A_k$, $z = \mathcal A(LR^T) - y$, both factors move at once: $L \leftarrow L - \eta\, S"
    r" R\,(R^TR + \lambda I)^{-1}$ and $R \leftarrow R - \eta\, S^T L\,(L^TL + \lambda I)^{-1}$. Polyak's step"
    r" divides $f - f^*$ by the squared norm of the preconditioned subgradient; the start is the truncated spectral"
    r" one.",
    experiments=(
        Experiment(
            "condition",
            "three methods over condition numbers",
            sizes=WORDS,
            run=run_condition,
            plot=plot_condition,
            seconds={"small": 7.0, "paper": 516.0},
            claims=(
                Claim(
                    "linear",
                    (
                        "Over-parameterised and with a tenth of outliers OPSA converges linearly: two digits "
                        "take at most twice the steps of the two before."
                    ),
                    RATE,
                    check_linear,
                ),
                Claim(
                    "kappa_free",
                    ("The steps that it takes do not grow with the condition number: the order is below 1/2."),
                    WITHOUT,
                    check_kappa_free(OPSA),
                ),
                Claim(
                    "kappa_free_scaled",
                    "Nor do those of scaled subgradient steps at the true rank.",
                    WITHOUT,
                    check_kappa_free(SCALED),
                ),
                Claim(
                    "plain_stalls",
                    "Subgradient steps without preconditioner end further off.",
                    TRIALS,
                    check_plain_stalls,
                ),
                Claim(
                    "scaled_rate",
                    r"At the true rank a step contracts by $\sqrt{1 - 0.12/\chi^2}$ or better.",
                    CLAIMED,
                    check_claimed_rate(SCALED),
                ),
                Claim(
                    "opsa_rate",
                    "So does one of OPSA at the damping and the width of the experiments.",
                    CLAIMED,
                    check_claimed_rate(OPSA),
                    expected="fails",
                    why=(
                        "the constants are those of damping 0 at the true rank; with damping twice the least "
                        "singular value, and surplus columns, steps contract less"
                    ),
                ),
            ),
        ),
        Experiment(
            "isometry",
            "how measurements scale low-rank matrices",
            sizes=WORDS,
            run=run_isometry,
            plot=plot_isometry,
            seconds={"small": 6.0, "paper": 16.0},
            claims=(
                Claim(
                    "mean_ratio",
                    r"The mixed-norm ratio of fresh Gaussian measurements has the mean $\sqrt{2/\pi}$.",
                    LIMIT,
                    check_mean,
                ),
                Claim(
                    "ratio_spread",
                    r"Over draws it has the standard deviation $\sqrt{(1 - 2/\pi)/m}$.",
                    HERE,
                    check_spread,
                ),
                Claim(
                    "outlier_bound",
                    r"With a random support of share $p$ the outlier bound is $(1 - 2p)\sqrt{2/\pi}$.",
                    LIMIT,
                    check_random,
                ),
                Claim("chi", r"Sharpness over Lipschitz constant, $1/\chi$, is then $1 - 2p$.", LIMIT, check_chi),
                Claim(
                    "worst_support",
                    "If an adversary chooses the support it vanishes between 0.2 and 0.3, at $p = 0.239$.",
                    HERE,
                    check_worst,
                ),
            ),
        ),
        Experiment(
            "rank",
            "over-parameterised recovery by the rank of the truth",
            sizes=WORDS,
            run=run_rank,
            plot=plot_rank,
            seconds={"small": 9.0, "paper": 48.0},
            claims=(
                Claim(
                    "rank_free",
                    (
                        "At as many measurements for each number to be found, the rate does not fall with the"
                        " rank: its order is above -1/2."
                    ),
                    FREE,
                    check_rank_free,
                ),
                Claim(
                    "rank_rate",
                    r"At every rank a step contracts by $\sqrt{1 - 0.12/\chi^2}$ or better.",
                    CLAIMED,
                    check_rank_rate,
                ),
            ),
        ),
        Experiment(
            "breakdown",
            "surplus columns against outliers",
            sizes=WORDS,
            run=run_breakdown,
            plot=plot_breakdown,
            seconds={"paper": 87.0},
            claims=(
                Claim(
                    "surplus_exact",
                    "With twice as many columns as needed clean data give the matrix to rounding.",
                    RATE,
                    check_recovered(2, 0.0),
                ),
                Claim("outliers_exact", "So do data with a tenth of outliers.", OUTLIER, check_recovered(2, 0.1)),
                Claim(
                    "outlier_rate",
                    (
                        "At the true rank every fraction of outliers up to 0.3 obeys its own claimed rate, "
                        r"$\chi = 1/(1 - 2p)$."
                    ),
                    CLAIMED,
                    check_outlier_rate,
                ),
                Claim(
                    "width_slower",
                    (
                        "Clean data take more steps with surplus columns, for measurements are worse "
                        "isometries of wider matrices."
                    ),
                    HERE,
                    check_width_slower,
                ),
                Claim(
                    "half",
                    "Every fraction of outliers below one half is recovered with twice the columns.",
                    LIMIT,
                    check_recovered(2, 0.4),
                    expected="fails",
                    why="one half is the limit of infinitely many measurements",
                ),
                Claim(
                    "too_wide",
                    ("With as many numbers in the factors as measurements, and a tenth of outliers, recovery fails."),
                    HERE,
                    check_lost(None, 0.1),
                ),
                Claim(
                    "too_wide_clean",
                    "It fails on clean data too.",
                    HERE,
                    check_lost(None, 0.0),
                    expected="fails",
                    why="the spectral start leads to the truth, though other matrices fit as well",
                ),
            ),
        ),
        Experiment(
            "exact",
            "limits and closed forms",
            sizes=WORDS,
            run=run_exact,
            plot=plot_exact,
            seconds={"paper": 9.0},
            claims=(
                Claim(
                    "invariant",
                    "Without damping no iterate depends on the basis of the factors.",
                    HERE,
                    check_invariant(0.0, 2),
                ),
                Claim("rotation", "With damping none depends on a rotation.", HERE, check_invariant(1.0, 1)),
                Claim("stretch", "On a basis that is stretched they do depend then.", HERE, check_dependent(1.0, 2)),
                Claim(
                    "far",
                    "At large damping Polyak steps are those of the method without preconditioner.",
                    HERE,
                    check_far,
                ),
                Claim("heron", "In one dimension an iterate $x$ becomes $x^* + (x - x^*)^2/4x$.", HERE, check_heron),
                Claim(
                    "one_step",
                    (
                        r"Near the truth and with many measurements a scaled step contracts by $\sqrt{a(1 - "
                        r"a)}/(1 + a) \le 1/\sqrt{8}$."
                    ),
                    HERE,
                    check_one_step,
                ),
                Claim(
                    "regularised_slower",
                    (
                        "With the Polyak step of the loss alone the regularised variant of the first version "
                        "ends further off the stronger it is."
                    ),
                    HERE,
                    check_slower,
                ),
                Claim(
                    "regularised_diverges",
                    "At twice the least singular value it does not come near the truth.",
                    HERE,
                    check_diverges,
                ),
            ),
        ),
        Experiment(
            "outcomes",
            "what is said of a recovery, and its error",
            sizes=WORDS,
            run=run_outcomes,
            plot=plot_outcomes,
            claims=(
                Claim(
                    "recovered",
                    "What `robust_recovery` calls recovered has a relative error of at most 1e-2.",
                    HERE,
                    check_called_recovered,
                ),
                Claim(
                    "not_recovered",
                    "At most 1 % of what it calls not recovered is right all the same.",
                    HERE,
                    check_missed,
                ),
                Claim("undecided", "At most 5 % of random problems are left undecided.", HERE, check_undecided),
                Claim(
                    "minimum",
                    "A loss at its minimum is recovery, however many columns the factors have.",
                    HERE,
                    check_minimum,
                    expected="fails",
                    why=(
                        "where outliers hit entries, a surplus column fits some of them: the loss is that of "
                        "the truth, or less, on another matrix"
                    ),
                ),
            ),
        ),
        Experiment(
            "pictures",
            "a clip and a photograph, both corrupted",
            sizes=WORDS,
            run=run_pictures,
            plot=plot_pictures,
            seconds={"paper": 7.0},
            claims=(
                Claim("clip", "The background of a clip is found to three digits.", TRIALS, check_clip),
                Claim("foreground", "Then what moves is found pixel by pixel.", TRIALS, check_foreground),
                Claim(
                    "ghosts",
                    "So it is from a truncated decomposition of the frames.",
                    HERE,
                    check_ghosts,
                    expected="fails",
                    why="least squares spreads what moves over the background",
                ),
                Claim(
                    "schedule",
                    ("Errors fall as the geometric steps do: they are within what the steps to come can move."),
                    HERE,
                    check_schedule,
                ),
                Claim(
                    "photograph_exact",
                    ("A picture of low rank with a seventh of its pixels black or white is recovered to three digits."),
                    HERE,
                    check_low_rank_picture,
                ),
                Claim(
                    "photograph",
                    (
                        "The photograph itself, which is not of low rank, is mended: it comes out nearer to "
                        "the truth than from a truncated decomposition."
                    ),
                    HERE,
                    check_beats_truncation,
                ),
            ),
        ),
    ),
)
