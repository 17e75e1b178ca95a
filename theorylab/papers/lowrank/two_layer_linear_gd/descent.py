"""Descent itself: by constant and certified steps, with a bound on each, and in wide networks as in W itself."""

from typing import Any

import numpy as np

import theorylab.engine as tl
import theorylab.figures as figures
import theorylab.lowrank as lowrank
import theorylab.papers.kit as kit
from theorylab.papers import Claim, Experiment

EXPONENTS, STEPS = (0.5, 1.01), 24  # c and d of the paper's experiments
RULES = {"constant": "constant", "paper": "adaptive (the paper's)", "local": "adaptive (local constants)"}
THEOREM = {"rule": ["constant", "paper"]}
# residuals are differences of numbers 1e5 times as large, or the ratio of two losses says nothing
RESOLVED, ROUNDING = 1e-10, 1e-8


def descend(rule, lanes, dims, last) -> Any:
    """Descent from every (problem, start, first step size), with what local theory says of each step.

    Lanes go by two dimensions, the last of which has so many places.
    """
    from theorylab.lowrank.two_layer import LocalTerms, local_terms

    def build(key, *, lane):
        del key
        problem, x0, first = lane
        return lowrank.FactorisedDescent(None if rule == "local" else first, rule, exponent=EXPONENTS[1]), problem, x0

    def watch(problem, state):
        W1, W2 = state.x
        loss, G = problem.value_and_gradient(W1 @ W2.T)
        terms = local_terms(W1, W2, loss, G, problem.lipschitz, "local" if rule == "local" else "paper")
        return {"loss": loss} | terms._asdict()

    record = tl.Record(tl.every(1), at=watch)
    found = tl.sweep(build, over={"lane": kit.cases(lanes)}, key=0, steps=STEPS, record=record)
    names = {f"at.{name}": name for name in ("loss", *LocalTerms._fields)}
    found = found[["status", *names]].rename(names).squeeze("seed", drop=True).drop_vars("lane")
    return found.coarsen(lane=last).construct(lane=dims)


def run_descent(setting, key):
    import xarray

    (widths, noises, draws), rng = setting, tl.keys.generator(key)
    lanes = {width: [] for width in widths}

    def start(width, noise, draw):
        del draw
        X = np.linalg.qr(rng.standard_normal((10, 10)))[0]  # mu = K = 1
        W1, W2 = rng.standard_normal((2, 10, width))
        loss = lowrank.squared_loss(X @ W1 @ W2.T + noise * rng.standard_normal((10, 10)), X)
        claim = lowrank.claims.two_layer_linear_gd.descent(W1, W2, loss, exponents=EXPONENTS)
        first = 0.99 * claim.largest_step_size()
        lanes[width].append((loss, (W1, W2), first))
        low, high = claim.window(first)
        return {"first": first, "ratio": claim.alpha1 / claim.alpha2, "claimed_a": low, "claimed_s": high,
                "claimed_contraction": claim.contraction(first)}  # fmt: skip

    table = kit.tabulate(start, width=widths, noise=noises, draw=range(draws))
    runs = [[descend(rule, lanes[width], ("noise", "draw"), draws) for rule in RULES] for width in widths]
    ds = xarray.combine_nested(runs, ["width", "rule"]).assign_coords(rule=list(RULES)).merge(table)
    growing = ds.first * (1 + ds.first ** EXPONENTS[1]) ** (ds.step / 2)
    adaptive = np.minimum(ds.step_size, growing.where(ds.rule == "paper", np.inf))
    eta, (k0, k1, k2) = adaptive.where(ds.rule != "constant", ds.first), ds.k.transpose(ds.k.dims[-1], ...)
    contraction = 1 - 2 * ds.a * eta + ds.a * (k0 + (k1 + k2 * eta) * eta) * eta**2
    clear = ds.loss > RESOLVED * ds.loss.isel(step=0)
    return ds.drop_vars("k").assign(step_size=eta, contraction=contraction, clear=clear)


def plot_descent(dataset):
    figure, axes = figures.panels(dataset.sizes["noise"], dataset.sizes["width"], sharey=True)
    for panel, (width, noise) in zip(np.ravel(axes), np.ndindex(dataset.ratio.shape[:2]), strict=True):
        one = dataset.isel(width=width, noise=noise, draw=0)
        bounds = one.contraction.cumprod("step").shift(step=1, fill_value=1.0)
        for k, (loss, bound) in enumerate(zip(one.loss / one.loss.isel(step=0), bounds, strict=True)):
            look = {"color": figures.COLOURS[k], "linewidth": (4, 1.8, 1.8)[k]}  # the first lies almost under the next
            figures.measured(panel, one.step, loss, label=list(RULES.values())[k], **look)
            # dashes of bounds that lie on each other take turns
            figures.predicted(panel, one.step, bound, color=look["color"], linestyle=(4 * k, (3, 9)))
        figures.predicted(panel, one.step, one.claimed_contraction**one.step, linestyle="-.")
        title = rf"$h = {int(one.width)}$, noise {float(one.noise):g}, $\alpha_1/\alpha_2 = {float(one.ratio):.3f}$"
        panel.set(yscale="log", ylim=(1e-14, 3), xlabel="step", title=title)
    first = np.ravel(axes)[0]
    figures.predicted(first, [], [], color="0.3", label="product of one-step bounds")
    figures.predicted(first, [], [], linestyle="-.", label="global rate, constant step")
    first.set_ylabel(r"$L_t / L_0$")
    figures.legend(axes)
    return figure


