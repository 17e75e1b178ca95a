"""Over-parameterised matrix sensing: surplus columns slow symmetric descent down to 1/T^2, asymmetric to alpha^2."""

from theorylab.papers import Paper

from . import asymmetric, rescaled, sensing, symmetric

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
    experiments=(symmetric.SYMMETRIC, asymmetric.ASYMMETRIC, rescaled.FIX_ONCE, sensing.SENSING),
)
