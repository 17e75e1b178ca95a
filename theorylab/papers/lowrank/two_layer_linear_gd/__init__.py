"""Gradient descent on two-layer linear networks: local constants, and a global rate from the start's imbalance."""

from theorylab.papers import Paper

from . import certificates, descent

PAPER = Paper(
    slug="two_layer_linear_gd",
    title="A Local Polyak-Łojasiewicz and Descent Lemma of Gradient Descent for Overparametrized Linear Models",
    authors=("Ziqing Xu", "Hancheng Min", "Salma Tarmoun", "Enrique Mallada", "René Vidal"),
    venue="Transactions on Machine Learning Research",
    year=2025,
    arxiv="2505.11664",
    room="lowrank",
    entry="article",
    source_quality="full text read: statements, tables, experiments; proofs skimmed; no public code found",
    setting=r"Minimise a $\mu$-strongly convex, $K$-smooth loss of $W$ through two factors, $W = W_1W_2^T$. At a point"
    r" the loss of the factors has the constants $\mu a$ and $K_t$, from the extreme singular values of the factors;"
    r" the imbalance $W_1^TW_1 - W_2^TW_2$, nearly kept, certifies them for the whole run, so that descent has a"
    r" linear rate from general starts.",
    method=r"Descent on $L(W_1, W_2) = \ell(W_1W_2^T)$: $W_1 \leftarrow W_1 - \eta\,GW_2$ and $W_2 \leftarrow W_2 -"
    r" \eta\,G^TW_1$ with $G = \nabla\ell$. At a point $\frac12|\nabla L|^2 \ge \mu a\,(L - L^*)$ with $a ="
    r" \sigma_n^2(W_1) + \sigma_m^2(W_2)$, and a descent lemma with a local $K_t$ holds along the step, so that"
    r" $L_{t+1} - L^* \le (1 - 2\eta_t\mu a_t + \mu a_t K_t\eta_t^2)(L_t - L^*)$. The imbalance $W_1^TW_1 -"
    r" W_2^TW_2$ bounds $a_t$ from below for the whole run.",
    experiments=(certificates.SHAPES, certificates.WIDTH, descent.PLAIN, descent.DESCENT),
)
