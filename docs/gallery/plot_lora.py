"""
LoRA from a spectral start, on digits
=====================================

A network has learned upright digits. Adapters of rank four teach it digits that are turned by a quarter, while its
weights stay where they are. The spectral start takes the directions along which one full gradient step would move
each layer; the standard one is random.
"""

# %%
# A network that reads upright digits
# -----------------------------------

import equinox as eqx
import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np
import optax
from sklearn.datasets import load_digits

import theorylab as tl

pictures, labels = load_digits(return_X_y=True)
upright = jnp.asarray(pictures / 16, jnp.float32)
turned = jnp.rot90(upright.reshape(-1, 8, 8), axes=(1, 2)).reshape(-1, 64)
labels = jnp.asarray(labels, jnp.int32)
train, test = slice(0, None, 2), slice(1, None, 2)


def loss(model, x, labels):
    return jnp.mean(optax.softmax_cross_entropy_with_integer_labels(jax.vmap(model)(x), labels))


@eqx.filter_jit
def accuracy(model, x):
    return jnp.mean(jnp.argmax(jax.vmap(model)(x[test]), axis=1) == labels[test])


def fit(model, trained, x, steps):
    """Full-batch Adam on the leaves that are marked."""
    moving, frozen = eqx.partition(model, trained)
    run = tl.minimise(
        lambda moving, x, labels: loss(eqx.combine(moving, frozen), x, labels),
        moving,
        optax.adam(1e-2),
        args=(x[train], labels[train]),
        steps=steps,
    )
    return eqx.combine(run.value, frozen), run.trace


model = eqx.nn.MLP(64, 10, 64, 1, key=jax.random.key(0))
model, _ = fit(model, jax.tree.map(eqx.is_inexact_array, model), upright, 60)
print(f"upright {accuracy(model, upright):.2f}, turned {accuracy(model, turned):.2f}")

# %%
# Adapters
# --------
# `lorafy` puts them on, `adapters_only` marks them for training, and `merge_adapters` gives a plain network back.

gradient = eqx.filter_jit(eqx.filter_grad(loss))(model, turned[train], labels[train])
starts = {"spectral": tl.lowrank.lorafy(model, rank=4, where=lambda m: m.layers, gradient=gradient)}
for seed in range(3):
    key = jax.random.key(seed)
    starts[f"standard {seed}"] = tl.lowrank.lorafy(model, rank=4, where=lambda m: m.layers, init="standard", key=key)

curves, scores = {}, {}
for name, adapted in starts.items():
    tuned, trace = fit(adapted, tl.lowrank.lora.adapters_only(adapted), turned, 100)
    curves[name], scores[name] = trace.loss, accuracy(tl.lowrank.lora.merge_adapters(tuned), turned)
print({name: f"{score:.2f}" for name, score in scores.items()})

# %%
# The spectral start is ahead from the first steps on, and at the end
# -------------------------------------------------------------------

standard = [name for name in curves if name != "spectral"]
with tl.figures.style():
    figure, (left, right) = plt.subplots(1, 2, figsize=(9, 3.8), layout="constrained", width_ratios=(2, 1))
    tl.figures.measured(left, trace.step, curves["spectral"], label="spectral")
    tl.figures.measured(left, trace.step, [curves[name] for name in standard], label="standard, mean of three")
    left.set(xlabel="steps of Adam", ylabel="training loss", yscale="log")
    left.legend()
    right.bar(["spectral"], [scores["spectral"]], color=tl.figures.COLOURS[0])
    right.bar(["standard"], [np.mean([scores[name] for name in standard])], color=tl.figures.COLOURS[1])
    right.plot(["standard"] * 3, [scores[name] for name in standard], "o", color="black", markersize=4)
    right.set(ylabel="share of turned test digits read", ylim=(0, 1))

# %%
# On a network of your own nothing changes but `where`, which names the layers. It costs one gradient over the data
# and a singular value decomposition a layer. More: :doc:`/guides/lora_on_your_model`.
