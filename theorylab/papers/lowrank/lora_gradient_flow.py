"""The gradient flow of LoRA on two layers: alignment, then descent; why small starts stop, and spectral ones do not."""

from typing import Any

import numpy as np

import theorylab.engine as tl
import theorylab.figures as figures
import theorylab.lowrank as lowrank
from theorylab.papers import Claim, Experiment, Paper, Size, Verdict, mean_and_error

from . import _lora_digits as digits
from . import _lora_phases as phases
from ._lora_flows import (
    FLOW,
    RANK,
    SIDE,
    SIGMA,
    UNIT,
    as_adapters,
    each,
    flows,
    gaussian,
    grown,
    layers,
    misalignments,
    powers,
    rest,
    scaled,
    sizes,
)

RATIOS = (1 / 1.05**2, 1 / 4, 1 / 100)
SCALES = (1e-3, 1e-4, 1e-5)
CHEAP = {"rtol": 1e-8, "atol": 1e-16}  # two digits of a loss of 1e-20
FIGURE_1 = {"loss": (-12.5, -16.4, -20.2), "misalignment": (-4.8, -6.75, -8.7)}  # log10, from the largest scale down


# Figure 1: both starts at three scales, and the flow around one direction that predicts them


def run_factorisation(size, key):
    import xarray

    hidden, seeds, draws = {"small": (20, 1, 24), "paper": (100, 30, 30), "large": (1000, 30, 30)}[size]
    rng, time = tl.keys.generator(key), 5 * UNIT  # 50,000 steps of 1e-4
    lanes, on, predicted, ends = [], [], [], []
    for draw in range(draws):
        W1, W2, target, one = layers(rng, hidden, RATIOS[0], {0: SIGMA})
        begin, lengths = gaussian(rng, hidden), rng.standard_normal(RANK)
        small = [scaled(begin, scale) for scale in SCALES]
        ends += [lowrank.lora.rank_one_lora_flow(W1, W2, target, start, time[[0, -1]], **CHEAP) for start in small]
        if draw >= seeds:
            continue
        spectral = [lowrank.spectral_init(W1, W2, target, RANK, scale * lengths) for scale in SCALES]
        lanes += [(W1, W2, target, start, time) for start in (*small, *spectral)]
        on += 2 * len(SCALES) * [one]
        predicted += [lowrank.lora.rank_one_lora_flow(W1, W2, target, start, time) for start in small]
    found = flows(lanes)
    shape, dims = (seeds, 2, len(SCALES), len(time)), ("seed", "start", "scale", "time")
    values = (found.loss, *misalignments(each(found.adapters), on), *sizes(found.adapters))
    names = ("loss", "misalignment1", "misalignment2", "norm1", "norm2")
    measured = {name: (dims, one.reshape(shape)) for name, one in zip(names, values, strict=True)}
    theory = {f"{name}_theory": (("seed", "scale", "time"), np.reshape([getattr(one, name) for one in predicted],
              (seeds, *shape[2:]))) for name in names}  # fmt: skip
    # what the runs end at, of more draws than there are runs: the flow around the direction costs a tenth of the whole
    more = {f"{name}_end": (("draw", "scale"), np.reshape([getattr(one, name)[-1] for one in ends], (draws, -1)))
            for name in ("loss", "misalignment1", "misalignment2")}  # fmt: skip
    printed = {f"{name}_printed": ("scale", list(values)) for name, values in FIGURE_1.items()}
    index = {"start": ["small", "spectral"], "scale": list(SCALES), "time": time}
    return xarray.Dataset(measured | theory | more | printed, index)


def plot_factorisation(dataset):
    figure, axes = figures.panels(3)
    for scale, colour in zip(dataset.scale.values, figures.COLOURS, strict=False):
        one = dataset.sel(scale=scale).isel(seed=0)
        small, name = one.sel(start="small"), rf"$\alpha = 10^{{{np.log10(scale):.0f}}}$"
        figures.measured(axes[0], one.time, one.loss.sel(start="spectral"), color=colour, linewidth=0.9)
        for panel, which in zip(axes, ("loss", "misalignment1", "norm1"), strict=True):
            figures.measured(panel, one.time, small[which], color=colour, label=name)
            figures.predicted(panel, one.time, one[f"{which}_theory"], color="black", linewidth=1.1)
        figures.measured(axes[2], one.time, small.norm2, color=colour, linewidth=0.9)
        figures.predicted(axes[2], one.time, one.norm2_theory, color="black", linewidth=0.8)
    figures.predicted(axes[0], [], [], label="predicted")
    axes[0].set(title="loss (thin: spectral start)", ylabel=r"$L$", ylim=(1e-28, 1e3))
    axes[1].set(title="misalignment of layer 1", ylabel=r"$1 - \cos$")
    axes[2].set(title=r"$\|Z_1\|$ (thin: $\|Z_2\|$)")
    for panel in axes:
        panel.set(yscale="log", xlabel="time")
    figures.legend(axes)
    return figure


