"""One layer of attention learns the optimal denoiser of a multi-token mixture: by the mean of each token's pattern."""

from theorylab.papers import Paper

from . import companion, digits, start, tokens, training

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
    experiments=(tokens.TOKENS, start.START, training.TRAINING, companion.COMPANION, digits.DIGITS),
)
