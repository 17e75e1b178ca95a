"""One layer of attention learns the optimal denoiser of a multi-token mixture: by the mean of each token's pattern."""

from theorylab.papers import Claim, Experiment, Paper, Size

from . import _at_start as start
from . import _companion as companion
from . import _digits as digits
from . import _figure_2 as figure_2
from . import _tokens as tokens

SEEN, HERE = "Figure 2", "derived here"
WORDS: dict[Size, Size] = {"small": "small", "paper": "paper", "large": "large"}
PAPER = Paper(
    slug="ddpm_multitoken_gmm",
    title="Transformers Learn the Optimal DDPM Denoiser for Multi-Token GMMs",
    authors=("Hongkang Li", "Hancheng Min", "René Vidal"),
    venue="Proceedings of the 43rd International Conference on Machine Learning (ICML)",
    year=2026,
    arxiv="2604.10074",
    room="diffusion",
    core="denoising loss of attention, and oracles of mixtures",
    bibtex={"series": "Proceedings of Machine Learning Research", "volume": "306"},
    precision="float32",
    source_quality="full text read: statements, figures, lemmas; long gradient computations of the appendix skimmed;"
    " no public code found; learning rate and batch not given; MNIST and a six-layer transformer stood in for by"
    " scikit-learn's digits and a smaller one",
    setting=r"Tokens are noisy copies of $K$ of $M$ orthogonal patterns; one layer of attention with one matrix $W$ for"
    r" all levels and one scale $v$ for each learns to predict the noise. Trained, it takes the mean of the tokens of"
    r" a token's own pattern. Every risk is a mean squared error per entry, without the paper's factor 1/2, averaged"
    r" over the levels $t = 1, \dots, T$; an $\epsilon$ of the paper is half of ours, and orders have constant one.",
    method=r"A token at level $t$ is $x_i = \sqrt{\bar\alpha_t}\,\mu_{u_i} + \sqrt{1 - \bar\alpha_t}\,\varepsilon_i$"
    r" with $u_i$ its pattern. The model predicts $\hat\varepsilon_i = v_t\,\big(x_i - \sum_j A_{ij} x_j\big)$ with"
    r" $A_{ij} = \mathrm{softmax}_j(x_j^T W x_i / d)$, from $W = 0$, and gradient steps lower the mean of"
    r" $|\hat\varepsilon_i - \varepsilon_i|^2$ over levels. The benchmark is the posterior mean $E[\varepsilon_i"
    r" \mid X]$, whose risk is exact for a known mixture.",
    experiments=(
        Experiment(
            "figure_2",
            "training, by active patterns, rare ones and levels",
            sizes=WORDS,
            run=figure_2.run_figure_2,
            plot=figure_2.plot_figure_2,
            seconds={"small": 11.0, "paper": 4385.0},
            claims=(
                Claim(
                    "more_patterns",
                    (
                        "The excess over the oracle, under other proportions than in training, ends the "
                        "higher the more patterns are active."
                    ),
                    "Figure 2 (B)",
                    figure_2.check_active,
                ),
                Claim(
                    "rarer_patterns",
                    "It ends the higher the rarer the rarest pattern is.",
                    "Figure 2 (C)",
                    figure_2.check_rarest,
                ),
                Claim(
                    "fewer_levels",
                    (
                        "On the levels that it is trained on it ends lowest for the first 40 %, then for all,"
                        " then for the last 40 %."
                    ),
                    "Figure 2 (D)",
                    figure_2.check_levels,
                ),
                Claim(
                    "attends",
                    "With several active patterns training ends below the best model without attention.",
                    "Theorem 1, as an order",
                    figure_2.check_attends,
                ),
                Claim(
                    "one_pattern",
                    "With one active pattern it ends at the ideal mean denoiser.",
                    HERE,
                    figure_2.check_one_pattern,
                ),
                Claim(
                    "score_identity",
                    (r"The score's error is the mean of $(L_t - B_t)/(1 - \bar\alpha_t)$, $B_t$ the Bayes " "risk."),
                    HERE,
                    figure_2.check_identity,
                ),
                Claim(
                    "score_error",
                    "The score's error is at most the excess over Bayes times SNR + 1.",
                    "Theorem 2",
                    figure_2.check_score,
                ),
                Claim(
                    "mass",
                    r"The attention to the own pattern is at least $1 - \sqrt{\epsilon}$.",
                    "Corollary 3, constant one",
                    figure_2.check_mass,
                ),
                Claim(
                    "pattern_score",
                    r"A pattern's score with itself is at least $\frac12\log(K\delta/\epsilon)$.",
                    "Proposition 3, constant one",
                    figure_2.check_pattern_score,
                ),
                Claim(
                    "mean_error",
                    (r"What attention makes of a token is within $(\rho^2 + 1)\log d/(P\nu_{\min})$ of its " "mean."),
                    "Proposition 1, constant one",
                    figure_2.check_mean_error,
                ),
                Claim(
                    "scales",
                    r"All $v_t$ end within $\epsilon$ of $c/s^2$.",
                    "Proposition 1, constant one",
                    figure_2.check_scales,
                ),
                Claim(
                    "shift",
                    "Other proportions leave the excess of the same order: below twice that of training.",
                    "Corollary 4, constant two",
                    figure_2.check_shift,
                ),
                Claim(
                    "rare_last",
                    "The rarest pattern's score is the last to reach half of where it ends.",
                    "lemmas, Figure 2 (E)",
                    figure_2.check_rare_last,
                ),
            ),
        ),
        Experiment(
            "start",
            "where training begins, exactly",
            sizes=WORDS,
            run=start.run_start,
            plot=start.plot_start,
            seconds={"small": 2.8, "paper": 34.0},
            claims=(
                Claim(
                    "start_risk",
                    (
                        r"Without attention the risk is $1 + (1 - 1/P)(v^2(s^2 + \bar\alpha(1 - "
                        r"E\sum_k\pi_k^2)) - 2vc)$."
                    ),
                    HERE,
                    start.check_risk,
                ),
                Claim(
                    "start_slope",
                    "The first gradient in $W$ is the exact one, for any number of tokens.",
                    HERE,
                    start.check_slope,
                ),
                Claim(
                    "rarest_slowest", "The rarest pattern's score grows slowest.", "lemmas", start.check_rarest_slowest
                ),
                Claim(
                    "one_pattern_still",
                    "With one active pattern and many tokens the first gradient is 0 at $v = c/s^2$.",
                    HERE,
                    start.check_limit,
                ),
                Claim(
                    "scales_contract",
                    (
                        r"With ideal attention a step multiplies $v_t - c/s^2$ by $1 - \frac{\eta}{T}(1 - "
                        r"E[\#]/P)s^2$."
                    ),
                    HERE,
                    start.check_decay,
                ),
                Claim(
                    "frequencies",
                    "Every pattern is at least as frequent as the closed lower bound.",
                    "Corollary 1, its proof",
                    start.check_frequencies,
                ),
                Claim(
                    "fewest_iterations",
                    "The iterations of Theorem 1 grow with the number of active patterns.",
                    "Corollary 1",
                    start.check_fewest,
                ),
                Claim(
                    "printed_oracle",
                    r"The oracle's risk is 0.155, for $d = 64$, $M = 8$, $\rho = 0.3$, $T = 50$.",
                    SEEN,
                    start.check_printed("own_oracle", "oracle"),
                ),
                Claim(
                    "printed_start",
                    "From $W = 0$ and $v$ drawn from $N(0, 1/d)$ the test loss starts at 0.65.",
                    SEEN,
                    start.check_printed("own_start", "start"),
                    expected="fails",
                    why="exactly it is 1.01, and 0.60 for $v = 1$: the figure's run had another start",
                ),
                Claim(
                    "asked_levels",
                    r"The experiment has as many levels as Theorem 1 asks for, $\log d$.",
                    "Theorem 1 (ii), constant one",
                    start.check_asked("levels"),
                ),
                Claim(
                    "asked_tokens",
                    "It has as many tokens as the theorem asks for at the excess that it ends with.",
                    "Theorem 1 (iii), constant one",
                    start.check_asked("tokens"),
                    expected="fails",
                    why="it has a quarter of them: the constant that the order leaves open is small",
                ),
                Claim(
                    "asked_dimension",
                    "Its tokens have the dimension that the theorem asks for.",
                    "Theorem 1 (i), constant one",
                    start.check_asked("dimension"),
                    expected="fails",
                    why="a fifth of it, as with the tokens",
                ),
            ),
        ),
        Experiment(
            "tokens",
            "the excess by the number of tokens",
            sizes=WORDS,
            run=tokens.run_tokens,
            plot=tokens.plot_tokens,
            seconds={"small": 1.2},
            claims=(
                Claim(
                    "ideal_exact",
                    (
                        r"The mean over the tokens of a class exceeds the oracle by $E[\#]/P$ times the mean "
                        r"of $(1 - \bar\alpha_t)/s_t^2$."
                    ),
                    HERE,
                    tokens.check_exact,
                ),
                Claim("ideal_slope", "So its excess falls as $1/P$.", HERE, tokens.check_slope),
                Claim(
                    "tokens_required",
                    r"An excess $e$ takes $K/e$ times the mean of $(1 - \bar\alpha_t)/s_t^2$ tokens.",
                    HERE,
                    tokens.check_required,
                ),
                Claim(
                    "tokens_help",
                    (r"With $W = \frac wd \sum_k\mu_k\mu_k^T$, at the best $w$, more tokens lower the " "excess."),
                    "Theorem 1 (iii), as an order",
                    tokens.check_falls,
                ),
                Claim(
                    "dimension_helps",
                    "So does a larger dimension, at the most tokens.",
                    "Theorem 1 (i), as an order",
                    tokens.check_dimension,
                ),
                Claim(
                    "above_ideal",
                    "The ideal mean denoiser is the least risk of such attention.",
                    HERE,
                    tokens.check_above,
                    expected="fails",
                    why=(
                        "where a pattern is shown by one or two tokens softer attention, which shrinks means "
                        "towards one another, is better"
                    ),
                ),
            ),
        ),
        Experiment(
            "companion",
            "the companion model, beside the paper",
            sizes=WORDS,
            run=companion.run_companion,
            plot=companion.plot_companion,
            seconds={"small": 6.3},
            claims=(
                Claim(
                    "companion_descent",
                    "Companion: descent on linear attention follows its closed form at every step.",
                    HERE,
                    companion.check_descent,
                ),
                Claim(
                    "companion_best",
                    "Companion: the best linear attention has the exact risk.",
                    HERE,
                    companion.check_simulated,
                ),
                Claim(
                    "companion_tokens",
                    "Companion: the tokens required for a risk are those that have it.",
                    HERE,
                    companion.check_asked,
                ),
                Claim(
                    "companion_stuck",
                    ("Companion: from the best model without attention descent finds none, if its skip is free."),
                    HERE,
                    companion.check_stuck,
                ),
                Claim(
                    "companion_fixed",
                    (
                        "Companion: with the skip held at the oracle's descent from $W = 0$ finds attention, "
                        "most of the way to Bayes."
                    ),
                    HERE,
                    companion.check_leaves("fixed skip"),
                ),
                Claim(
                    "companion_free",
                    "Companion: so does a free skip that starts there.",
                    HERE,
                    companion.check_leaves("free skip"),
                ),
                Claim(
                    "companion_push",
                    "Companion: and the best model without attention, from $W = 0.3I$.",
                    HERE,
                    companion.check_leaves("the same, $W = 0.3 I$"),
                ),
            ),
        ),
        Experiment(
            "digits",
            "digits of which one is rare",
            sizes=WORDS,
            run=digits.run_digits,
            plot=digits.plot_digits,
            seconds={"small": 11.0},
            claims=(
                Claim(
                    "rare_slowest",
                    "The rare digit's distance to real ones falls slowest.",
                    "MNIST experiment, as an ordering",
                    digits.check_rare_slowest,
                    expected="undecided",
                    why=("the spread between runs is as large as the difference, and a small run is a single one"),
                ),
                Claim(
                    "rare_share",
                    "The rare digit is drawn less often than every other one.",
                    HERE,
                    digits.check_rare_share,
                ),
            ),
        ),
    ),
)
