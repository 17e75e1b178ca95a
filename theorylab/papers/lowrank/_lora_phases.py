"""The phases of the flow of LoRA: growth and escape, directions learnt in turn, and starts that never move."""

from typing import Any

import numpy as np

import theorylab.engine as tl
import theorylab.figures as figures
import theorylab.lowrank as lowrank
from theorylab.papers import Verdict

from ._lora_flows import FLOW, RANK, SIGMA, UNIT, as_adapters, flows, gaussian, grown, layers, scaled, sizes

SHARE = 1e-3  # of the difference, explained: the escape from the first plateau


# growth, escape and single steps of descent, from starts of several scales


def escape(time, loss) -> float:
    """When a share of the difference is explained, by interpolation of what grows exponentially."""
    explained = np.log(np.maximum(1 - np.sqrt(loss / loss[0]), 1e-300))
    at = int(np.flatnonzero(explained >= np.log(SHARE))[0])
    return float(np.interp(np.log(SHARE), explained[at - 1 : at + 1], time[at - 1 : at + 1]))


def run_growth(size, key):
    import xarray

    hidden, seeds, scales = {"small": (20, 2, (1e-3, 1e-4, 1e-5)), "paper": (100, 10, (1e-3, 1e-4, 1e-5, 1e-6)),
                             "large": (1000, 30, (1e-3, 1e-4, 1e-5, 1e-6, 1e-7))}[size]  # fmt: skip
    rng, differences, rows, step = tl.keys.generator(key), (SIGMA / 2, SIGMA), [], 1e-3
    for difference in differences:
        for _ in range(seeds):
            W1, W2, target, one = layers(rng, hidden, 0.4, {0: difference})
            begin, rate = gaussian(rng, hidden), difference * one["w2"][0]
            for scale in scales:
                time = UNIT * (np.log(1 / scale) + 2) / rate
                rows.append((one, (W1, W2, target, scaled(begin, scale), time)))
    found, values = flows([lane for _, lane in rows]), []
    for k, (one, lane) in enumerate(rows):
        (delta,), (w1,), (w2,), start, time = one["delta"], one["w1"], one["w2"], lane[3], lane[4]
        adapters, loss = as_adapters(*(part[k] for part in found.adapters)), found.loss[k]
        along, early = grown(adapters, one), time * delta * w2 <= 3
        linear = lowrank.lora.linear_phase(lane[0], lane[1], lane[2], start, time)
        off = sizes([part - other for part, other in zip(adapters, linear, strict=True)])[0]
        starts = [float(np.linalg.norm(A @ one[name][0])) for A, name in ((start.A1, "v"), (start.A2, "g"))]
        values.append({
            "time": time, "loss": loss, "norm1": sizes(adapters)[0], "rate": delta * w2, "deviation": off[early].max(),
            "rates": [np.polyfit(time[early], np.log(row[early]), 1)[0] for row in along],
            "rates_theory": [delta * w2, delta * w1], "escape": escape(time, loss),
            "escape_theory": lowrank.lora.escape_time(delta, w1, w2, *starts, fraction=SHARE),
            "grown": np.square(along)[0][early].max(), "second": (along[1] / along[0])[-1] ** 2,
        })  # fmt: skip
    rest = {"time": ("unit",), "loss": ("unit",), "norm1": ("unit",), "rates": ("layer",), "rates_theory": ("layer",)}
    lead, shape = ("difference", "seed", "scale"), (len(differences), seeds, len(scales))
    stacked = {name: np.asarray([one[name] for one in values]) for name in values[0]}
    dataset = xarray.Dataset(
        {name: ((*lead, *rest.get(name, ())), one.reshape(*shape, *one.shape[1:])) for name, one in stacked.items()},
        {"difference": list(differences), "scale": list(scales), "layer": [1, 2]},
    )
    one, lane = rows[len(scales) - 1]
    factors = descent_factors(one, lane, step)
    theory = 1 + step * one["delta"][0] * np.asarray([one["w2"][0], one["w1"][0]])
    return dataset.assign(factors=("layer", factors), factors_theory=("layer", theory))