def last(dataset, name) -> Any:
    """A small start's value at the end."""
    return dataset[name].sel(start="small").isel(time=-1)


def check_printed(name, printed):
    """How far the printed log10, the mean over the scales, is from the mean of our draws of W2 W1.

    In units of what one more draw may differ by: three standard deviations in the limit of many, Student's quantile of
    the same probability, 0.0027, for as many as there are. Ends are those of the flow around the one direction, which
    the claims `predicted_run` and `predicted_plateaus` hold against the runs.
    """

    def check(dataset):
        from scipy import special

        gap = (np.log10(dataset[f"{name}_end"]) - dataset[f"{printed}_printed"]).mean("scale")
        apart = np.abs(gap.mean()) / (gap.std(ddof=1) * np.sqrt(1 + 1 / gap.size))
        return Verdict.compare(
            apart, "<=", -special.stdtrit(gap.size - 1, 0.00135),
            quantity="distance of the printed log10 from our mean, in standard deviations of one more draw",
        )  # fmt: skip

    return check


def check_power_loss(dataset):
    """The power of the final loss in the scale."""
    mean, error = mean_and_error(powers(dataset.loss_end), "draw")
    return Verdict.worst(mean, ">=", 0.0, error, quantity="slope of log final loss against log scale, mean over draws")


def check_spectral_floor(dataset):
    """The largest loss of a spectral start, in units of the flow's own tolerance."""
    end = dataset.loss.sel(start="spectral").isel(time=-1).max()
    return Verdict.compare(
        end / (FLOW["rtol"] * SIGMA) ** 2, "<=", 100.0,  # ten tolerances, squared
        quantity="largest final loss of a spectral start, over the squared tolerance of the flow",
    )  # fmt: skip


def check_predicted(dataset):
    """The largest relative deviation of loss and norms from the prediction, over the norm of the start and rounding."""
    # the flow's tolerance, relative to a residual that is small itself
    own = FLOW["rtol"] * SIGMA / np.sqrt(last(dataset, "loss"))
    unit = start_norm(dataset) + own
    gaps = [np.abs(dataset[name].sel(start="small") / dataset[f"{name}_theory"] - 1) / unit
            for name in ("loss", "norm1", "norm2")]  # fmt: skip
    return Verdict.compare(
        max(float(gap.max()) for gap in gaps), "<=", 1.0,
        quantity="largest relative deviation from the prediction, over the norm of the start",
    )  # fmt: skip


def start_norm(dataset) -> Any:
    """The norm of all adapters at a small start."""
    first = dataset.sel(start="small").isel(time=0)
    return np.hypot(first.norm1, first.norm2)


def check_plateaus(dataset):
    """The same of both misalignments at the end, when the direction has outgrown the rest of the start."""
    gaps = [np.abs(last(dataset, name) / dataset[f"{name}_theory"].isel(time=-1) - 1) / start_norm(dataset)
            for name in ("misalignment1", "misalignment2")]  # fmt: skip
    return Verdict.compare(
        max(float(gap.max()) for gap in gaps), "<=", 1.0,
        quantity="largest relative deviation from the predicted 1 - cos, over the norm of the start",
    )  # fmt: skip


# other quotients of the layers: powers of the scale when the first sub-phase ends, and at the end


