"""Figure 2: numbers of active patterns, rare patterns and ranges of levels, all in one sweep."""

from typing import Any

import numpy as np

import theorylab.diffusion as diffusion
import theorylab.engine as tl
import theorylab.figures as figures
from theorylab.papers import Verdict, mean_and_error

from . import _mean_denoising as runs
from ._mean_denoising import RANGES, SETTINGS


def random_weights(setting, rng):
    """Other proportions than in training, to evaluate on."""
    weights = rng.uniform(0.5, 1.5, setting.M)
    return weights / weights.sum()


def run_figure_2(size, key):
    import xarray

    setting = SETTINGS[size]
    T, cases = setting.schedule.levels, (len(setting.active), len(setting.rarest))
    rng = tl.keys.generator(key)
    patterns = runs.patterns_of(setting, rng)
    weights = [runs.weights_of(setting, rarest) for rarest in setting.rarest]
    weights += [random_weights(setting, rng) for _ in range(setting.seeds)]
    laws, new = np.split(runs.tables(setting, patterns, weights), [len(setting.rarest)], axis=1)
    place = np.arange(T) / T
    chosen = np.asarray([(place >= low) & (place < high) for low, high in RANGES.values()])
    # all levels for each law, and then for one of them the other ranges
    pairs = [*np.ndindex(*cases), *[(1, 0)] * (len(RANGES) - 1)]
    whole = len(pairs) - len(RANGES) + 1
    levels = np.r_[np.zeros(whole, int), 1 : len(RANGES)]
    found = runs.train(setting, patterns, key, shares=np.stack([laws[pair] for pair in pairs]),
                       levels=chosen[levels].astype(np.float32))  # fmt: skip
    W, v = (found[name].values for name in "Wv")
    values = {name: np.zeros(W.shape[:-2]) for name in ("excess", "mass", "own_excess", "mean_error")}
    for case, ((a, r), of) in enumerate(zip(pairs, levels, strict=True)):
        for s in range(setting.seeds):
            for name, shares in (("excess", new[a, s]), ("own_excess", laws[a, r])):
                same = np.random.default_rng(s)  # for every case, so that their differences are sharp
                drawn = runs.fresh(same, patterns, shares, setting.test, setting.tokens)
                did = runs.evaluate(W[case, s], v[case, s], patterns, drawn, setting.schedule)
                seen = chosen[of][np.arange(setting.test) % T]  # a model is judged on the levels that it has seen
                values[name][case, s] = did["excess"][:, seen].mean(-1)
                if name == "own_excess":
                    for also in ("mass", "mean_error"):
                        values[also][case, s] = did[also].mean(-1)
    by_range = values["excess"][[pairs.index((1, 0)), *range(whole, len(pairs))]]
    W, v, *each = (one[:whole].reshape(*cases, *one.shape[1:]) for one in (W, v, *values.values()))
    values = dict(zip(values, each, strict=True))
    scores = patterns @ W @ patterns.T / setting.d
    own = np.diagonal(scores, axis1=-2, axis2=-1)
    others = (scores.sum((-2, -1)) - own.sum(-1)) / (setting.M * (setting.M - 1))
    values |= {"rare": own[..., 0], "frequent": own[..., 1:].mean(-1), "others": others}
    dims = ("active", "rarest", "seed", "step")
    dataset = xarray.Dataset({name: (dims, one) for name, one in values.items()})
    dataset = dataset.assign(excess_on=(("levels", "seed", "step"), by_range))
    middle = against_bayes(setting, patterns, rng, laws[1, 0], W[1, 0], v[1, 0])
    dataset = dataset.merge(middle).merge(levels_of(setting, patterns))
    index = {"active": list(setting.active), "rarest": list(setting.rarest), "levels": list(RANGES)}
    return dataset.assign_coords(**index, step=found.step.values)


def levels_of(setting, patterns) -> Any:
    """The risks that are known: of the oracle, of the ideal mean denoiser, and the least one without attention."""
    import jax
    import jax.numpy as jnp
    import xarray

    schedule, names = setting.schedule, ("ideal_excess", "still_excess")

    @jax.jit
    @jax.vmap
    def exact(weights):
        laws = [diffusion.MultiTokenMixture(patterns, weights, active=K, noise=runs.NOISE) for K in setting.active]
        oracle = diffusion.oracle_risk(laws[0], schedule)  # it is the same for all
        still = [diffusion.initial_risk(one, schedule, setting.tokens, diffusion.initial_scales(one, schedule))
                 for one in laws]  # fmt: skip
        ideal = [diffusion.ideal_risk(one, schedule, setting.tokens) for one in laws]
        return [jnp.stack(each) - oracle for each in (ideal, still)], oracle

    weights = [runs.weights_of(setting, rarest) for rarest in setting.rarest]
    values, oracle = exact(np.asarray(weights, np.float32))
    exactly = {name: (("rarest", "active"), np.asarray(one, float)) for name, one in zip(names, values, strict=True)}
    return xarray.Dataset(exactly | {"oracle": float(oracle[0])})


