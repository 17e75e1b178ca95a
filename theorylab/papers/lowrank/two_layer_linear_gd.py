"""Gradient descent on two-layer linear networks: local constants, and a global rate from the start's imbalance."""

from typing import Any

import numpy as np

import theorylab.engine as tl
import theorylab.figures as figures
import theorylab.lowrank as lowrank
from theorylab.papers import Claim, Experiment, Paper, Size, Verdict, mean_and_error

EXPONENTS = (0.5, 1.01)  # c and d of the paper's experiments
RULES = ("constant", "paper", "local")
NAMES = {"constant": "constant", "paper": "adaptive (the paper's)", "local": "adaptive (local constants)"}
COLOURS = dict(zip(RULES, figures.COLOURS, strict=False))
# residuals are differences of numbers 1e5 times as large, or the ratio of two losses says nothing
RESOLVED, ROUNDING = 1e-10, 1e-8


def orthogonal_regression(rng, width, noise, n=10) -> Any:
    """Standard normal factors, and targets next to what they predict through an orthogonal design."""
    X = np.linalg.qr(rng.standard_normal((n, n)))[0]
    W1, W2 = rng.standard_normal((2, n, width))
    return W1, W2, lowrank.squared_loss(X @ W1 @ W2.T + noise * rng.standard_normal((n, n)), X)


# constant, the paper's adaptive and the local steps, with the bounds on every step and on the whole run


def watch(method, problem, state) -> Any:
    """The loss, the step about to be taken, its own contraction bound, and the extreme curvatures."""
    import jax.numpy as jnp

    from theorylab.lowrank.two_layer import extreme_curvatures, smoothness, smoothness_polynomial

    W1, W2 = state.x
    value, G = problem.value_and_gradient(W1 @ W2.T)
    a, s = extreme_curvatures(W1, W2)
    rule = "paper" if method.rule == "constant" else method.rule
    eta = method.next_step_size(problem, state)
    K = smoothness(smoothness_polynomial(W1, W2, value, G, problem.lipschitz, rule, s), eta)
    along = jnp.sum((G @ W2) ** 2) + jnp.sum((G.T @ W1) ** 2)
    pl = problem.mu * a
    return {"loss": value, "step_size": eta, "contraction": 1 - 2 * pl * eta + pl * K * eta**2,
            "pl_excess": along / (2 * pl * value), "a": a, "s": s}  # fmt: skip


def descend(rule, lanes, steps) -> Any:
    """One rule on every (problem, start, first step size), by lane and step."""
    import jax
    import jax.numpy as jnp

    problems, starts, sizes = (
        jax.tree.map(lambda *leaves: jnp.stack(leaves), *part) for part in zip(*lanes, strict=True)
    )

    def run(lane):
        problem, x0, size = lane
        method = lowrank.FactorisedDescent(None if rule == "local" else size, rule, exponent=EXPONENTS[1])
        record = tl.Record(tl.every(1), all=lambda problem, state: watch(method, problem, state))
        return tl.solve(method, problem, x0, key=0, steps=steps, record=record).trace["all"]

    # one lane after another: on CPUs XLA's batched eigenvalues can wait for each other for ever
    together = jax.jit(lambda *lanes: jax.lax.map(run, lanes))
    return {name: np.asarray(value) for name, value in together(problems, starts, sizes).items()}


