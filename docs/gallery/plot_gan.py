"""
A small GAN, by reshuffled extragradient
========================================

A Wasserstein GAN whose solution is known: a linear generator, and a critic that is linear in the first and second
moments. Simultaneous gradient steps do not come near it, extragradient does, and reshuffled batches leave less noise
than independent ones.
"""

# %%
# The game
# --------
# The payoff of one sample, for the generator's parameters u and the critic's v. `min_max` makes the operator of the
# game from it.

import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np

import theorylab as tl

rng = np.random.default_rng(0)
mix = np.array([[0.8, 0.4], [0.0, 0.6]])
real = jnp.asarray(rng.standard_normal((256, 2)) @ mix + [0.5, -0.5], jnp.float32)
noise = jnp.asarray(rng.standard_normal((256, 2)), jnp.float32)


def moments(y):
    return jnp.stack([y[0], y[1], y[0] ** 2, y[1] ** 2, y[0] * y[1]])


def generate(u, z):
    return u["matrix"] @ z + u["shift"]


def payoff(u, v, i, data):
    real, noise = data
    return v @ (moments(real[i]) - moments(generate(u, noise[i])))


start = {"matrix": jnp.eye(2), "shift": jnp.zeros(2)}, jnp.zeros(5)
game = tl.games.min_max(payoff, 256, data=(real, noise), start=start)

# %%
# Three ways to play
# ------------------
# The same batches of 64, the same falling step, eight seeds. `error` is how far the generator's second moments are
# from the sample's.

target = jnp.mean(jax.vmap(moments)(real), axis=0)


def error(game, state):
    fake = jax.vmap(generate, (None, 0))(state.x[0], noise)
    return jnp.linalg.norm(jnp.mean(jax.vmap(moments)(fake), axis=0) - target)


def build(key, *, way):
    rate = tl.games.Power(30.0, 1.0, 100.0)  # 0.3 at first, then as 30 / t
    if way == "descent-ascent":
        return tl.games.GradientDescentAscent(rate, batch_size=64), game
    order = "independent" if way == "extragradient, independent" else "reshuffle"
    return tl.games.Extragradient(rate, 0.4, order=order, batch_size=64), game


ways = ["descent-ascent", "extragradient, independent", "extragradient, reshuffled"]
record = tl.Record(tl.every(5), error=error)
ds = tl.sweep(build, over={"way": ways}, seeds=8, key=0, steps=200, record=record)
print(ds.error.isel(step=-1).median("seed").to_series().round(3))

# %%
# What comes out
# --------------

best = ds.sel(way=ways[2], seed=0)
tuned = {"matrix": best["value.0.matrix"].values, "shift": best["value.0.shift"].values}
fake = jax.vmap(generate, (None, 0))(tuned, jax.random.normal(jax.random.key(1), (256, 2)))
with tl.figures.style():
    figure, (left, right) = plt.subplots(1, 2, figsize=(9, 4.6), layout="constrained")
    for way in ways:
        tl.figures.measured(left, ds.step, ds.error.sel(way=way), label=way)
    left.set(yscale="log", xlabel="epochs", ylabel="distance of the moments")
    left.legend(loc="lower left", bbox_to_anchor=(0.0, 1.0))
    for points, name in ((real, "real"), (fake, "generated, from new noise")):
        right.plot(*points.T, "o", markersize=4, alpha=0.6, label=name)
    right.set(xlabel="$y_1$", ylabel="$y_2$", aspect="equal")
    right.legend(loc="lower left", bbox_to_anchor=(0.0, 1.0))

# %%
# In a training loop with networks the same takes three changed lines: :doc:`/guides/extragradient_in_training`.