def faster(fast, slow) -> Any:
    """Whether the loss is lower under one rule than under another, at the last step where all are clear of rounding."""

    def gap(dataset):
        last = dataset.clear.all(("rule", "draw")).cumprod("step").sum("step") - 1
        return np.log(dataset.loss.sel(rule=fast) / dataset.loss.sel(rule=slow)).isel(step=last)

    return kit.estimated(gap, "<=", over="draw", quantity=f"log of the loss by the {fast} rule over the {slow} one")


DESCENT = Experiment(
    "descent", "constant and adaptive steps, with their bounds", run=run_descent, plot=plot_descent,
    sizes={"small": ((500,), (0.01, 1.0), 6), "paper": ((500, 1000, 4000), (0.01, 0.1, 1.0), 30),
           "large": ((500, 1000, 4000, 16_000), (0.01, 0.1, 1.0), 100)}, seconds={"small": 8.6, "paper": 66.0},
    claims=(
        Claim("one_step", r"Every step contracts the loss by $1 - 2\mu_t\eta + \mu_tK_t\eta^2$ or more.", "Theorem 3.1",
              kit.bounded(lambda ds: ds.loss.shift(step=-1) / ds.loss, "<=", lambda ds: ds.contraction.where(
                  ds.clear & ds.clear.shift(step=-1, fill_value=False)), rounding=ROUNDING, quantity="L+/L")),
        Claim("local_pl", r"Half the squared gradient is at least $\mu a_t$ times the loss.", "Theorem 3.1",
              kit.bounded(lambda ds: (ds.half / (ds.a * ds.loss)).where(ds.clear, np.inf), ">=", 1.0, rounding=ROUNDING,
                          quantity="half squared gradient, over mu a L")),
        Claim("global_rate", "No step's bound exceeds the global rate, which the start alone gives.", "Theorem 3.2",
              kit.bounded(lambda ds: ds.contraction.sel(THEOREM), "<=", "claimed_contraction", rounding=ROUNDING,
                          quantity="a step's bound")),
        Claim("window", "Along the run $a_t$ and $s_t$ stay between the bounds that the start gives.", "Lemma 3.1",
              kit.bounded(lambda ds: np.minimum(ds.a / ds.claimed_a, ds.claimed_s / ds.s).sel(THEOREM), ">=", 1.0,
                          rounding=ROUNDING, quantity="a over its lower bound, or upper bound of s over s")),
        Claim("adaptive_faster", "The adaptive rule descends faster than its own first step size, kept constant.",
              "Figure 1", faster("paper", "constant")),
        Claim("local_faster", "Steps by the local smoothness, without a growing bound, are faster still.",
              "derived here", faster("local", "paper")),
        Claim("figure_ratio", r"At $h = 500$ and noise 0.01 a draw has $\alpha_1/\alpha_2 = 0.555$.", "Figure 1, title",
              kit.printed(lambda ds: ds.ratio.sel(width=500, noise=0.01), 0.555, over="draw",
                          quantity="alpha1/alpha2 of one draw")),
    ),
)  # fmt: skip


def run_plain(setting, key):
    (widths, draws), rng, lanes, drawn = setting, tl.keys.generator(key), [], {}

    def start(draw, width):
        if draw not in drawn:
            U, V = (np.linalg.qr(rng.standard_normal((5, 5)))[0] for _ in range(2))
            # small targets: the factors, and with them the curvatures, then hardly leave their start
            X, Y = (U * rng.uniform(1.8, 2.3, 5)) @ V.T, 0.1 * rng.standard_normal((5, 5))
            drawn[draw] = np.linalg.eigh(X.T @ X), lowrank.squared_loss(Y, X), rng.standard_normal((2, 5, widths[-1]))
        (values, vectors), loss, factors = drawn[draw]
        # a neuron that is zero stays zero, so that one program serves all widths
        W1, W2 = np.where(np.arange(widths[-1]) < width, factors, 0) / np.sqrt(width)
        lanes.append((loss, (W1, W2), 1.0))
        decay = (1 - values / values[-1]) ** np.arange(STEPS + 1)[:, None]
        along = vectors.T @ (W1 @ W2.T - np.asarray(loss.solution))
        plain = np.sum(values[:, None] * (decay[..., None] * along) ** 2, axis=(1, 2)) / 2
        return {"plain": ("step", plain)}

    table = kit.tabulate(start, draw=range(draws), width=widths)
    found = descend("local", lanes, ("draw", "width"), len(widths))
    return table.assign(wide=found.loss, status=found.status)


def late(loss) -> Any:
    return np.log(loss.isel(step=8) / loss.isel(step=4)) / 4


def plot_plain(panel, dataset):
    one = dataset[["wide", "plain"]].isel(draw=0)
    kit.curves(panel, one / one.isel(step=0), "wide", by="width", theory="plain", labels="$h = {}$".format)
    panel.set(ylim=(1e-14, 3), title="wide networks against descent in $W$")


PLAIN = Experiment(
    "plain", "wide networks follow descent in the product itself", run=run_plain,
    plot=kit.drawn(plot_plain, ylabel="$L_t/L_0$", theory="descent in $W$"),
    sizes={"small": ((50, 200, 800), 16), "paper": ((50, 200, 800, 3200), 30),
           "large": ((50, 200, 800, 3200, 12_800), 100)}, seconds={"small": 3.9, "paper": 3.0},
    claims=(
        Claim("matches_plain", "The wider the network, the nearer its rate is to that of descent in $W$ itself.",
              "Appendix G.2", kit.ordered(lambda ds: np.abs(late(ds.wide) - late(ds.plain)), "width", "falls",
                                          over="draw", quantity="the difference of log contractions")),
    ),
)  # fmt: skip