def run_descent(size, key):
    import jax.numpy as jnp
    import xarray

    widths, noises, seeds, steps = {
        "small": ((500,), (0.01, 1.0), 6, 24),
        "paper": ((500, 1000, 4000), (0.01, 0.1, 1.0), 30, 24),
        "large": ((500, 1000, 4000, 16_000), (0.01, 0.1, 1.0), 100, 24),
    }[size]
    rng, rows = tl.keys.generator(key), []
    for width in widths:
        drawn = [orthogonal_regression(rng, width, noise) for noise in noises for _ in range(seeds)]
        claims = [lowrank.claims.two_layer_linear_gd.descent(*one, exponents=EXPONENTS) for one in drawn]
        sizes = [0.99 * claim.largest_step_size() for claim in claims]
        lanes = [
            (loss, (jnp.asarray(W1), jnp.asarray(W2)), eta) for (W1, W2, loss), eta in zip(drawn, sizes, strict=True)
        ]
        found = [descend(rule, lanes, steps) for rule in RULES]
        each = {name: (("rule", "lane", "step"), np.stack([one[name] for one in found])) for name in found[0]}
        theory = {
            "ratio": [one.alpha1 / one.alpha2 for one in claims],
            "claimed_pl": [one.pl(eta) / one.mu for one, eta in zip(claims, sizes, strict=True)],
            "claimed_s": [one.alpha2 * np.exp(eta ** EXPONENTS[0]) for one, eta in zip(claims, sizes, strict=True)],
            "claimed_contraction": [one.contraction(eta) for one, eta in zip(claims, sizes, strict=True)],
        }
        dataset = xarray.Dataset(each | {name: ("lane", values) for name, values in theory.items()})
        index = {"noise": ("lane", np.repeat(noises, seeds)), "seed": ("lane", np.tile(np.arange(seeds), len(noises)))}
        rows.append(dataset.assign_coords(index).set_index(lane=["noise", "seed"]).unstack("lane"))
    dataset = xarray.concat(rows, "width").assign_coords(width=list(widths), rule=list(RULES))
    return dataset.assign_coords(step=np.arange(steps + 1))


def plot_descent(dataset):
    figure, axes = figures.panels(dataset.sizes["noise"], dataset.sizes["width"], sharey=True)
    for row, width in zip(np.reshape(axes, (dataset.sizes["width"], -1)), dataset.width.values, strict=True):
        for panel, noise in zip(row, dataset.noise.values, strict=True):
            one = dataset.sel(width=width, noise=noise)
            relative = (one.loss / one.loss.isel(step=0)).isel(seed=0)
            bound = one.contraction.isel(seed=0).cumprod("step").shift(step=1, fill_value=1.0)
            for k, rule in enumerate(RULES):
                wide = 4 if rule == "constant" else 1.8  # it lies almost under the paper's
                values = relative.sel(rule=rule)
                figures.measured(panel, one.step, values, label=NAMES[rule], color=COLOURS[rule], linewidth=wide)
                turn = (4 * k, (3, 9))  # so that dashes of bounds that lie on each other take turns
                figures.predicted(panel, one.step, bound.sel(rule=rule), color=COLOURS[rule], linestyle=turn)
            figures.predicted(panel, one.step, one.claimed_contraction.isel(seed=0) ** one.step, linestyle="-.")
            title = rf"$h = {width}$, noise {noise:g}, $\alpha_1/\alpha_2 = {float(one.ratio[0]):.3f}$"
            panel.set(yscale="log", ylim=(1e-14, 3), xlabel="step", title=title)
    first = np.ravel(axes)[0]
    figures.predicted(first, [], [], label="product of one-step bounds")
    figures.predicted(first, [], [], linestyle="-.", label="global rate, constant step")
    first.set_ylabel(r"$L_t / L_0$")
    figures.legend(axes)
    return figure


def resolved(dataset) -> Any:
    """Where a loss stands clear of its rounding."""
    return dataset.loss > RESOLVED * dataset.loss.isel(step=0)


def check_one_step(dataset):
    """The excess of L+ / L over the step's own bound."""
    ratio = dataset.loss.shift(step=-1) / dataset.loss
    clear = resolved(dataset) & resolved(dataset).shift(step=-1, fill_value=False)
    return Verdict.compare(
        (ratio - dataset.contraction).where(clear).max(), "<=", 0.0, ROUNDING,
        quantity="largest L+/L less the step's own bound",
    )  # fmt: skip


def check_pl(dataset):
    return Verdict.compare(
        dataset.pl_excess.where(resolved(dataset)).min(), ">=", 1.0, ROUNDING,
        quantity="least half squared gradient, over mu a L",
    )  # fmt: skip


def check_global(dataset):
    """The excess of every step's bound over the global one, for the theorem's two rules."""
    excess = (dataset.contraction - dataset.claimed_contraction).sel(rule=["constant", "paper"])
    return Verdict.compare(
        excess.max(), "<=", 0.0, ROUNDING, quantity="largest contraction bound of a step less the global one"
    )