def run_ratios(size, key):
    import xarray

    both = {"top": 0, "bottom": SIDE - 1}
    hidden, seeds, scales, pairs = {"small": (20, 2, SCALES[:2], ["top"]), "paper": (100, 10, SCALES, list(both)),
                                    "large": (1000, 30, SCALES, list(both))}[size]  # fmt: skip
    rng, lanes, on, theory = tl.keys.generator(key), [], [], []
    places = [both[pair] for pair in pairs]
    for place in places:
        for ratio in RATIOS:
            for _ in range(seeds):
                W1, W2, target, one = layers(rng, hidden, ratio, {place: SIGMA})
                begin, rate = gaussian(rng, hidden), SIGMA * one["w2"][0]
                for scale in scales:
                    wait = np.log(1 / scale)
                    # the end of the first sub-phase, and much later; in between nothing is read
                    time = np.linspace(2 / (5 - ratio) * wait, wait + 40, len(UNIT)) / rate
                    start = scaled(begin, scale)
                    lanes.append((W1, W2, target, start, time))
                    on.append(one)
                    theory.append(lowrank.lora.rank_one_lora_flow(W1, W2, target, start, time[[0, -1]]))
    ends = each([part[:, [0, -1]] for part in flows(lanes).adapters])
    shape = (len(places), len(RATIOS), seeds, len(scales), 2)
    dims = ("pair", "ratio", "seed", "scale", "when")
    along = np.asarray([grown(one, of) for one, of in zip(ends, on, strict=True)])
    norms = sizes(as_adapters(*map(np.stack, zip(*ends, strict=True))))
    predicted = [(one.misalignment1, (one.norm1 / one.norm2) ** 2) for one in theory]
    values = {
        "misalignment": misalignments(ends, on)[0],
        "imbalance": (norms[0] / norms[1]) ** 2,
        "misalignment_theory": np.asarray([one[0] for one in predicted]),
        "imbalance_theory": np.asarray([one[1] for one in predicted]),
        "begin": np.asarray([2 * [np.hypot(*sizes(lane[3]))] for lane in lanes]),
        "rest": np.asarray([rest(one, of) for one, of in zip(ends, on, strict=True)]),
        "w2": np.asarray([2 * [one["w2"][0]] for one in on]),
        "grown1": along[:, 0],
        "grown2": along[:, 1],
    }
    return xarray.Dataset(
        {name: (dims, one.reshape(shape)) for name, one in values.items()},
        {"pair": pairs, "ratio": list(RATIOS), "scale": list(scales), "when": ["aligning", "end"]},
    )


def plot_ratios(dataset):
    figure, axes = figures.panels(2)
    for ratio, colour in zip(dataset.ratio.values, figures.COLOURS, strict=False):
        for pair, marker in zip(dataset.pair.values, "os", strict=False):
            one = dataset.sel(ratio=ratio, pair=pair, when="end")
            name = rf"$\delta_w = {ratio:.2g}$, {pair}"
            for panel, which in zip(axes, ("misalignment", "imbalance"), strict=True):
                middle = np.exp(np.log(one[which]).mean("seed"))
                figures.predicted(panel, one.scale, np.exp(np.log(one[f"{which}_theory"]).mean("seed")), color=colour)
                figures.measured(panel, one.scale, middle, color=colour, marker=marker, linestyle="", label=name)
    for panel in axes:
        panel.set(xscale="log", yscale="log", xlabel=r"scale $\alpha$")
    axes[0].set_title(r"$1 - \cos$ at the end")
    axes[1].set_title(r"$\|Z_1\|^2 / \|Z_2\|^2$ at the end")
    figures.predicted(axes[0], [], [], label="predicted", color="0.3")
    figures.legend(axes)
    return figure


def slack(errors) -> Any:
    """What relative errors at both ends change of a power between neighbouring scales."""
    return (errors + errors.shift(scale=1)).isel(scale=slice(1, None)) / np.abs(np.log(errors.scale).diff("scale"))


def nonlinear(one) -> Any:
    """How far log of the growth, squared, may be from that of the linear phase, both layers together.

    With p_k = |grown_k|^2 / 2, no less than the products that the layers have learnt, their rates are (w2 + p2) e and
    (w1 + p1) e with e = delta - w2 p1 - w1 p2. As p_1 grows at 2 w2 e and p_2 at 2 w1 e or more, their integrals are
    p_1 / (2 w2 e) and p_2 / (2 w1 e) at most, with the last e. What stays frozen, no more than the start, couples to
    either layer with (w1 + w2) / delta of its square all that time, 2 log(1/alpha) / (5 - delta_w) in units of the
    rate.
    """
    p1, p2, w1 = one.grown1**2 / 2, one.grown2**2 / 2, one.w2 * one.ratio
    both = (w1 + one.w2) / SIGMA
    left = 1 - (one.w2 * p1 + w1 * p2) / SIGMA
    frozen = 2 * one.begin**2 * both * 2 * np.log(1 / one.scale) / (5 - one.ratio)
    return (p1 * (1 / one.w2 + both) + p2 * (1 / w1 + both)) / left + frozen


