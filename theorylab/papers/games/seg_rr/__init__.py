"""Stochastic extragradient with random reshuffling: an order of the step size for the price of a permutation."""

from theorylab.papers import Paper

from . import one_epoch, orders, rivals, steps

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
    experiments=(one_epoch.TOY, orders.ORDERS, orders.RELEASED, steps.THEORY_STEPS, steps.CONSTANT_STEPS,
                 steps.BILINEAR, rivals.WGAN, rivals.OPTIMISTIC, rivals.HAMILTONIAN, rivals.DOUBLE, rivals.LOGISTIC,
                 one_epoch.CERTIFICATE),
)  # fmt: skip