def check_window(dataset):
    """The least of a_t over its bound below and of the bound above over s_t."""
    runs = dataset.sel(rule=["constant", "paper"])
    least = min((runs.a / runs.claimed_pl).min(), (runs.claimed_s / runs.s).min())
    return Verdict.compare(
        least, ">=", 1.0, ROUNDING, quantity="least a over its lower bound, or upper bound of s over s"
    )


def compare_rules(fast, slow):
    """ln of the loss under one rule less that under another, at the last step where all are resolved, by lane."""

    def check(dataset):
        clear = resolved(dataset).all(("rule", "seed")).cumprod("step").astype(bool)
        last = clear.sum("step") - 1
        gap = np.log(dataset.loss.sel(rule=fast) / dataset.loss.sel(rule=slow)).isel(step=last)
        mean, error = mean_and_error(gap)
        return Verdict.worst(
            mean, "<=", 0.0, error, quantity=f"mean log of the loss by the {fast} rule over the {slow} one"
        )

    return check


def check_titles(dataset):
    """How far the printed draw of alpha1 / alpha2, h = 500 and noise 0.01, is from the mean of ours.

    In units of what one more draw may differ by: three standard deviations in the limit of many, Student's quantile of
    the same probability, 0.0027, for the few that there are.
    """
    from scipy import special

    ratio = dataset.ratio.sel(width=500, noise=0.01)
    apart = np.abs(ratio.mean() - 0.555) / (ratio.std(ddof=1) * np.sqrt(1 + 1 / ratio.size))
    return Verdict.compare(
        apart, "<=", -special.stdtrit(ratio.size - 1, 0.00135),
        quantity="distance of the printed alpha1/alpha2 from our mean, in standard deviations of one more draw",
    )  # fmt: skip


# the conditioning of a start, by width and scale


def run_width(size, key):
    import xarray

    widths, seeds = {"small": ((200, 400, 800), 8), "paper": ((500, 1000, 1500, 2000), 30),
                     "large": ((500, 1000, 2000, 4000, 8000), 100)}[size]  # fmt: skip
    powers, n, rng = (0.275, 0.375, 0.475), 10, tl.keys.generator(key)
    found = np.empty((2, len(powers), len(widths), seeds))
    for j, width in enumerate(widths):
        for seed in range(seeds):
            X, Theta = np.linalg.qr(rng.standard_normal((n, n)))[0], np.sqrt(0.1) * rng.standard_normal((n, n))
            Y = X @ Theta + np.sqrt(0.1) * rng.standard_normal((n, n))
            solution, W = X.T @ Y, rng.standard_normal((2, n, width))
            for i, p in enumerate(powers):
                W1, W2 = W / width**p
                margin = lowrank.spectral_margin(W1 @ W2.T, solution, mu=1.0, lipschitz=1.0)
                alpha1, alpha2 = lowrank.claims.two_layer_linear_gd.certificate(W1, W2, margin)
                values = [np.linalg.svd(one, compute_uv=False) for one in (W1, W2)]
                a, s = (sum(one[j] ** 2 for one in values) for j in (-1, 0))
                found[:, i, j, seed] = alpha1 / alpha2, a / s
    dims = ("power", "width", "seed")
    return xarray.Dataset({"certified": (dims, found[0]), "exact": (dims, found[1])},
                          {"power": list(powers), "width": list(widths)})  # fmt: skip


def plot_width(dataset):
    figure, axes = figures.panels(1)
    for power, colour in zip(dataset.power.values, figures.COLOURS, strict=False):
        one = dataset.certified.sel(power=power)
        figures.measured(
            axes[0], one.width, one.T, label=rf"$\alpha_1/\alpha_2$, $p = {power:g}$", color=colour, marker="o"
        )
    exact = dataset.exact.isel(power=0)
    figures.measured(axes[0], exact.width, exact.T, label=r"$a_0/s_0$, every $p$", color="0.5", marker="s")
    axes[0].set(ylim=(0, 1), xlabel="width $h$", ylabel="conditioning", title=r"entries $N(0, h^{-2p})$")
    figures.legend(axes)
    return figure


def check_wider(dataset):
    """Conditioning from the narrowest width to the widest, at every scale."""
    mean, error = mean_and_error(dataset.certified.isel(width=-1) - dataset.certified.isel(width=0))
    return Verdict.worst(mean, ">=", 0.0, error, quantity="least rise of the mean alpha1/alpha2, narrowest to widest")


