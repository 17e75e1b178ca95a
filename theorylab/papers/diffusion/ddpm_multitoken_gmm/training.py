"""Figure 2: numbers of active patterns, rare patterns and ranges of levels, all in one sweep."""

from typing import Any

import numpy as np

import theorylab.diffusion as diffusion
import theorylab.engine as tl
import theorylab.figures as figures
import theorylab.papers.kit as kit
from theorylab.numerics import Estimate
from theorylab.papers import Claim, Experiment

from ._setup import HERE, NOISE, SETTINGS, errors_of, fresh, mixture_of, patterns_of, weights_of

RANGES = {"all levels": (0.0, 1.0), "first 40 %": (0.0, 0.4), "last 40 %": (0.6, 1.0)}  # of the levels, in training


def points(patterns, shares, like, key):
    """As many points as `like` has rows, with as many tokens as it has columns: a sampler for `DenoisingProblem`."""
    import jax.numpy as jnp

    # normal numbers for everything: a program that draws in three ways takes thrice as long to compile
    batch, tokens = like.shape
    drawn = diffusion.counter_normal(key, (batch, tokens + 1, patterns.shape[1] + 1))
    lots = 8 * drawn[..., -1] % 1  # uniform, to far below rounding
    ends = jnp.cumsum(shares, axis=1)[(lots[:, -1] * len(shares)).astype(int), :-1]
    labels = jnp.sum(lots[:, :-1, None] > ends[:, None], axis=-1)
    return patterns[labels] + NOISE * drawn[:, :-1, :-1]