def against_bayes(setting, patterns, rng, shares, W, v) -> Any:
    """Risks and scores of the runs (seed, step) with half of the patterns, beside those of the Bayes denoiser."""
    import jax
    import jax.numpy as jnp
    import xarray

    schedule, count = setting.schedule, 2 * setting.test
    law = runs.law(patterns, runs.weights_of(setting, setting.rarest[0]), setting.active[1])
    t = np.arange(count) % schedule.levels
    rest = np.asarray(1 - schedule.alpha_bar)[t]

    @jax.jit
    def both(Ws, vs, x0, noise):
        x = diffusion.diffuse(x0, jnp.asarray(t), noise, schedule)
        levels = schedule.alpha_bar[t]
        best = jax.vmap(law.expected_noise)(x, levels)

        def one(pair):
            model = diffusion.MeanDenoisingAttention(*pair)
            found = jax.vmap(model)(x, jnp.asarray(t))
            return jnp.mean((found - noise) ** 2, (1, 2)), jnp.mean((found - best) ** 2, (1, 2))

        bayes, scales = jax.vmap(law.noise_variance)(x, levels), diffusion.ideal_scales(law, schedule)
        return jax.lax.map(one, (Ws, vs)), bayes, scales

    values = []
    for seed in range(setting.seeds):
        x0, _, noise = runs.fresh(rng, patterns, shares, count, setting.tokens)
        found = jax.tree.map(lambda one: np.asarray(one, float), both(W[seed], v[seed], x0, noise))
        (risk, gap), bayes, scales = found
        off = (risk - bayes - gap) / rest
        values.append((risk.mean(-1), gap.mean(-1), (gap / rest).mean(-1), off.mean(-1),
                       off.std(-1, ddof=1) / np.sqrt(count), np.full(len(risk), bayes.mean())))  # fmt: skip
    names = ("risk", "gap", "score_error", "identity", "identity_error", "bayes")
    values = {name: (("seed", "step"), one)
              for name, one in zip(names, np.moveaxis(np.asarray(values), 1, 0), strict=True)}  # fmt: skip
    bounds = {"score_factor": diffusion.claims.ddpm_multitoken_gmm.score_error(1.0, schedule),
              "mean_bound": diffusion.claims.ddpm_multitoken_gmm.mean_error(law, setting.tokens),
              "pattern_bound": diffusion.claims.ddpm_multitoken_gmm.same_pattern_score(law, 1.0)}  # fmt: skip
    values["scale_gap"] = (("seed", "step"), np.abs(v - scales).max(-1))
    return xarray.Dataset(values | bounds)


def plot_figure_2(dataset):
    figure, axes = figures.panels(3, 2)
    (training, active, rare), (ranges, mass, scores) = axes
    steps, first = dataset.step, dataset.isel(rarest=0)
    figures.measured(training, steps, dataset.risk, label="trained")
    figures.measured(training, steps, dataset.score_error, label="error of the score")
    middle = first.isel(active=1)
    for name, level, style in (("ideal mean denoiser", middle.oracle + middle.ideal_excess, "--"),
                               ("Bayes", dataset.bayes.mean(), ":"), ("oracle", middle.oracle, "-.")):  # fmt: skip
        figures.predicted(training, steps, level, label=name, linestyle=style)
    training.set(title=f"(A) risk, $K = {int(middle.active)}$", ylim=(0, None))
    for K, colour in zip(dataset.active.values, figures.COLOURS, strict=False):
        one = first.sel(active=K)
        figures.measured(active, steps, one.excess, label=f"$K = {K}$", color=colour)
        figures.predicted(active, steps, one.ideal_excess, color=colour)
        if K > 1:
            figures.measured(mass, steps, one.mass, label=f"$K = {K}$", color=colour)
    figures.predicted(active, [], [], color="0.3", label="ideal mean denoiser")
    active.set(title="(B) excess by active patterns")
    middle = dataset.isel(active=1)
    for rarest in dataset.rarest.values:
        one = middle.sel(rarest=rarest)
        figures.measured(rare, steps, one.excess, label=rf"$\min\pi = {rarest:g}$")
    rare.set(title=f"(C) excess by the rarest weight, $K = {int(middle.active)}$")
    for levels in dataset.levels.values:
        figures.measured(ranges, steps, dataset.excess_on.sel(levels=levels), label=levels)
    ranges.set(title="(D) excess by the levels of training")
    mass.set(title="(E) attention to the own pattern", ylim=(0, 1))
    last = dataset.isel(active=-1, rarest=-1)
    for name, label in (("frequent", "frequent pattern"), ("rare", "rarest pattern"), ("others", "two patterns")):
        figures.measured(scores, steps, last[name], label=label)
    scores.set(title=rf"scores $\mu^TW\mu/d$, $K = {int(last.active)}$, $\min\pi = {float(last.rarest):g}$")
    for panel in axes.flat:
        panel.set_xlabel("iteration")
    for panel in (active, rare, ranges):
        panel.set(yscale="log")
    for panel in axes.flat:
        figures.legend(panel)
    return figure