def check_power(dataset):
    """Conditioning from each scale to the next, in the same draws."""
    mean, error = mean_and_error(dataset.certified.diff("power"))
    return Verdict.worst(mean, "<=", 0.0, error, quantity="change of the mean alpha1/alpha2 to the next larger p")


def check_power_reversed(dataset):
    mean, error = mean_and_error(dataset.certified.diff("power"))
    return Verdict.worst(mean, ">=", 0.0, error, quantity="change of the mean alpha1/alpha2 to the next larger p")


def check_scale_free(dataset):
    moved = np.abs(dataset.exact / dataset.exact.isel(power=0) - 1).max()
    return Verdict.compare(moved, "<=", 0.0, 1e-13, quantity="largest relative change of a/s with p")


# certificates in all shapes


def run_shapes(size, key):
    import xarray

    draws = {"small": 500, "paper": 4000, "large": 40_000}[size]
    rng, found = tl.keys.generator(key), np.empty((4, 2, draws))
    for kind in (0, 1):
        for k in range(draws):
            n, m = rng.integers(1, 6, 2)
            while (n == m) == bool(kind):
                m = rng.integers(1, 6)
            h = min(n, m) + rng.integers(0, 5)
            W1, W2 = (10 ** rng.uniform(-1, 1) * rng.standard_normal((rows, h)) for rows in (n, m))
            values = [np.append(np.linalg.svd(W, compute_uv=False), 0.0) for W in (W1, W2)]
            a = sum(
                v[min(len(W), len(v) - 1) - 1 if len(W) <= h else -1] ** 2
                for W, v in zip((W1, W2), values, strict=True)
            )
            s = sum(v[0] ** 2 for v in values)
            claimed, above = lowrank.claims.two_layer_linear_gd.certificate(W1, W2)
            below, _ = lowrank.imbalance_certificate(W1, W2)
            found[:, kind, k] = a / s, claimed / s, below / s, above / s
    names = ("a", "claimed", "corrected", "above")
    variables = {name: (("shape", "draw"), rows) for name, rows in zip(names, found, strict=True)}
    return xarray.Dataset(variables, {"shape": ["n = m", "n != m"]})


def plot_shapes(dataset):
    figure, axes = figures.panels(2, sharey=True)
    for panel, name in zip(axes, ("claimed", "corrected"), strict=True):
        for shape, colour in (("n != m", figures.COLOURS[1]), ("n = m", figures.COLOURS[0])):
            one = dataset.sel(shape=shape)
            panel.plot(one.a, one[name], ".", color=colour, markersize=3, label=shape.replace("!=", r"$\neq$"))
        figures.predicted(panel, [0, 1], [0, 1])
        panel.set(
            xlabel="$a/s$", title={"claimed": r"$\alpha_1/s$ as printed", "corrected": r"corrected $\alpha/s$"}[name]
        )
    for handle in figures.legend(axes).legend_handles:
        handle.set_markersize(8)
    return figure


def check_below(name, shape):
    def check(dataset):
        one = dataset.sel(shape=shape)
        rounding = 1e-12  # eigenvalues of small matrices
        return Verdict.compare(
            (one[name] - one.a).max(), "<=", 0.0, rounding, quantity="largest certificate less a, over s"
        )

    return check


def check_above(dataset):
    return Verdict.compare(dataset.above.min(), ">=", 1.0, 1e-12, quantity="least alpha2 over s")


# wide networks follow descent in W itself


