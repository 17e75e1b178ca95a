"""Reshuffled descent-ascent, extrapolated in its step size: what each of the two removes, and what is left."""

from theorylab.papers import Paper

from . import levels, orders, races, sums

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
    experiments=(sums.BOUNDS, orders.ORDERS, races.CURVES, sums.CLT, levels.COUPLING, levels.NOISE, races.WGAN),
)
