"""OPSA: low-rank recovery from grossly corrupted measurements by preconditioned subgradient steps."""

from theorylab.papers import Paper

from . import breakdown, condition, exact, isometry, outcomes, pictures, rank

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
    experiments=(isometry.ISOMETRY, condition.CONDITION, rank.RANK, breakdown.BREAKDOWN, exact.EXACT,
                 outcomes.RECOVERIES, pictures.PICTURES),
)  # fmt: skip