def run_plain(size, key):
    import jax.numpy as jnp
    import xarray

    widths, seeds = {"small": ((50, 200, 800), 16), "paper": ((50, 200, 800, 3200), 30),
                     "large": ((50, 200, 800, 3200, 12_800), 100)}[size]  # fmt: skip
    n, steps, rng = 5, 24, tl.keys.generator(key)
    lanes, plain = [[] for _ in widths], np.empty((len(widths), seeds, steps + 1))
    place = np.arange(widths[-1])
    for seed in range(seeds):
        U, V = (np.linalg.qr(rng.standard_normal((n, n)))[0] for _ in range(2))
        # small targets: the factors, and with them the curvatures, then hardly leave their start
        X, Y = (U * rng.uniform(1.8, 2.3, n)) @ V.T, 0.1 * rng.standard_normal((n, n))
        loss, drawn = lowrank.squared_loss(Y, X), rng.standard_normal((2, n, widths[-1]))
        values, vectors = np.linalg.eigh(X.T @ X)
        decay = (1 - values / values[-1]) ** np.arange(steps + 1)[:, None]
        for j, width in enumerate(widths):
            # a neuron that is zero stays zero, so that one program serves all widths
            W1, W2 = np.where(place < width, drawn, 0) / np.sqrt(width)
            lanes[j].append((loss, (jnp.asarray(W1), jnp.asarray(W2)), 1.0))
            along = vectors.T @ (W1 @ W2.T - np.asarray(loss.solution))
            plain[j, seed] = np.sum(values[:, None] * (decay[..., None] * along) ** 2, axis=(1, 2)) / 2
    wide = descend("local", [lane for each in lanes for lane in each], steps)["loss"].reshape(plain.shape)
    dims = ("width", "seed", "step")
    return xarray.Dataset({"wide": (dims, wide), "plain": (dims, plain)},
                          {"width": list(widths), "step": np.arange(steps + 1)})  # fmt: skip


def plot_plain(dataset):
    figure, axes = figures.panels(1)
    for width, colour in zip(dataset.width.values, figures.COLOURS, strict=False):
        one = dataset.sel(width=width).isel(seed=0)
        figures.measured(axes[0], one.step, one.wide / one.wide[0], label=f"$h = {width}$", color=colour)
        figures.predicted(axes[0], one.step, one.plain / one.plain[0], color=colour)
    figures.predicted(axes[0], [], [], label="descent in $W$", color="0.3")
    axes[0].set(
        yscale="log", ylim=(1e-14, 3), xlabel="step", ylabel="$L_t/L_0$", title="wide networks against descent in $W$"
    )
    figures.legend(axes)
    return figure


def check_plain(dataset):
    """How far the late contractions differ, in logarithm, from each width to the next in the same draws."""
    late = [np.log(one.isel(step=8) / one.isel(step=4)) / 4 for one in (dataset.wide, dataset.plain)]
    mean, error = mean_and_error(np.abs(late[0] - late[1]).diff("width"))
    return Verdict.worst(
        mean, "<=", 0.0, error, quantity="change of the mean difference of log contractions to the next larger width"
    )


