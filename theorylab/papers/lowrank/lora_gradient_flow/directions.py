"""Several directions from a spectral start: each as if alone, the fastest first (Theorem 4.1)."""

from functools import cache
from typing import Any

import numpy as np

import theorylab.engine as tl
import theorylab.figures as figures
import theorylab.lowrank as lowrank
import theorylab.papers.kit as kit
from theorylab.papers import Claim, Experiment

from .flows import FLOW, RANK, UNIT, flow, layers, spectral

DIFFERENCES = {0: 3.0, 2: 2.5, 5: 2.0}


def run(setting, key):
    (hidden, seeds, scales), rng = setting, tl.keys.generator(key)

    @cache
    def drawn(seed) -> Any:
        del seed
        return *layers(rng, hidden, 0.5, DIFFERENCES), rng.uniform(0.5, 2, RANK)

    def one(seed, scale):
        weights, on, lengths = drawn(seed)
        rates, starts = on["delta"] * on["w2"], scale * lengths[: len(DIFFERENCES)]
        time = UNIT * (np.log(1 / scale) + 8) / rates.min()
        (A1, B1, A2, B2), loss = flow(weights, spectral(weights, scale * lengths), time)
        u, g, v = (on[name] for name in "ugv")
        blocks = np.stack([g @ B1 @ A1 @ v.T, u @ B2 @ A2 @ g.T])
        along = zip(*(values.tolist() for values in (on["delta"], on["w1"], on["w2"], starts)), strict=True)
        ends = np.transpose([lowrank.lora.scalar_final_point(delta, w1, w2, a, a) for delta, w1, w2, a in along])
        values = {"delta": on["delta"], "w1": on["w1"], "w2": on["w2"], "start": starts}
        theory = {}
        for of in ("claimed", "printed"):
            stated = lowrank.claims.lora_gradient_flow.phases(
                on["delta"], on["w1"], on["w2"], starts, printed=of == "printed"
            )
            theory |= {f"{of}_{name}": value for name, value in stated._asdict().items()}
        return {"time": ("step", time), "loss": ("step", loss), "ends": (("layer", "direction"), ends),
                "products": (("layer", "direction", "step"), np.einsum("ltkk->lkt", blocks)),
                "off": np.abs(blocks * (1 - np.eye(len(DIFFERENCES)))).max(),
                **{name: ("direction", value) for name, value in (values | theory).items()}}  # fmt: skip

    return kit.tabulate(one, seed=range(seeds), scale=scales).assign_coords(layer=[1, 2])


def scalars(dataset) -> Any:
    """Of each direction: z = a^2 + b^2 of either layer, from p = a b and the conserved a^2 - b^2; p1, p2; and e."""
    z = np.sqrt(dataset.start**4 + 4 * dataset.products**2)
    (z1, z2), (p1, p2) = ([one.sel(layer=k, drop=True) for k in (1, 2)] for one in (z, dataset.products))
    return z1, z2, p1, p2, dataset.delta - dataset.w2 * p1 - dataset.w1 * p2 - p1 * p2


def growth(dataset) -> Any:
    """The growth rate of z1."""
    z1, _, p1, p2, e = scalars(dataset)
    return 4 * p1 * (dataset.w2 + p2) * e / z1


def separation(dataset) -> Any:
    """That of z1 / z2."""
    _, z2, p1, p2, e = scalars(dataset)
    return growth(dataset) - 4 * e * p2 * (dataset.w1 + p1) / z2


def decay(dataset) -> Any:
    """The rate at which the loss of each direction falls: de/dt = -e (z1 (w2 + p2)^2 + z2 (w1 + p1)^2)."""
    z1, z2, p1, p2, _ = scalars(dataset)
    return 2 * (z1 * (dataset.w2 + p2) ** 2 + z2 * (dataset.w1 + p1) ** 2)


def unit(dataset) -> Any:
    return dataset.delta * dataset.w2


def early(dataset) -> Any:
    """From 1 / (delta w2) on, while z1 is small."""
    return (dataset.time >= 1 / unit(dataset)) & (scalars(dataset)[0] <= dataset.delta / 16)


def late(dataset) -> Any:
    """From 1 / (delta w2) on, up to T1."""
    return (dataset.time >= 1 / unit(dataset)) & (dataset.time <= dataset.claimed_time)


def rate(read, bound, now, quantity) -> Any:
    """A rate in units of delta w2, no less than its bound at some times."""
    return kit.bounded(lambda ds: read(ds) / unit(ds), ">=", lambda ds: (ds[bound] / unit(ds)).where(now(ds)),
                       rounding=FLOW["rtol"] ** 0.5, quantity=f"{quantity}, over sigma sigma_W2")  # fmt: skip