def train(setting, patterns, key, cases) -> Any:
    """Gradient descent on fresh points from W = 0: W and v (case, seed, step, ...).

    A case is the proportions of its active subsets, and the weights of the levels in training.
    """
    import jax.numpy as jnp
    import optax
    from jax.tree_util import Partial

    schedule, like = setting.schedule, jnp.zeros((setting.batch, setting.tokens))
    start = diffusion.MeanDenoisingAttention(jnp.zeros((setting.d, setting.d)), jnp.ones(schedule.levels))

    def build(key, *, case):
        shares, levels = case
        sampler = Partial(points, patterns, shares, like)
        problem = diffusion.DenoisingProblem(start, sampler, schedule, levels=levels, noise="counter")
        return tl.Gradient(optax.sgd, learning_rate=setting.step_size / 2), problem

    record = tl.Record(tl.every(setting.steps // 8), W=lambda problem, state: state.x.W,
                       v=lambda problem, state: state.x.v)  # fmt: skip
    return tl.sweep(build, over={"case": tl.Cases(cases)}, seeds=setting.seeds, key=key, steps=setting.steps,
                    record=record, lanes="vmap")  # fmt: skip


def run(setting, key):
    from theorylab.diffusion.multi_token import subsets

    rng, schedule = tl.keys.generator(key), setting.schedule
    patterns, place = patterns_of(setting, rng), np.arange(schedule.levels) / schedule.levels
    others = [one / one.sum() for one in rng.uniform(0.5, 1.5, (setting.seeds, setting.M))]  # to evaluate on
    chosen = [subsets(setting.M, K) for K in setting.active]
    rows = np.lcm.reduce([len(one) for one in chosen])  # repeated up to as many for each K: lanes of any K

    def shares(active, weights):
        each = chosen[active] * np.asarray(weights, np.float32)
        return np.tile(each / each.sum(1, keepdims=True), (rows // len(each), 1))

    # all levels for each law, and then for one of them the other ranges
    pairs = [*np.ndindex(len(setting.active), len(setting.rarest)), *[(1, 0)] * (len(RANGES) - 1)]
    whole = len(pairs) - len(RANGES) + 1
    ranges = ["all levels"] * whole + list(RANGES)[1:]
    judged = np.asarray([(place >= low) & (place < high) for low, high in map(RANGES.__getitem__, ranges)])
    own = [shares(active, weights_of(setting, setting.rarest[rarest])) for active, rarest in pairs]
    runs = train(setting, patterns, key, (np.stack(own), judged.astype(np.float32)))
    uniform = mixture_of(patterns, np.full(setting.M, 1 / setting.M), 1)  # the oracle needs no weights

    def watch(case, seed):
        W, v = (runs[name].values[case, seed] for name in "Wv")
        found = {}
        for name, law in (("excess", shares(pairs[case][0], others[seed])), ("own_excess", own[case])):
            same = np.random.default_rng(seed)  # for every case, so that their differences are sharp
            errors = errors_of(W, v, uniform, schedule, fresh(same, patterns, law, setting.test, setting.tokens))
            seen = judged[case][np.arange(setting.test) % schedule.levels]  # as it was trained
            found |= {name: errors.excess[:, seen].mean(1), "mass": errors.mass.mean(1),
                      "mean_error": errors.mean_error.mean(1)}  # fmt: skip
        scores = patterns @ W @ patterns.T / setting.d
        rare, *frequent = np.diagonal(scores, axis1=1, axis2=2).T
        others_of = (scores.sum((1, 2)) - rare - sum(frequent)) / (setting.M * (setting.M - 1))
        return found | {"rare": rare, "frequent": np.mean(frequent, axis=0), "others": others_of}

    table = kit.tabulate(watch, case=range(len(pairs)), seed=range(setting.seeds))
    table = table.rename({f"{name}_0": "step" for name in table}).assign_coords(step=runs.step)
    by_range = table.excess.isel(case=[pairs.index((1, 0)), *range(whole, len(pairs))])
    grid = {"active": list(setting.active), "rarest": list(setting.rarest)}
    laws = table.isel(case=slice(whole)).coarsen(case=len(grid["rarest"])).construct(case=("active", "rarest"))
    dataset = laws.drop_vars("case").assign_coords(grid)
    dataset = dataset.assign(excess_on=by_range.rename(case="levels").assign_coords(levels=list(RANGES)))
    law = mixture_of(patterns, weights_of(setting, setting.rarest[0]), setting.active[1])
    middle = against_bayes(setting, law, rng, own[pairs.index((1, 0))], runs.isel(case=pairs.index((1, 0))))
    return dataset.merge(middle).merge(levels_of(setting, patterns))


def levels_of(setting, patterns) -> Any:
    """The excesses that are known: of the ideal mean denoiser, and the least one without attention; and the oracle."""
    import jax
    import jax.numpy as jnp
    import xarray

    schedule, tokens, dims = setting.schedule, setting.tokens, ("rarest", "active")

    @jax.jit
    @jax.vmap
    def exact(weights):
        laws = [diffusion.MultiTokenMixture(patterns, weights, active=K, noise=NOISE) for K in setting.active]
        still = [diffusion.initial_risk(law, schedule, tokens, diffusion.initial_scales(law, schedule)) for law in laws]
        ideal = [diffusion.ideal_risk(law, schedule, tokens) for law in laws]
        oracle = diffusion.oracle_risk(laws[0], schedule)  # it is the same for all
        return jnp.stack(ideal) - oracle, jnp.stack(still) - oracle, oracle

    weights = [weights_of(setting, rarest) for rarest in setting.rarest]
    ideal, still, oracle = exact(np.asarray(weights, np.float32))
    return xarray.Dataset({"ideal_excess": (dims, ideal), "still_excess": (dims, still), "oracle": float(oracle[0])})


def against_bayes(setting, law, rng, shares, runs) -> Any:
    """Risks and scores of runs, on the law of their training, beside those of the Bayes denoiser."""
    import jax
    import xarray

    schedule, count = setting.schedule, 2 * setting.test
    t = np.arange(count) % schedule.levels
    alpha_bar = schedule.alpha_bar[t]

    @jax.jit
    def errors(Ws, vs, x0, noise):
        x = diffusion.diffuse(x0, t, noise, schedule)
        best, bayes = jax.vmap(law.expected_noise)(x, alpha_bar), jax.vmap(law.noise_variance)(x, alpha_bar)

        def one(pair):
            found = jax.vmap(diffusion.MeanDenoisingAttention(*pair))(x, t)
            return ((found - noise) ** 2).mean((1, 2)), ((found - best) ** 2).mean((1, 2))

        return *jax.lax.map(one, (Ws, vs)), bayes

    found = []
    for seed in range(setting.seeds):
        x0, _, noise = fresh(rng, np.asarray(law.patterns), shares, count, setting.tokens)
        found.append(errors(*(runs[name].isel(seed=seed).values for name in "Wv"), x0, noise))
    risk, gap, bayes = (np.asarray(one, float) for one in zip(*found, strict=True))
    dims, rest = ("seed", "step", "point"), xarray.DataArray(1 - alpha_bar, dims="point")
    drawn = xarray.Dataset({"risk": (dims, risk), "gap": (dims, gap), "bayes": (("seed", "point"), bayes)})
    off = (drawn.risk - drawn.bayes - drawn.gap) / rest
    scale_gap = abs(runs.v - np.asarray(diffusion.ideal_scales(law, schedule))).max("v_0")
    stated = diffusion.claims.ddpm_multitoken_gmm
    return drawn.mean("point").assign(
        score_error=(drawn.gap / rest).mean("point"), identity=off.mean("point"),
        identity_error=Estimate.of(off, "point").standard_error, scale_gap=scale_gap.drop_vars("case"),
        score_factor=stated.score_error(1.0, schedule), mean_bound=stated.mean_error(law, setting.tokens),
        pattern_bound=stated.same_pattern_score(law, 1.0),
    )  # fmt: skip


def plot(dataset):
    figure, axes = figures.panels(3, 2)
    (training, active, rare), (ranges, mass, scores) = axes
    steps, first, middle = dataset.step, dataset.isel(rarest=0), dataset.isel(active=1)
    figures.measured(training, steps, dataset.risk, label="trained")
    figures.measured(training, steps, dataset.score_error, label="error of the score")
    one = first.isel(active=1)
    for name, level, style in (("ideal mean denoiser", dataset.oracle + one.ideal_excess, "--"),
                               ("Bayes", dataset.bayes.mean(), ":"), ("oracle", dataset.oracle, "-.")):  # fmt: skip
        figures.predicted(training, steps, level, label=name, linestyle=style)
    training.set(title=f"(A) risk, $K = {int(one.active)}$", ylim=(0, None))
    ideal = first.assign(ideal_excess=first.ideal_excess.broadcast_like(first.step))
    kit.curves(active, ideal, "excess", by="active", theory="ideal_excess", labels="$K = {}$".format,
               title="(B) excess by active patterns")  # fmt: skip
    figures.predicted(active, [], [], color="0.3", label="ideal mean denoiser")
    kit.curves(rare, middle, "excess", by="rarest", labels=r"$\min\pi = {:g}$".format,
               title=f"(C) excess by the rarest weight, $K = {int(middle.active)}$")  # fmt: skip
    kit.curves(ranges, dataset, "excess_on", by="levels", title="(D) excess by the levels of training")
    for K, colour in list(zip(dataset.active.values, figures.COLOURS, strict=False))[1:]:
        figures.measured(mass, steps, first.sel(active=K).mass, label=f"$K = {K}$", color=colour)
    mass.set(title="(E) attention to the own pattern", ylim=(0, 1))
    last = dataset.isel(active=-1, rarest=-1)
    for name, label in (("frequent", "frequent pattern"), ("rare", "rarest pattern"), ("others", "two patterns")):
        figures.measured(scores, steps, last[name], label=label)
    scores.set(title=rf"scores $\mu^TW\mu/d$, $K = {int(last.active)}$, $\min\pi = {float(last.rarest):g}$")
    for panel in axes.flat:
        panel.set_xlabel("iteration")
        figures.legend(panel)
    return figure


def grows(name, along, cases, **at):
    """Whether the log of the final excess grows from one case to the next."""
    return kit.estimated(lambda dataset: np.log(dataset[name]).isel(step=-1, **at).diff(along), ">=",
                         quantity=f"growth of the log of the final excess, {cases}")  # fmt: skip


def at_end(value, relation, border, quantity):
    """A number of the runs with half of the patterns, on all levels, at their end."""
    return kit.estimated(lambda dataset: value(dataset.isel(step=-1, active=1, rarest=0)), relation, border,
                         quantity=quantity)  # fmt: skip


def identity(dataset):
    """The score's error by the risks: that by its definition, and how far the two are apart."""
    one = dataset.isel(step=-1)
    return Estimate(one.identity, one.identity_error).mean() + float(one.score_error.mean())


def half_time(scores) -> Any:
    """When scores first reach half of what they end at, between the records."""
    steps, values = scores.step.values, (scores / scores.isel(step=-1)).transpose(..., "step").values
    after = np.argmax(values >= 0.5, -1)
    low, high = (np.take_along_axis(values, at[..., None], -1)[..., 0] for at in (after - 1, after))
    share = (0.5 - low) / (high - low)
    return scores.isel(step=-1).copy(data=steps[after - 1] * (1 - share) + steps[after] * share)


def rare_after_others(dataset):
    one = dataset.isel(active=-1, rarest=-1)
    return np.log(half_time(one.rare) / half_time(one.frequent))


TRAINING = Experiment(
    "figure_2", "training, by active patterns, rare ones and levels", sizes=SETTINGS, run=run, plot=plot,
    seconds={"small": 9.0, "paper": 4385.0},
    claims=(
        Claim("more_patterns", "The excess over the oracle, under other proportions than in training, ends the higher"
              " the more patterns are active.", "Figure 2 (B)", grows("excess", "active", "to more active patterns",
                                                                     rarest=0)),
        Claim("rarer_patterns", "It ends the higher the rarer the rarest pattern is.", "Figure 2 (C)",
              grows("excess", "rarest", "to a rarer rarest pattern", active=1)),
        Claim("fewer_levels", "On the levels that it is trained on it ends lowest for the first 40 %, then for all,"
              " then for the last 40 %.", "Figure 2 (D)",
              grows("excess_on", "levels", "from one range of levels to the next", levels=[1, 0, 2])),
        Claim("attends", "With several active patterns training ends below the best model without attention.",
              "Theorem 1, as an order",
              kit.estimated(lambda dataset: (dataset.own_excess / dataset.still_excess)[{"step": -1, "active": [1, 2]}],
                            "<=", 1.0, quantity="final excess over the least without attention")),
        Claim("one_pattern", "With one active pattern it ends at the ideal mean denoiser.", HERE,
              kit.estimated(lambda dataset: (dataset.excess / dataset.ideal_excess).isel(step=-1, active=0, rarest=0),
                            "==", 1.0, quantity="final excess over that of the ideal mean denoiser")),
        Claim("score_identity", r"The score's error is the mean of $(L_t - B_t)/(1 - \bar\alpha_t)$, $B_t$ the Bayes"
              r" risk.", HERE, kit.estimated(identity, "==", lambda dataset: dataset.score_error.isel(step=-1).mean(),
                                             quantity="squared error of the score per entry")),
        Claim("score_error", "The score's error is at most the excess over Bayes times SNR + 1.", "Theorem 2",
              at_end(lambda one: one.score_error / (one.gap * one.score_factor), "<=", 1.0,
                     "squared error of the score over its bound")),
        # an excess is twice epsilon
        Claim("mass", r"The attention to the own pattern is at least $1 - \sqrt{\epsilon}$.",
              "Corollary 3, constant one", at_end(lambda one: one.mass - 1 + np.sqrt(one.own_excess / 2), ">=", 0.0,
                                                  "attention to the own pattern above its bound, a share")),
        Claim("pattern_score", r"A pattern's score with itself is at least $\frac12\log(K\delta/\epsilon)$.",
              "Proposition 3, constant one",
              at_end(lambda one: one.frequent - one.pattern_bound + np.log(one.own_excess / 2) / 2, ">=", 0.0,
                     "score of a pattern with itself above its bound")),
        Claim("mean_error", r"What attention makes of a token is within $(\rho^2 + 1)\log d/(P\nu_{\min})$ of its"
              r" mean.", "Proposition 1, constant one",
              at_end(lambda one: one.mean_error / one.mean_bound, "<=", 1.0,
                     "squared distance of the attended mean from the pattern, over its bound")),
        Claim("scales", r"All $v_t$ end within $\epsilon$ of $c/s^2$.", "Proposition 1, constant one",
              at_end(lambda one: one.scale_gap / (one.own_excess / 2), "<=", 1.0,
                     "largest |v_t - c / s^2| over epsilon")),
        Claim("shift", "Other proportions leave the excess of the same order: below twice that of training.",
              "Corollary 4, constant two",
              kit.estimated(lambda dataset: (dataset.excess / dataset.own_excess).isel(step=-1, active=1, rarest=-1),
                            "<=", 2.0, quantity="excess under other proportions over that under its own")),
        Claim("rare_last", "The rarest pattern's score is the last to reach half of where it ends.",
              "lemmas, Figure 2 (E)",
              kit.estimated(rare_after_others, ">=",
                            quantity="log of the rarest pattern's half time over that of the others")),
    ),
)  # fmt: skip