TABLE, HERE = "table of initialisation quantities", "derived here"
WORDS: dict[Size, Size] = {"small": "small", "paper": "paper", "large": "large"}
PAPER = Paper(
    slug="two_layer_linear_gd",
    title="A Local Polyak-Łojasiewicz and Descent Lemma of Gradient Descent for Overparametrized Linear Models",
    authors=("Ziqing Xu", "Hancheng Min", "Salma Tarmoun", "Enrique Mallada", "René Vidal"),
    venue="Transactions on Machine Learning Research",
    year=2025,
    arxiv="2505.11664",
    room="lowrank",
    entry="article",
    source_quality="full text read: statements, tables, experiments; proofs skimmed; no public code found",
    setting=r"Minimise a $\mu$-strongly convex, $K$-smooth loss of $W$ through two factors, $W = W_1W_2^T$. At a point"
    r" the loss of the factors has the constants $\mu a$ and $K_t$, from the extreme singular values of the factors;"
    r" the imbalance $W_1^TW_1 - W_2^TW_2$, nearly kept, certifies them for the whole run, so that descent has a"
    r" linear rate from general starts.",
    method=r"Descent on $L(W_1, W_2) = \ell(W_1W_2^T)$: $W_1 \leftarrow W_1 - \eta\,GW_2$ and $W_2 \leftarrow W_2 -"
    r" \eta\,G^TW_1$ with $G = \nabla\ell$. At a point $\frac12|\nabla L|^2 \ge \mu a\,(L - L^*)$ with $a ="
    r" \sigma_n^2(W_1) + \sigma_m^2(W_2)$, and a descent lemma with a local $K_t$ holds along the step, so that"
    r" $L_{t+1} - L^* \le (1 - 2\eta_t\mu a_t + \mu a_t K_t\eta_t^2)(L_t - L^*)$. The imbalance $W_1^TW_1 -"
    r" W_2^TW_2$ bounds $a_t$ from below for the whole run.",
    experiments=(
        Experiment(
            "descent",
            "constant and adaptive steps, with their bounds",
            sizes=WORDS,
            run=run_descent,
            plot=plot_descent,
            seconds={"paper": 66.0},
            claims=(
                Claim(
                    "one_step",
                    r"Every step contracts the loss by $1 - 2\mu_t\eta + \mu_tK_t\eta^2$ or more.",
                    "Theorem 3.1",
                    check_one_step,
                ),
                Claim(
                    "local_pl",
                    r"Half the squared gradient is at least $\mu a_t$ times the loss.",
                    "Theorem 3.1",
                    check_pl,
                ),
                Claim(
                    "global_rate",
                    "No step's bound exceeds the global rate, which the start alone gives.",
                    "Theorem 3.2",
                    check_global,
                ),
                Claim(
                    "window",
                    "Along the run $a_t$ and $s_t$ stay between the bounds that the start gives.",
                    "Lemma 3.1",
                    check_window,
                ),
                Claim(
                    "adaptive_faster",
                    "The adaptive rule descends faster than its own first step size, kept constant.",
                    "Figure 1",
                    compare_rules("paper", "constant"),
                ),
                Claim(
                    "local_faster",
                    "Steps by the local smoothness, without a growing bound, are faster still.",
                    HERE,
                    compare_rules("local", "paper"),
                ),
                Claim(
                    "figure_ratio",
                    r"At $h = 500$ and noise 0.01 a draw has $\alpha_1/\alpha_2 = 0.555$.",
                    "Figure 1, title",
                    check_titles,
                ),
            ),
        ),
        Experiment(
            "width",
            "conditioning by width and scale",
            sizes=WORDS,
            run=run_width,
            plot=plot_width,
            seconds={"paper": 1.0},
            claims=(
                Claim(
                    "wider_better",
                    "The certified conditioning grows with the width, at every scale.",
                    "Appendix G.1",
                    check_wider,
                ),
                Claim(
                    "smaller_power_better",
                    "Entries $N(0, h^{-2p})$ are certified to be conditioned better for smaller $p$.",
                    "Theorem 3.3",
                    check_power,
                ),
                Claim(
                    "larger_power_better",
                    "They are conditioned better for larger $p$.",
                    "Appendix G.1, text",
                    check_power_reversed,
                    expected="fails",
                    why=(
                        r"$\alpha_2$ holds the margin $\beta_2$, which weighs more as the entries shrink: "
                        "Theorem 3.3 has it right"
                    ),
                ),
                Claim("scale_free", "The conditioning $a/s$ itself does not depend on $p$.", HERE, check_scale_free),
            ),
        ),
        Experiment(
            "shapes",
            "certificates for square and oblong products",
            sizes=WORDS,
            run=run_shapes,
            plot=plot_shapes,
            seconds={"paper": 5.0},
            claims=(
                Claim(
                    "certificate_square",
                    (r"$\alpha_1$ with the smallest singular value in both roots is at most $a$, for $n = " "m$."),
                    TABLE,
                    check_below("claimed", "n = m"),
                ),
                Claim(
                    "certificate_oblong",
                    r"It is at most $a$ for $n \ne m$.",
                    TABLE,
                    check_below("claimed", "n != m"),
                    expected="fails",
                    why=("the larger factor has no singular value of that index: its root must have zero in its place"),
                ),
                Claim(
                    "certificate_corrected",
                    "With zero in that root it is at most $a$ in every shape.",
                    HERE,
                    lambda dataset: check_below("corrected", ["n = m", "n != m"])(dataset),
                ),
                Claim("certificate_above", r"$\alpha_2$ is at least $s$ in every shape.", TABLE, check_above),
            ),
        ),
        Experiment(
            "plain",
            "wide networks follow descent in the product itself",
            sizes=WORDS,
            run=run_plain,
            plot=plot_plain,
            seconds={"paper": 3.0},
            claims=(
                Claim(
                    "matches_plain",
                    "The wider the network, the nearer its rate is to that of descent in $W$ itself.",
                    "Appendix G.2",
                    check_plain,
                ),
            ),
        ),
    ),
)
