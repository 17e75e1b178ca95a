"""The gradient flow of LoRA on two layers: alignment, then descent; why small starts stop, and spectral ones do not."""

from theorylab.papers import Paper

from . import digits, directions, factorisation, growth, ratios, starts

PAPER = Paper(
    slug="lora_gradient_flow",
    title="Understanding the Learning Dynamics of LoRA: A Gradient Flow Perspective on Low-Rank Adaptation in Matrix"
    " Factorization",
    authors=(
        "Ziqing Xu",
        "Hancheng Min",
        "Lachlan Ewen MacDonald",
        "Jinqi Luo",
        "Salma Tarmoun",
        "Enrique Mallada",
        "René Vidal",
    ),
    venue="Proceedings of the 28th International Conference on Artificial Intelligence and Statistics (AISTATS)",
    year=2025,
    arxiv="2503.06982",
    room="lowrank",
    core="LoRA's gradient flow",
    source_quality="full text read: statements, experiments, figures; proofs skimmed; no public code found; networks"
    " pretrained on ImageNet stood in for by a small network on digits",
    setting="Two frozen layers $W_2W_1$ get adapters, $(W_2 + B_2A_2)(W_1 + B_1A_1)$, trained by gradient flow on the"
    " squared distance from a target that shares the singular vectors of $W_2W_1$. Small starts first align with the"
    " singular directions of the change, and stop at a loss that their scale sets; starts along those directions do"
    " not stop.",
    method=r"All four adapters follow $\dot\theta = -\nabla_\theta L$ with $L = \frac12\|Y - (W_2 + B_2A_2)(W_1 +"
    r" B_1A_1)\|_F^2$. A small start has entries of size $\alpha$; a spectral one has $B_1 = B_2 = 0$ and the rows"
    r" of $A_1$ and $A_2$ along the top right singular vectors of $W_2^T\Delta$ and $\Delta W_1^T$, the negative"
    r" gradients, with $\Delta = Y - W_2W_1$. Small starts grow linearly first, at rates that $\Delta$ and the"
    r" frozen layers set, and end at a loss that is a power of $\alpha$.",
    experiments=tuple(one.EXPERIMENT for one in (starts, factorisation, ratios, growth, directions, digits)),
)