def descent_factors(on, lane, step) -> Any:
    """By how much a step of gradient descent multiplies what Z1 and Z2 have along their growing directions."""
    import jax
    import jax.numpy as jnp
    import optax

    W1, W2, target, start = jax.tree.map(jnp.asarray, lane[:4])

    def loss(adapters):
        A1, B1, A2, B2 = adapters
        return jnp.sum((target - (W2 + B2 @ A2) @ (W1 + B1 @ A1)) ** 2) / 2

    record = tl.Record(tl.every(100), adapters=lambda problem, state: state.x)
    method = tl.Gradient(optax.sgd, learning_rate=step)
    trace = tl.minimise(loss, start, method, steps=200, record=record).trace["adapters"]
    along = grown(as_adapters(*(np.asarray(one) for one in trace)), on)
    return np.asarray([(one[-1] / one[0]) ** (1 / 200) for one in along])


def plot_growth(dataset):
    figure, axes = figures.panels(2)
    for difference, colour in zip(dataset.difference.values, figures.COLOURS, strict=False):
        one = dataset.sel(difference=difference)
        for k, scale in enumerate(dataset.scale.values):
            run, name = one.sel(scale=scale).isel(seed=0), rf"$\sigma = {difference:g}$"
            figures.measured(axes[0], run.time, run.norm1, color=colour, label="" if k else name)
            rise = run.time <= run.escape
            line = run.norm1[0] * np.exp(run.rate * run.time[rise]) / 4
            figures.predicted(axes[0], run.time[rise], line, color=colour, linewidth=1)
        points = (one.escape * one.rate).mean("seed"), (one.escape_theory * one.rate).mean("seed")
        figures.predicted(axes[1], 1 / dataset.scale, points[1], color=colour)
        figures.measured(axes[1], 1 / dataset.scale, points[0], color=colour, marker="o", linestyle="")
    figures.predicted(axes[0], [], [], color="0.3", label=r"predicted (left: the slope $\sigma\sigma_{W2}$)")
    axes[0].set(yscale="log", xlabel="time", title=r"$\|Z_1\|$")
    axes[1].set(xscale="log", xlabel=r"$1/\alpha$", title=r"escape time $\times\,\sigma\sigma_{W2}$")
    figures.legend(axes)
    return figure


def coupling(dataset) -> Any:
    """What a squared norm of the first layer takes off its rates, relative to them.

    With p = |Z1|^2 / 2 the product that it has learnt, the rates w2 delta and w1 delta become w2 (delta - w2 p) and
    (w1 + p)(delta - w2 p), to first order.
    """
    rate2, rate1 = (dataset.rates_theory.sel(layer=k, drop=True) for k in (1, 2))
    return (rate2 / dataset.difference**2 + dataset.difference / rate1) / 2


def check_rates(dataset):
    """The largest deviation of a growth rate from its prediction, relative, in units of what makes growth nonlinear."""
    gap = np.abs(dataset.rates / dataset.rates_theory - 1) / (coupling(dataset) * dataset.grown)
    return Verdict.compare(
        gap.max(), "<=", 1.0, quantity="largest relative miss of a growth rate, over what nonlinearity adds"
    )


def check_linear(dataset):
    """What the linear phase leaves out of Z1, in units of the cube of what has grown and its coupling, both layers'."""
    gap = dataset.deviation / (2 * coupling(dataset) * dataset.grown**1.5)
    return Verdict.compare(
        gap.max(), "<=", 1.0, quantity="largest distance of Z1 from the linear flow, over a cube of what has grown"
    )


def check_escape(dataset):
    """The largest distance of escape times from the predicted ones, in units of 1 / rate: the share explained."""
    gap = np.abs(dataset.escape - dataset.escape_theory) * dataset.rate
    return Verdict.compare(
        gap.max(), "<=", 0.0, SHARE, quantity="largest miss of the escape time, in units of 1 / (sigma sigma_W2)"
    )