def check_imbalance_power(dataset):
    """How far the power of the grown parts' quotient is from the claimed one, when alignment ends."""
    one = dataset.sel(when="aligning")
    gap = np.abs(powers((one.grown1 / one.grown2) ** 2) + 4 * (1 - one.ratio) / (5 - one.ratio))
    return Verdict.compare(
        (gap - slack(nonlinear(one))).max(), "<=", 0.0,
        quantity="largest distance from the claimed power of the imbalance, less what nonlinearity adds",
    )  # fmt: skip


def aligning_slack(one) -> Any:
    """What the power of 1 - cos may be off by at a finite scale.

    Let Z1 = gamma c' + W with W orthogonal to gamma and x = |W|_2^2 / (|c|^2 - |W|_2^2). The top right singular vector
    is off c by an angle of |W c| |W| / (|c|^2 - |W|^2) over |c|, so that sin^2 is |W c|^2 / |c|^4 up to factors within
    (1 +- x)^2 and 1 + x, and 1 - cos is half of it up to 1 + x/2: 3.5 x in logarithm.
    """
    x = one.rest / (one.grown1**2 - one.rest)
    return slack(3.5 * x + nonlinear(one))


def check_aligning_bound(dataset):
    """The power of 1 - cos less the claimed one, when alignment ends."""
    one = dataset.sel(when="aligning")
    gap = powers(one.misalignment) - (3 + one.ratio) / (5 - one.ratio)
    return Verdict.compare(
        (gap + aligning_slack(one)).min(), ">=", 0.0,
        quantity="least power of 1 - cos less the claimed one, plus what a finite scale takes off",
    )  # fmt: skip


def check_aligning_exact(dataset):
    """How far that power is from 4 / (5 - delta_w)."""
    one = dataset.sel(when="aligning")
    gap = np.abs(powers(one.misalignment) - 4 / (5 - one.ratio))
    return Verdict.compare(
        (gap - aligning_slack(one)).max(), "<=", 0.0,
        quantity="largest distance of the power of 1 - cos from 4/(5 - delta_w), less what a finite scale adds",
    )  # fmt: skip


def end_gap(dataset) -> Any:
    """The power of 1 - cos at the end, less the claimed one, in every draw; and what a start of finite size moves."""
    end = dataset.sel(when="end")
    return powers(end.misalignment) - (1 + end.ratio) / (3 + end.ratio), slack(end.begin).max()


def check_end_bound(dataset):
    gap, moved = end_gap(dataset)
    return Verdict.compare(gap.min(), ">=", 0.0, moved, quantity="least final power of 1 - cos less the claimed one")


def check_end_sharp(dataset):
    gap, moved = end_gap(dataset)
    return Verdict.compare(gap.max(), "<=", 0.0, moved, quantity="largest final power of 1 - cos less the claimed one")


def check_end_theory(name):
    """How far the quotient of a value by its prediction is from one, in units of the norm of the start."""

    def check(dataset):
        one = dataset.sel(when="end")
        return Verdict.compare(
            (np.abs(one[name] / one[f"{name}_theory"] - 1) / one.begin).max(), "<=", 1.0,
            quantity=f"largest relative deviation of the final {name}, over the norm of the start",
        )  # fmt: skip

    return check


def check_end_power(dataset):
    """How far the power at the end is from 4 - 2 delta_w, where the second layer stays small: the least quotient."""
    one = dataset.sel(when="end").isel(ratio=-1, pair=0)
    gap = np.abs(powers(one.misalignment) - 4 + 2 * one.ratio).max()
    # p2 / p1, and the quotient of the second layer's growth by its start
    moved = float((1 / one.imbalance).max() + abs(one.ratio * np.log(one.scale)).max())
    return Verdict.compare(
        gap, "<=", 0.0, moved, quantity="largest distance of the final power of 1 - cos from 4 - 2 delta_w"
    )


