"""What is known exactly where training begins, and what the theorem asks of the paper's own setting."""

from typing import Any

import numpy as np

import theorylab.diffusion as diffusion
import theorylab.engine as tl
import theorylab.figures as figures
from theorylab.diffusion.claims import ddpm_multitoken_gmm as claims
from theorylab.papers import Verdict

from . import _mean_denoising as runs
from ._mean_denoising import SETTINGS

SCALES = (0.0, 0.5, 1.0, 1.5, 2.0)
PRINTED = {"start": 0.65, "oracle": 0.155, "excess": 0.035}  # Figure 2 at K = 4, without the factor 1/2
READING = 0.005  # what a plot of this size can be read to
OWN_ACTIVE = (1, 2, 4, 8)
STEP, ROUNDS = 5.0, 60


def run_start(size, key):
    import jax
    import jax.numpy as jnp
    import xarray

    setting = SETTINGS[size]._replace(test={"small": 200, "paper": 1000, "large": 4000}[size])
    rng = tl.keys.generator(key)
    patterns, schedule = runs.patterns_of(setting, rng), setting.schedule
    T, still = schedule.levels, np.zeros((setting.d, setting.d), np.float32)
    weights = runs.weights_of(setting, setting.rarest[-1])
    laws = [runs.law(patterns, weights, K) for K in setting.active]
    W, v = np.tile(still, (len(SCALES), 1, 1)), np.repeat(np.asarray(SCALES, np.float32)[:, None], T, 1)

    @jax.jit
    def slope(W, x0, noise):
        t = jnp.arange(len(x0)) % T

        def loss(W):
            model = diffusion.MeanDenoisingAttention(W, jnp.ones(T))
            return diffusion.denoising_loss(model, x0, schedule, t=t, noise=noise)

        return jnp.diagonal(diffusion.pattern_scores(-jax.grad(loss)(W), patterns))

    risks, slopes = [], []
    for law in laws:
        shares = np.asarray(law.proportions())
        drawn = runs.fresh(rng, patterns, shares, setting.test, setting.tokens)
        risks.append(runs.evaluate(W, v, patterns, drawn, schedule)["risk"])
        drawn = [runs.fresh(rng, patterns, shares, 2 * T, setting.tokens) for _ in range(40)]
        slopes.append([slope(still, x0, noise) for x0, _, noise in drawn])
    risks = np.asarray(risks).reshape(len(laws), len(SCALES), -1, T).mean(-1)  # each draw has all levels
    exact, growth, frequency = zip(*[known(setting, patterns, weights, K) for K in setting.active], strict=True)

    @jax.jit
    def of_one_pattern(law):
        best = diffusion.ideal_scales(law, schedule)
        gradients = [diffusion.first_gradient(law, schedule, v) for v in (best, 1.0)]
        # with one pattern W = 0 is ideal: descent on the exact risk of its scales
        own = jax.grad(lambda v: diffusion.initial_risk(law, schedule, setting.tokens, v))
        path = jax.lax.scan(lambda v, _: (v - STEP / 2 * own(v), v), jnp.ones(T), length=ROUNDS)[1]
        return best, path, diffusion.scale_contraction(law, schedule, setting.tokens, STEP / 2), *gradients

    best, path, factor, limit, unit = map(np.asarray, of_one_pattern(laws[0]))
    distance = path - best
    decay = (1 - best) * factor ** np.arange(ROUNDS)[:, None]
    return xarray.Dataset(
        {
            "risk": (("active", "v", "draw"), risks),
            "exact_risk": (("active", "v"), np.asarray(exact)),
            "slope": (("active", "draws", "pattern"), np.asarray(slopes)),
            "exact_slope": (("active", "pattern"), np.asarray(growth)),
            "frequency": (("active", "pattern"), np.asarray(frequency)),
            "frequency_bound": (
                ("active", "pattern"),
                [claims.frequencies(law) for law in laws],
            ),
            "limit": float(np.abs(limit).max() / np.abs(unit).max()),
            "distance": (("round", "level"), distance),
            "decay": (("round", "level"), decay),
        }
        | own_setting(),
        {"active": list(setting.active), "v": list(SCALES)},
    )


def known(setting, patterns, weights, active) -> Any:
    """The exact risk for each v, growth of each pattern's score, and frequency of each pattern."""
    import jax
    import jax.numpy as jnp

    @jax.jit
    def exact(patterns, weights):
        law = diffusion.MultiTokenMixture(patterns, weights, active=active, noise=runs.NOISE)
        schedule = setting.schedule
        risks = jax.vmap(lambda v: diffusion.initial_risk(law, schedule, setting.tokens, v))(jnp.asarray(SCALES))
        gradient = diffusion.first_gradient(law, schedule, 1.0, setting.tokens)
        return risks, jnp.diagonal(diffusion.pattern_scores(-gradient, patterns)), law.pattern_frequencies()

    return exact(patterns, np.asarray(weights, np.float32))


