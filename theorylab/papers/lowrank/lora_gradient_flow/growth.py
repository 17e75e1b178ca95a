"""Growth and escape from starts of several scales, and single steps of descent."""

from functools import cache
from typing import Any

import numpy as np

import theorylab.engine as tl
import theorylab.figures as figures
import theorylab.lowrank as lowrank
import theorylab.papers.kit as kit
from theorylab.papers import Claim, Experiment

from .flows import SIGMA, UNIT, as_adapters, flow, gaussian, grown, layers, scaled, sizes

SHARE, STEP = 1e-3, 1e-3  # of the difference, explained: the escape from the first plateau; of descent


def run(setting, key):
    (hidden, seeds, scales), rng, differences = setting, tl.keys.generator(key), (SIGMA / 2, SIGMA)

    @cache
    def drawn(difference, seed) -> Any:
        del seed
        return *layers(rng, hidden, 0.4, {0: difference}), gaussian(rng, hidden)

    def one(difference, seed, scale):
        (W1, W2, target), on, begin = drawn(difference, seed)
        delta, w1, w2 = (float(on[name][0]) for name in ("delta", "w1", "w2"))
        start, time = scaled(begin, scale), UNIT * (np.log(1 / scale) + 2) / (delta * w2)
        adapters, loss = flow((W1, W2, target), start, time)
        along, early = grown(adapters, on), time * delta * w2 <= 3
        linear = lowrank.lora.linear_phase(W1, W2, target, start, time)
        off = sizes([part - other for part, other in zip(adapters, linear, strict=True)])[0]
        starts = [float(np.linalg.norm(A @ on[name][0])) for A, name in ((start.A1, "v"), (start.A2, "g"))]
        return {
            "time": ("unit", time), "loss": ("unit", loss), "norm1": ("unit", sizes(adapters)[0]), "rate": delta * w2,
            "rates": ("layer", [np.polyfit(time[early], np.log(row[early]), 1)[0] for row in along]),
            "rates_theory": ("layer", [delta * w2, delta * w1]), "deviation": off[early].max(),
            "escape": escape(time, loss),
            "escape_theory": lowrank.lora.escape_time(delta, w1, w2, *starts, fraction=SHARE),
            "grown": np.square(along)[0][early].max(), "second": (along[1] / along[0])[-1] ** 2,
        }  # fmt: skip

    table = kit.tabulate(one, difference=differences, seed=range(seeds), scale=scales).assign_coords(layer=[1, 2])
    weights, on, begin = drawn(differences[0], 0)
    theory = 1 + STEP * on["delta"][0] * np.asarray([on["w2"][0], on["w1"][0]])
    factors = descent_factors(on, weights, scaled(begin, scales[-1]))
    return table.assign(factors=("layer", factors), factors_theory=("layer", theory))


def escape(time, loss) -> float:
    """When a share of the difference is explained, by interpolation of what grows exponentially."""
    explained = np.log(np.maximum(1 - np.sqrt(loss / loss[0]), 1e-300))
    at = int(np.flatnonzero(explained >= np.log(SHARE))[0])
    return float(np.interp(np.log(SHARE), explained[at - 1 : at + 1], time[at - 1 : at + 1]))


def descent_factors(on, weights, start) -> Any:
    """By how much a step of gradient descent multiplies what Z1 and Z2 have along their growing directions."""
    import jax
    import jax.numpy as jnp
    import optax

    W1, W2, target = map(jnp.asarray, weights)

    def loss(adapters):
        A1, B1, A2, B2 = adapters
        return jnp.sum((target - (W2 + B2 @ A2) @ (W1 + B1 @ A1)) ** 2) / 2

    record = tl.Record(tl.every(100), adapters=lambda problem, state: state.x)
    method = tl.Gradient(optax.sgd, learning_rate=STEP)
    trace = tl.minimise(loss, jax.tree.map(jnp.asarray, start), method, steps=200, record=record).trace["adapters"]
    return np.asarray([(one[-1] / one[0]) ** (1 / 200) for one in grown(as_adapters(*map(np.asarray, trace)), on)])