def at_end(dataset, **place):
    return dataset.isel(step=-1, **place)


def grows(pick, cases):
    """Whether the log of the final excess grows from one case to the next."""

    def check(dataset):
        mean, error = mean_and_error(pick(np.log(at_end(dataset)[["excess", "excess_on"]])))
        return Verdict.worst(mean, ">=", 0.0, error, quantity=f"growth of the log of the final excess, {cases}")

    return check


check_active = grows(lambda logs: logs.excess.isel(rarest=0).diff("active"), "to more active patterns")
check_rarest = grows(lambda logs: logs.excess.isel(active=1).diff("rarest"), "to a rarer rarest pattern")
check_levels = grows(
    lambda logs: logs.excess_on.isel(levels=[1, 0, 2]).diff("levels"), "from one range of levels to the next"
)


def check_attends(dataset):
    """The final excess on the law of training as a share of the least one without attention, over K > 1."""
    one = at_end(dataset, active=slice(1, None))
    mean, error = mean_and_error(one.own_excess / one.still_excess)
    return Verdict.worst(mean, "<=", 1.0, error, quantity="final excess over the least without attention")


def check_one_pattern(dataset):
    """The final excess with one active pattern, over that of the ideal mean denoiser."""
    one = at_end(dataset, active=0, rarest=0)
    mean, error = mean_and_error(one.excess / one.ideal_excess)
    of = "final excess over that of the ideal mean denoiser"
    return Verdict.estimate(mean, "==", 1.0, error, draws=one.sizes["seed"], quantity=of)


def check_identity(dataset):
    """The score's error by the risks, and the squared distance to the true score."""
    one = at_end(dataset)
    off, error = one.identity.mean(), np.sqrt((one.identity_error**2).mean() / one.sizes["seed"])
    return Verdict.estimate(one.score_error.mean() + off, "==", one.score_error.mean(), error,
                            quantity="squared error of the score per entry")  # fmt: skip


def check_score(dataset):
    """The score's error as a share of the claimed bound, the excess over Bayes times SNR + 1."""
    one = at_end(dataset)
    mean, error = mean_and_error(one.score_error / (one.gap * one.score_factor))
    return Verdict.estimate(mean, "<=", 1.0, error, quantity="squared error of the score over its bound")


def middle_end(dataset) -> Any:
    """The runs with half of the patterns, on all levels, at their end."""
    return at_end(dataset, active=1, rarest=0)


def check_mass(dataset):
    """The attention to the own pattern less 1 - sqrt(epsilon), the excess being twice epsilon."""
    one = middle_end(dataset)
    mean, error = mean_and_error(one.mass - 1 + np.sqrt(one.own_excess / 2))
    return Verdict.estimate(mean, ">=", 0.0, error, quantity="attention to the own pattern above its bound, a share")


def check_pattern_score(dataset):
    """The score of a pattern with itself less log(K delta / epsilon) / 2."""
    one = middle_end(dataset)
    mean, error = mean_and_error(one.frequent - one.pattern_bound + np.log(one.own_excess / 2) / 2)
    return Verdict.estimate(mean, ">=", 0.0, error, quantity="score of a pattern with itself above its bound")


def check_mean_error(dataset):
    one = middle_end(dataset)
    mean, error = mean_and_error(one.mean_error / one.mean_bound)
    of = "squared distance of the attended mean from the pattern, over its bound"
    return Verdict.estimate(mean, "<=", 1.0, error, quantity=of)


def check_scales(dataset):
    """The largest distance of v from c / s^2 in units of epsilon."""
    one = middle_end(dataset)
    mean, error = mean_and_error(one.scale_gap / (one.own_excess / 2))
    return Verdict.estimate(mean, "<=", 1.0, error, quantity="largest |v_t - c / s^2| over epsilon")


def check_shift(dataset):
    """The excess under other proportions over that under those of training, with the rarest pattern in it."""
    one = at_end(dataset, active=1, rarest=-1)
    mean, error = mean_and_error(one.excess / one.own_excess)
    return Verdict.estimate(mean, "<=", 2.0, error, quantity="excess under other proportions over that under its own")


def half_time(scores) -> Any:
    """When scores first reach half of what they end at, between the records."""
    steps, values = scores.step.values, (scores / scores.isel(step=-1)).transpose(..., "step").values
    after = np.argmax(values >= 0.5, -1)
    low, high = (np.take_along_axis(values, at[..., None], -1)[..., 0] for at in (after - 1, after))
    share = (0.5 - low) / (high - low)
    return scores.isel(step=-1).copy(data=steps[after - 1] * (1 - share) + steps[after] * share)


def check_rare_last(dataset):
    """The log of the rarest pattern's half time over that of the others, with all patterns active."""
    one = dataset.isel(active=-1, rarest=-1)
    mean, error = mean_and_error(np.log(half_time(one.rare) / half_time(one.frequent)))
    return Verdict.estimate(mean, ">=", 0.0, error, quantity="log of the rarest pattern's half time over the others'")