def own_setting() -> Any:
    """The paper's experiment: exact risks, and the theorem's conditions at the excess that it ends with."""
    import jax

    setting = SETTINGS["paper"]
    patterns, schedule = np.sqrt(setting.d) * np.eye(setting.M, setting.d, dtype=np.float32), setting.schedule
    law = runs.law(patterns, np.full(setting.M, 1 / setting.M), 4)

    @jax.jit
    def risks(law):
        start = [diffusion.initial_risk(law, schedule, setting.tokens, v) for v in (setting.d**-0.5, 1.0)]
        return *start, diffusion.oracle_risk(law, schedule)

    drawn, at_one, oracle = map(float, risks(law))
    no_v = 2 * setting.d**-0.5 * (1 - 1 / setting.tokens) * float(schedule.noise_root.mean())
    epsilon = PRINTED["excess"] / 2
    asked = claims.conditions(law, epsilon)
    rare = runs.weights_of(setting, 0.1)
    every = [claims.iterations(runs.law(patterns, rare, K), schedule, epsilon, 1.0) for K in OWN_ACTIVE]
    return {
        "own_start": drawn + no_v,  # the mean over the sign of v
        "own_start_at_one": at_one,
        "own_oracle": oracle,
        "asked_tokens": asked.tokens / setting.tokens,
        "asked_dimension": asked.dimension / setting.d,
        "asked_levels": asked.levels / schedule.levels,
        "iterations": ("own_active", every),
    }


def plot_start(dataset):
    figure, axes = figures.panels(3)
    for K, colour in zip(dataset.active.values, figures.COLOURS, strict=False):
        one = dataset.sel(active=K)
        grid = np.linspace(SCALES[0], SCALES[-1])
        curve = np.polyval(np.polyfit(dataset.v, one.exact_risk, 2), grid)  # it is a parabola
        figures.predicted(axes[0], grid, curve, color=colour)
        axes[0].plot(dataset.v, one.risk.mean("draw"), "o", color=colour, label=f"$K = {K}$")
        if K > 1:
            axes[1].plot(one.frequency, one.slope.mean("draws"), "o", color=colour, label=f"$K = {K}$")
            axes[1].plot(one.frequency, one.exact_slope, "x", color="black", markersize=9)
    axes[1].plot([], [], "x", color="black", label="exact")
    figures.predicted(axes[0], [], [], label="exact")
    axes[0].set(title="risk without attention", xlabel="$v$")
    axes[1].set(title=r"first growth of $\mu_u^TW\mu_u/d$, $v = 1$", xlabel=r"frequency $\nu_u$")
    for level in (0, dataset.sizes["level"] // 2, -1):
        one = np.abs(dataset.isel(level=level))
        label = f"level {level % dataset.sizes['level'] + 1}"
        figures.measured(axes[2], dataset["round"], one.distance, label=label)
        figures.predicted(axes[2], dataset["round"], one.decay)
    figures.predicted(axes[2], [], [], label="predicted")
    axes[2].set(title=r"$|v_t - c/s^2|$, one active pattern", yscale="log", xlabel="iteration", ylim=(1e-7, 2))
    for panel in axes:
        figures.legend(panel)
    return figure


def check_risk(dataset):
    return Verdict.agree(dataset.risk.transpose("draw", ...), dataset.exact_risk, quantity="the risks per entry")


def check_slope(dataset):
    slope = dataset.slope.transpose("draws", ...)
    return Verdict.agree(slope, dataset.exact_slope, quantity="the first growths of scores")


def check_rarest_slowest(dataset):
    """The rarest pattern's first growth over the least of the others': exact, and of no draw."""
    one = dataset.exact_slope.isel(active=slice(1, None))
    ratio = (one[:, 0] / one[:, 1:].min("pattern")).max()
    return Verdict.compare(ratio, "<=", 1.0, quantity="first growth of the rarest pattern's score over another's")


def check_limit(dataset):
    """The first gradient at v = c / s^2 over that at v = 1, for one active pattern and many tokens."""
    rounding = 100 * np.finfo(np.float32).eps
    return Verdict.compare(dataset.limit, "<=", 0.0, rounding, quantity="first gradient at v = c / s^2 over that at 1")


def check_decay(dataset):
    """The largest distance of the scales from their exact path."""
    off, rounding = np.abs(dataset.distance - dataset.decay).max(), ROUNDS * np.finfo(np.float32).eps
    return Verdict.compare(off, "<=", 0.0, rounding, quantity="largest deviation of v_t - c / s^2 from its path")


def check_frequencies(dataset):
    """The least excess of a frequency over its bound, with K = 1 and K = M, where they are equal."""
    gap = (dataset.frequency - dataset.frequency_bound).min()
    rounding = 10 * np.finfo(np.float32).eps
    return Verdict.compare(gap, ">=", 0.0, rounding, quantity="frequency of a pattern above its bound, a share")


def check_fewest(dataset):
    """The least ratio of the claimed iterations at K + 1 and at K."""
    ratio = (dataset.iterations / dataset.iterations.shift(own_active=1)).min()
    return Verdict.compare(ratio, ">=", 1.0, quantity="claimed iterations over those of fewer active patterns")


def check_printed(name, printed):
    return lambda dataset: Verdict.compare(dataset[name], "==", PRINTED[printed], READING, quantity="risk per entry")


def check_asked(name):
    """What the theorem asks for over what the experiment has."""
    return lambda dataset: Verdict.compare(dataset[f"asked_{name}"], "<=", 1.0,
                                           quantity=f"{name} asked for over those there are")  # fmt: skip