def check_escape_slope(dataset):
    """The slope of escape times in log(1 / scale), times the rate, between the two smallest scales."""
    last = dataset.isel(scale=slice(-2, None))
    slope = (last.escape * last.rate).diff("scale") / np.log(1 / last.scale).diff("scale")
    return Verdict.compare(
        np.abs(slope - 1).max(), "<=", 0.0, last.second.max() + SHARE,
        quantity="largest distance from one of the slope of escape times in log(1/alpha), times sigma sigma_W2",
    )  # fmt: skip


def check_descent(dataset):
    """How far a step's factor is from 1 + eta rate; it would be off by half of eta^2 rate^2 for the flow."""
    return Verdict.compare(
        np.abs(dataset.factors - dataset.factors_theory).max(), "<=", 0.0, dataset.grown.min(),
        quantity="largest distance of a step's factor from the predicted one",
    )  # fmt: skip


# several directions from a spectral start: each as if alone, the fastest first (Theorem 4.1)


def run_directions(size, key):
    import xarray

    hidden, seeds, scales = {"small": (20, 3, (1e-2, 1e-3)), "paper": (100, 30, (1e-2, 1e-3, 1e-4)),
                             "large": (1000, 30, (1e-2, 1e-3, 1e-4, 1e-5))}[size]  # fmt: skip
    rng, differences, lanes, on = tl.keys.generator(key), {0: 3.0, 2: 2.5, 5: 2.0}, [], []
    for _ in range(seeds):
        W1, W2, target, one = layers(rng, hidden, 0.5, differences)
        lengths = rng.uniform(0.5, 2, RANK)
        rates = one["delta"] * one["w2"]
        for scale in scales:
            time = UNIT * (np.log(1 / scale) + 8) / rates.min()
            lanes.append((W1, W2, target, lowrank.spectral_init(W1, W2, target, RANK, scale * lengths), time))
            on.append(one | {"start": scale * lengths[: len(differences)]})
    found = flows(lanes)
    A1, B1, A2, B2 = found.adapters
    u, g, v = (np.stack([one[name] for one in on])[:, None] for name in "ugv")
    blocks = [g @ B1 @ A1 @ v.mT, u @ B2 @ A2 @ g.mT]
    columns = [zip(*(one[name].tolist() for name in ("delta", "w1", "w2", "start")), strict=True) for one in on]
    ends = [[lowrank.lora.scalar_final_point(delta, w1, w2, a, a) for delta, w1, w2, a in rows] for rows in columns]
    values = {
        "time": (("step",), np.stack([lane[-1] for lane in lanes])),
        "loss": (("step",), found.loss),
        "products": (("layer", "direction", "step"), np.stack([np.einsum("ltkk->lkt", one) for one in blocks], 1)),
        "off": ((), np.max([np.abs(one * (1 - np.eye(len(differences)))).max((1, 2, 3)) for one in blocks], 0)),
        "ends": (("layer", "direction"), np.moveaxis(np.asarray(ends), 2, 1)),
        **{name: (("direction",), np.stack([one[name] for one in on])) for name in ("delta", "w1", "w2", "start")},
    }
    lead = (seeds, len(scales))
    return xarray.Dataset(
        {name: (("seed", "scale", *dims), one.reshape(*lead, *one.shape[1:])) for name, (dims, one) in values.items()},
        {"scale": list(scales), "layer": [1, 2]},
    )


def scalars(dataset) -> Any:
    """Of each direction: z = a^2 + b^2 of either layer, from p = a b and the conserved a^2 - b^2; p1, p2; and e."""
    first = dataset.start**2
    z = np.sqrt(first**2 + 4 * dataset.products**2)
    p1, p2 = (dataset.products.sel(layer=k, drop=True) for k in (1, 2))
    return z, p1, p2, dataset.delta - dataset.w2 * p1 - dataset.w1 * p2 - p1 * p2


def phases(dataset, inverse=False) -> Any:
    """Theorem 4.1's rates, in units of delta w2, and the end of its first phase; with delta_w as printed: inverse."""
    ratio, rate = dataset.w1 / dataset.w2, dataset.delta * dataset.w2
    ratio = 1 / ratio if inverse else ratio
    return rate, ratio, 2 / ((3 + ratio) * rate) * np.log(dataset.delta / (16 * dataset.start**2))