def end_slack(dataset) -> Any:
    """Both products still rise, until w2 p1 + w1 p2 has made up for the residual; then the flow's tolerance."""
    left = np.abs(scalars(dataset)[-1]).isel(step=-1) / np.minimum(dataset.w1, dataset.w2)
    return left.max() + 100 * FLOW["rtol"] * dataset.ends.max()


def waits(dataset) -> Any:
    """From a direction to the one with the next smaller rate, until half is explained, at the smallest scale.

    In units of one over the latter: a start that is shorter by a factor f costs its direction log f of that unit.
    """
    one = dataset.isel(scale=-1)
    learnt = one.time.where(scalars(one)[-1] / one.delta < 0.5).min("step")
    return learnt.diff("direction") * unit(one).isel(direction=slice(1, None))


def plot(dataset):
    figure, axes = figures.panels(dataset.sizes["scale"], sharey=True)
    for panel, scale in zip(axes, dataset.scale.values, strict=True):
        one = dataset.sel(scale=scale).isel(seed=0)
        for k, colour in zip(range(one.sizes["direction"]), figures.COLOURS, strict=False):
            name = rf"$\sigma\sigma_{{W2}} = {float(unit(one)[k]):.1f}$"
            for layer, wide in ((0, 1.8), (1, 0.9)):
                row, label = one.products[layer, k], "" if layer else name
                figures.measured(panel, one.time, row, color=colour, linewidth=wide, label=label)
                figures.predicted(panel, one.time[[0, -1]], float(one.ends[layer, k]), color=colour, linewidth=1)
        panel.set(xlabel="time", title=rf"$\alpha = {scale:g}$ (thin: layer 2)")
    figures.predicted(axes[0], [], [], color="0.3", label="predicted end")
    axes[0].set_ylabel("$a b$ of each direction")
    figures.legend(axes)
    return figure


STATED, REBUILT, HERE = "Theorem 4.1", "Theorem 4.1, reconstructed", "derived here"
EXPERIMENT = Experiment(
    "directions", "several directions from a spectral start", run=run, plot=plot,
    sizes={"small": (20, 3, (1e-2, 1e-3)), "paper": (100, 30, (1e-2, 1e-3, 1e-4)),
           "large": (1000, 30, (1e-2, 1e-3, 1e-4, 1e-5))},
    seconds={"small": 1.3, "paper": 34.0},
    claims=(
        Claim("decoupled", "From a spectral start nothing moves off the directions of the change.", STATED,
              kit.bounded("off", "==", 0.0, rounding=1000 * FLOW["rtol"], quantity="product off the directions")),
        Claim("final_points", "Each direction ends where its two scalar conservation laws say.", HERE,
              kit.bounded(lambda ds: ds.products.isel(step=-1), "==", "ends", rounding=end_slack,
                          quantity="product a b at the end")),
        Claim("larger_first", r"Directions are learnt in the order of $\sigma\sigma_{W_2}$.", "Section 4",
              kit.bounded(waits, ">=", 0.0, quantity="wait for the next direction, times its sigma sigma_W2")),
        Claim("growth_printed", r"Up to $T_1$, $\log z_1$ grows at $\frac{3 + \delta_w}{2}\sigma\sigma_{W_2}$ or"
              r" more, with $\delta_w = \sigma_{W_2}/\sigma_{W_1}$.", STATED,
              rate(growth, "printed_growth", lambda ds: ds.time <= ds.printed_time, "growth rate of z1"),
              expected="fails", why=r"$\delta_w$ is printed upside down, and $z_1$ starts with zero slope"),
        Claim("growth_late", r"It does from $1/(\sigma\sigma_{W_2})$ on, with $\delta_w = \sigma_{W_1}/\sigma_{W_2}$.",
              REBUILT, rate(growth, "claimed_growth", late,
                            "growth of z1"), expected="fails",
              why=r"the flow grows at almost $2\sigma\sigma_{W_2}$ and, from small starts, saturates before $T_1$"),
        Claim("growth_first", r"It does from then on while $z_1$ is below $\sigma/16$.", REBUILT,
              rate(growth, "claimed_growth", early, "growth rate of z1")),
        Claim("separation", r"In that time $\log(z_1/z_2)$ grows at $\frac{3(1 - \delta_w)}{2}\sigma\sigma_{W_2}$ or"
              r" more.", REBUILT, rate(separation, "claimed_separation", early, "rate of log(z1/z2)")),
        Claim("decay", r"After $T_1$ the loss falls at $\frac{1 - \delta_w}{8}\sigma\sigma_{W_2}$ or faster.", STATED,
              rate(decay, "claimed_decay", lambda ds: ds.time >= ds.claimed_time, "rate of log loss")),
    ),
)  # fmt: skip
