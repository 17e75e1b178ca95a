"""
The exact denoiser of a mixture, on digits
==========================================

Fit a mixture of Gaussians to pictures by EM. Its best denoiser is then known in closed form, at every level of noise,
without any training: it removes noise, and it draws new pictures.
"""

# %%
# From EM to a denoiser
# ---------------------

import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import load_digits

import theorylab as tl

pictures = (load_digits().images.reshape(-1, 64) / 8 - 1).astype("float32")  # (1797, 64), from -1 to 1
train, test = pictures[:1500], pictures[1500:]

mixture = tl.diffusion.GaussianMixture.fit(train, 20, seed=0)
schedule = tl.diffusion.Schedule.linear_beta(1e-3, 0.2, 50)
denoiser = tl.diffusion.bayes_denoiser(mixture, schedule)  # (x, t) -> the noise in x, at level t

# %%
# Noise off
# ---------
# Digits that it has not seen, noised to three levels. What is left of the noise is what nobody could know, if digits
# were the mixture.

levels = (5, 15, 25)
clean = jnp.asarray(test[:6])
noise = jax.random.normal(jax.random.key(0), clean.shape)
rows = {"clean": clean}
for t in levels:
    noised = tl.diffusion.diffuse(clean, t, noise, schedule)
    rows[f"noised,\nlevel {t}"] = noised
    rows[f"denoised,\nlevel {t}"] = jax.vmap(mixture.expected_clean, (0, None))(noised, schedule.alpha_bar[t])

# %%
# New digits
# ----------
# Noise at the last level, taken down level by level. DDIM needs a fifth of the steps.

start = jax.random.normal(jax.random.key(1), (256, 64))
drawn = tl.diffusion.sample_ancestral(denoiser, schedule, start, jax.random.key(2))
fast = tl.diffusion.sample_ddim(denoiser, schedule, start, steps=10)
sets = {"noise": start, "ancestral, 50 steps": drawn, "DDIM, 10 steps": fast, "training": train[:256]}
for name, points in sets.items():
    distance = tl.diffusion.sliced_wasserstein(jnp.asarray(points), jnp.asarray(test), key=jax.random.key(3))
    print(f"{name}: distance from test digits {distance:.2f}")

# %%
# The last print is what pictures of the data themselves show: finite samples are never at distance zero.

rows["drawn,\nancestral"], rows["drawn,\nDDIM"] = drawn[:6], fast[:6]
with tl.figures.style():
    figure, axes = plt.subplots(len(rows), 6, figsize=(5.6, 8.4), layout="constrained")
    for line, (name, points) in zip(axes, rows.items(), strict=True):
        for panel, picture in zip(line, np.asarray(points), strict=True):
            panel.imshow(picture.reshape(8, 8), cmap="gray_r", vmin=-1, vmax=1)
            panel.set(xticks=[], yticks=[])
            panel.grid(visible=False)
            panel.spines[:].set_visible(False)
        line[0].set_ylabel(name, rotation=0, ha="right", va="center")

# %%
# A network that is trained instead, and how it compares: :doc:`/guides/denoiser_of_your_data`.