def check_growth(since=0.0, inverse=False, small=False):
    """The least growth rate of z1 over the bound: from a time on, up to T1 or while z1 is small."""

    def check(dataset):
        z, p1, p2, e = scalars(dataset)
        rate, ratio, end = phases(dataset, inverse)
        growth = 4 * p1 * (dataset.w2 + p2) * e / z.sel(layer=1)
        first = z.sel(layer=1) <= dataset.delta / 16 if small else dataset.time <= end
        now = (dataset.time >= since / rate) & first
        least = (growth / ((3 + ratio) / 2 * rate)).where(now).min()
        return Verdict.compare(least, ">=", 1.0, FLOW["rtol"] ** 0.5, quantity="least growth rate of z1 over the bound")

    return check


def check_separation(dataset):
    """The least rate of log(z1 / z2) while z1 is small, from 1 / rate on, over the bound."""
    z, p1, p2, e = scalars(dataset)
    rate, ratio, _ = phases(dataset)
    growth = 4 * e * (p1 * (dataset.w2 + p2) / z.sel(layer=1) - p2 * (dataset.w1 + p1) / z.sel(layer=2))
    now = (dataset.time >= 1 / rate) & (z.sel(layer=1) <= dataset.delta / 16)
    least = (growth / (3 * (1 - ratio) / 2 * rate)).where(now).min()
    return Verdict.compare(least, ">=", 1.0, FLOW["rtol"] ** 0.5, quantity="least rate of log(z1/z2) over the bound")


def check_decay(dataset):
    """The largest rate of log loss in the second phase, direction by direction, over the bound: -1 is as slow as it."""
    z, p1, p2, _ = scalars(dataset)
    rate, ratio, end = phases(dataset)
    # de/dt = -e (z1 (w2 + p2)^2 + z2 (w1 + p1)^2)
    fall = -2 * (z.sel(layer=1) * (dataset.w2 + p2) ** 2 + z.sel(layer=2) * (dataset.w1 + p1) ** 2)
    slowest = (fall / ((1 - ratio) * rate / 8)).where(dataset.time >= end).max()
    return Verdict.compare(slowest, "<=", -1.0, FLOW["rtol"] ** 0.5, quantity="largest rate of log loss over the bound")


def check_ends(dataset):
    """The largest distance of the last products from the scalar end points."""
    gap = np.abs(dataset.products.isel(step=-1) - dataset.ends).max()
    # both products still rise, until w2 p1 + w1 p2 has made up for the residual; then the flow's tolerance
    left = np.abs(scalars(dataset)[3]).isel(step=-1) / np.minimum(dataset.w1, dataset.w2)
    tolerance = left.max() + 100 * FLOW["rtol"] * dataset.ends.max()
    return Verdict.compare(gap, "<=", 0.0, tolerance, quantity="largest distance of a product a b from its end point")


def check_off(dataset):
    rounding = 1e-10  # a thousand of the flow's tolerances
    return Verdict.compare(dataset.off.max(), "<=", 0.0, rounding, quantity="largest product off the directions")


def learnt(dataset) -> Any:
    """When half of each direction is explained."""
    e = scalars(dataset)[3] / dataset.delta
    return dataset.time.where(e < 0.5).min("step")


def check_order(dataset):
    """The least wait from a direction to the one with the next smaller rate, in units of one over the latter.

    From the smallest scale: a start that is shorter by a factor f costs its direction log f of that unit.
    """
    one = dataset.isel(scale=-1)
    rate = (one.delta * one.w2).isel(direction=slice(1, None))
    wait = (learnt(one).diff("direction") * rate).min()
    return Verdict.compare(wait, ">=", 0.0, quantity="least wait for the next direction, times its sigma sigma_W2")