MF, ALIGNMENT, SPECTRAL, HERE = "Figure 1", "Claim 3.2", "Theorem 4.1", "derived here"
WORDS: dict[Size, Size] = {"small": "small", "paper": "paper", "large": "large"}
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
    experiments=(
        Experiment(
            "factorisation",
            "small and spectral starts at three scales",
            sizes=WORDS,
            run=run_factorisation,
            plot=plot_factorisation,
            claims=(
                Claim(
                    "power_loss",
                    "From small starts the loss ends at a power of the scale.",
                    "Theorem 3.1",
                    check_power_loss,
                ),
                Claim(
                    "figure_loss",
                    (
                        "At $10^{-12.5}$, $10^{-16.4}$ and $10^{-20.2}$ for the scales $10^{-3}$, $10^{-4}$ "
                        "and $10^{-5}$."
                    ),
                    MF,
                    check_printed("loss", "loss"),
                ),
                Claim(
                    "figure_alignment",
                    r"$1 - \cos$ of the first layer ends at $10^{-4.8}$, $10^{-6.75}$ and $10^{-8.7}$.",
                    MF,
                    check_printed("misalignment1", "misalignment"),
                    expected="fails",
                    why="it ends 50 times lower; the printed numbers are those of the second layer",
                ),
                Claim(
                    "figure_alignment_2",
                    r"$1 - \cos$ of the second layer ends there.",
                    HERE,
                    check_printed("misalignment2", "misalignment"),
                ),
                Claim("spectral_exact", "Spectral starts of every scale end at rounding.", MF, check_spectral_floor),
                Claim(
                    "predicted_run",
                    (
                        "Loss and norms follow the flow around the one direction at all times, up to a "
                        "relative error of the size of the start."
                    ),
                    HERE,
                    check_predicted,
                ),
                Claim("predicted_plateaus", "So do the misalignments of both layers at the end.", HERE, check_plateaus),
            ),
        ),
        Experiment(
            "ratios",
            "alignment and imbalance of layers of other quotients",
            sizes=WORDS,
            run=run_ratios,
            plot=plot_ratios,
            claims=(
                Claim(
                    "aligning_imbalance",
                    (
                        "When the first sub-phase ends the quotient of the squared norms of what $Z_1$ and "
                        r"$Z_2$ have grown goes as the power $-4(1 - \delta_w)/(5 - \delta_w)$ of the scale."
                    ),
                    ALIGNMENT,
                    check_imbalance_power,
                ),
                Claim(
                    "aligning_bound",
                    r"Then $1 - \cos^2$ has at least the power $(3 + \delta_w)/(5 - \delta_w)$.",
                    "Theorem C.1",
                    check_aligning_bound,
                ),
                Claim("aligning_exact", r"That power is $4/(5 - \delta_w)$.", HERE, check_aligning_exact),
                Claim(
                    "aligned_bound",
                    (r"When alignment ends $1 - \cos^2$ has at least the power $(1 + \delta_w)/(3 + " r"\delta_w)$."),
                    ALIGNMENT,
                    check_end_bound,
                ),
                Claim(
                    "aligned_sharp",
                    "It has no larger power.",
                    "Claim 3.2, read as an equality",
                    check_end_sharp,
                    expected="fails",
                    why=(
                        r"the bound is not attained: the power comes to $4 - 2\delta_w$, from the frozen part "
                        "of the second layer, which the first one has to make up for"
                    ),
                ),
                Claim(
                    "aligned_power",
                    r"For a small $\delta_w$ that power is $4 -"
                    r" 2\delta_w$.",
                    HERE,
                    check_end_power,
                ),
                Claim(
                    "aligned_predicted",
                    r"$1 - \cos$ at the end is that of the flow around one direction.",
                    HERE,
                    check_end_theory("misalignment"),
                ),
                Claim(
                    "imbalance_predicted",
                    "So is the quotient of the squared norms.",
                    HERE,
                    check_end_theory("imbalance"),
                ),
            ),
        ),
        Experiment(
            "growth",
            "growth, escape, and steps of descent",
            sizes=WORDS,
            run=phases.run_growth,
            plot=phases.plot_growth,
            claims=(
                Claim(
                    "growth_rates",
                    (
                        r"$Z_1$ and $Z_2$ grow along their directions at $\sigma\sigma_{W_2}$ and "
                        r"$\sigma\sigma_{W_1}$."
                    ),
                    "Claim 3.1",
                    phases.check_rates,
                ),
                Claim(
                    "linear_phase",
                    "What the linear flow leaves out is a cube of what has grown.",
                    HERE,
                    phases.check_linear,
                ),
                Claim(
                    "escape_slope",
                    (r"The loss leaves its first plateau at $\log(1/\alpha)/(\sigma\sigma_{W_2})$, and a " "constant."),
                    "Theorem 3.1",
                    phases.check_escape_slope,
                ),
                Claim("escape_time", "The linear flow gives the time itself.", HERE, phases.check_escape),
                Claim(
                    "descent_step",
                    (
                        r"A step $\eta$ of gradient descent multiplies the grown parts by $1 + "
                        r"\eta\sigma\sigma_{W_2}$ and $1 + \eta\sigma\sigma_{W_1}$."
                    ),
                    HERE,
                    phases.check_descent,
                ),
            ),
        ),
        Experiment(
            "directions",
            "several directions from a spectral start",
            sizes=WORDS,
            run=phases.run_directions,
            plot=phases.plot_directions,
            claims=(
                Claim(
                    "decoupled",
                    "From a spectral start nothing moves off the directions of the change.",
                    SPECTRAL,
                    phases.check_off,
                ),
                Claim(
                    "final_points",
                    "Each direction ends where its two scalar conservation laws say.",
                    HERE,
                    phases.check_ends,
                ),
                Claim(
                    "larger_first",
                    r"Directions are learnt in the order of $\sigma\sigma_{W_2}$.",
                    "Section 4",
                    phases.check_order,
                ),
                Claim(
                    "growth_printed",
                    (
                        r"Up to $T_1$, $\log z_1$ grows at $\frac{3 + \delta_w}{2}\sigma\sigma_{W_2}$ or more,"
                        r" with $\delta_w = \sigma_{W_2}/\sigma_{W_1}$."
                    ),
                    SPECTRAL,
                    phases.check_growth(inverse=True),
                    expected="fails",
                    why=r"$\delta_w$ is printed upside down, and $z_1$ starts with zero slope",
                ),
                Claim(
                    "growth_late",
                    (r"It does from $1/(\sigma\sigma_{W_2})$ on, with $\delta_w = " r"\sigma_{W_1}/\sigma_{W_2}$."),
                    "Theorem 4.1, reconstructed",
                    phases.check_growth(1.0),
                    expected="fails",
                    why=(
                        r"the flow grows at almost $2\sigma\sigma_{W_2}$ and, from small starts, saturates "
                        "before $T_1$"
                    ),
                ),
                Claim(
                    "growth_first",
                    r"It does from then on while $z_1$ is below $\sigma/16$.",
                    "Theorem 4.1, reconstructed",
                    phases.check_growth(1.0, small=True),
                ),
                Claim(
                    "separation",
                    (
                        r"In that time $\log(z_1/z_2)$ grows at $\frac{3(1 - \delta_w)}{2}\sigma\sigma_{W_2}$ "
                        "or more."
                    ),
                    "Theorem 4.1, reconstructed",
                    phases.check_separation,
                ),
                Claim(
                    "decay",
                    r"After $T_1$ the loss falls at $\frac{1 - \delta_w}{8}\sigma\sigma_{W_2}$ or faster.",
                    SPECTRAL,
                    phases.check_decay,
                ),
            ),
        ),
        Experiment(
            "starts",
            "spectral starts from the pretrained weights alone",
            sizes=WORDS,
            run=phases.run_starts,
            plot=phases.plot_starts,
            claims=(
                Claim(
                    "pretrained_stuck",
                    (
                        "Starts along singular vectors of the pretrained weights that the change does not "
                        "touch never move."
                    ),
                    "Theorem G.1",
                    phases.check_stuck,
                ),
                Claim(
                    "gradient_solves",
                    "Starts along those of the gradient solve the same problems.",
                    HERE,
                    phases.check_solves,
                ),
            ),
        ),
        Experiment(
            "digits",
            "the last layer of a network on digits",
            sizes=WORDS,
            run=digits.run_digits,
            plot=digits.plot_digits,
            claims=(
                Claim(
                    "digits_train",
                    "After a hundred steps of Adam smaller starts are at a lower training loss.",
                    "image experiments",
                    digits.check_smaller("train"),
                    expected="fails",
                    why="on this small stand-in the larger start is faster, and in the end all are alike",
                ),
                Claim(
                    "digits_test",
                    "And at a lower loss on new pictures.",
                    "image experiments",
                    digits.check_smaller("test"),
                    expected="fails",
                    why="as in training",
                ),
                Claim(
                    "digits_aligns",
                    "A small start aligns with the gradient's singular vectors within a hundred steps.",
                    "image experiments",
                    digits.check_aligns,
                ),
                Claim(
                    "digits_spectral",
                    "After a hundred steps spectral starts are below standard ones, over all sizes.",
                    HERE,
                    digits.check_spectral,
                ),
            ),
        ),
    ),
)