def plot_norms(axes, dataset):
    for k, difference in enumerate(dataset.difference.values):
        look = {"color": figures.COLOURS[k]}
        for j in range(dataset.sizes["scale"]):
            one = dataset.isel(difference=k, scale=j, seed=0)
            figures.measured(axes, one.time, one.norm1, label="" if j else rf"$\sigma = {difference:g}$", **look)
            rise = one.time[one.time <= one.escape]
            figures.predicted(axes, rise, one.norm1[0] * np.exp(one.rate * rise) / 4, linewidth=1, **look)
    axes.set(yscale="log", xlabel="time", title=r"$\|Z_1\|$")


def plot_escape(axes, dataset):
    points = (dataset[["escape", "escape_theory"]] * dataset.rate).mean("seed").assign(inverse=1 / dataset.scale)
    look: Any = {"marker": "o", "linestyle": "", "theory": "escape_theory", "labels": lambda _: ""}
    kit.curves(axes, points, "escape", x="inverse", by="difference", log="x", **look)
    axes.set(xlabel=r"$1/\alpha$", title=r"escape time $\times\,\sigma\sigma_{W2}$")


def coupling(dataset) -> Any:
    """What a squared norm of the first layer takes off its rates, relative to them.

    With p = |Z1|^2 / 2 the product that it has learnt, the rates w2 delta and w1 delta become w2 (delta - w2 p) and
    (w1 + p)(delta - w2 p), to first order.
    """
    rate2, rate1 = (dataset.rates_theory.sel(layer=k, drop=True) for k in (1, 2))
    return (rate2 / dataset.difference**2 + dataset.difference / rate1) / 2


def slope(dataset) -> Any:
    """The slope of escape times in log(1 / scale), times the rate, between the two smallest scales."""
    last = dataset.isel(scale=slice(-2, None))
    return (last.escape * last.rate).diff("scale") / np.log(1 / last.scale).diff("scale")


HERE = "derived here"
EXPERIMENT = Experiment(
    "growth", "growth, escape, and steps of descent", run=run,
    plot=kit.drawn(plot_norms, plot_escape, ylabel="", theory=r"predicted (left: the slope $\sigma\sigma_{W2}$)"),
    sizes={"small": (20, 2, (1e-3, 1e-4, 1e-5)), "paper": (100, 10, (1e-3, 1e-4, 1e-5, 1e-6)),
           "large": (1000, 30, (1e-3, 1e-4, 1e-5, 1e-6, 1e-7))},
    seconds={"small": 3.7, "paper": 25.0},
    claims=(
        Claim("growth_rates", r"$Z_1$ and $Z_2$ grow along their directions at $\sigma\sigma_{W_2}$ and"
              r" $\sigma\sigma_{W_1}$.", "Claim 3.1",
              kit.bounded(lambda ds: ds.rates / ds.rates_theory, "==", 1.0, quantity="growth rate over the predicted",
                          rounding=lambda ds: coupling(ds) * ds.grown)),
        Claim("linear_phase", "What the linear flow leaves out is a cube of what has grown.", HERE,
              kit.bounded("deviation", "<=", lambda ds: 2 * coupling(ds) * ds.grown**1.5,
                          quantity="distance of Z1 from the linear flow, against a cube of what has grown")),
        Claim("escape_slope", r"The loss leaves its first plateau at $\log(1/\alpha)/(\sigma\sigma_{W_2})$, and a"
              r" constant.", "Theorem 3.1",
              kit.bounded(slope, "==", 1.0, rounding=lambda ds: ds.second.isel(scale=slice(-2, None)).max() + SHARE,
                          quantity="slope of escape times in log(1/alpha), times sigma sigma_W2")),
        Claim("escape_time", "The linear flow gives the time itself.", HERE,
              kit.bounded(lambda ds: ds.escape * ds.rate, "==", lambda ds: ds.escape_theory * ds.rate, rounding=SHARE,
                          quantity="escape time, times sigma sigma_W2")),
        Claim("descent_step", r"A step $\eta$ of gradient descent multiplies the grown parts by $1 +"
              r" \eta\sigma\sigma_{W_2}$ and $1 + \eta\sigma\sigma_{W_1}$.", HERE,
              kit.bounded("factors", "==", "factors_theory", rounding=lambda ds: ds.grown.min(),
                          quantity="a step's factor, which the flow's would miss by half of eta^2 rate^2")),
    ),
)  # fmt: skip