def plot_directions(dataset):
    figure, axes = figures.panels(dataset.sizes["scale"], sharey=True)
    for panel, scale in zip(axes, dataset.scale.values, strict=True):
        one = dataset.sel(scale=scale).isel(seed=0)
        for k, colour in zip(range(one.sizes["direction"]), figures.COLOURS, strict=False):
            name = rf"$\sigma\sigma_{{W2}} = {float(one.delta[k] * one.w2[k]):.1f}$"
            for layer, style in ((1, 1.8), (2, 0.9)):
                row = one.products.sel(layer=layer).isel(direction=k)
                figures.measured(panel, one.time, row, color=colour, linewidth=style, label=name if layer == 1 else "")
                figures.predicted(
                    panel, one.time[[0, -1]], float(one.ends.sel(layer=layer)[k]), color=colour, linewidth=1
                )
        panel.set(xlabel="time", title=rf"$\alpha = {scale:g}$ (thin: layer 2)")
    figures.predicted(axes[0], [], [], color="0.3", label="predicted end")
    axes[0].set_ylabel("$a b$ of each direction")
    figures.legend(axes)
    return figure


# spectral starts built from the pretrained weights alone (Theorem G.1)

STARTS = ("top", "bottom", "spectral", "small")


def run_starts(size, key):
    import xarray

    # tiny: one program of its own
    scales = {"small": (1e-2,), "paper": (1e-2, 1e-3, 1e-4), "large": (1e-2, 1e-3, 1e-4, 1e-5)}[size]
    rng, W, lanes = tl.keys.generator(key), np.diag([10.0, 1.0]), []
    changes = {"top": np.diag([5.0, 0.0]), "bottom": np.diag([0.0, 5.0])}
    draws = rng.standard_normal((2, 1, 2))
    for place, change in zip((0, 1), changes.values(), strict=True):
        target = W @ W + change
        for scale in scales:
            zero, rows = np.zeros((2, 1)), scale * np.eye(2)[:, None]
            starts = [as_adapters(row, zero, row, zero) for row in rows]
            starts.append(lowrank.spectral_init(W, W, target, 1, scale))
            starts.append(as_adapters(scale * draws[0], zero, scale * draws[1], zero))
            time = UNIT * (np.log(1 / scale) + 20) / (5 * W[place, place])
            lanes += [(W, W, target, start, time) for start in starts]
    loss = flows(lanes).loss.reshape(len(changes), len(scales), len(STARTS), len(UNIT))
    return xarray.Dataset({"loss": (("change", "scale", "start", "unit"), loss)},
                          {"change": list(changes), "scale": list(scales), "start": list(STARTS)})  # fmt: skip


def plot_starts(dataset):
    figure, axes = figures.panels(2, sharey=True)
    for panel, change in zip(axes, dataset.change.values, strict=True):
        for start, colour, wide in zip(STARTS, figures.COLOURS, (5, 1.8, 5, 1.8), strict=False):  # some lie on others
            one = dataset.sel(change=change, start=start).isel(scale=0)
            name = {"top": "top singular vectors", "bottom": "bottom singular vectors"}.get(start, start)
            figures.measured(panel, UNIT, one.loss, color=colour, label=name, linewidth=wide)
        panel.set(yscale="log", xlabel="share of the run", ylim=(1e-28, 1e3), title=f"change in the {change} direction")
    axes[0].set_ylabel("$L$")
    figures.legend(axes)
    return figure


def check_stuck(dataset):
    """The largest change of the loss from a start in the other direction, top for bottom and bottom for top."""
    moved = [np.abs(dataset.loss.sel(change=change, start=start) - 12.5).max()
             for change, start in (("top", "bottom"), ("bottom", "top"))]  # fmt: skip
    rounding = 12.5 * np.finfo(float).eps
    return Verdict.compare(max(moved), "<=", 0.0, rounding, quantity="largest change of the loss, which is 12.5")


def check_solves(dataset):
    """The largest loss at the end of a start from the gradients, in units of the flow's own tolerance."""
    end = dataset.loss.sel(start="spectral").isel(unit=-1).max()
    return Verdict.compare(
        end / (FLOW["rtol"] * 5) ** 2, "<=", 100.0,  # ten tolerances, squared
        quantity="largest final loss, over the squared tolerance of the flow",
    )  # fmt: skip
