"""
Background of a film, with whatever moves in front of it
========================================================

A camera that stands still sees the same scene in changing light, and things that pass. As a matrix with a column for
each frame, the scene has a low rank, and what passes is a gross error on some of the pixels. Robust recovery finds
the scene from all frames at once, though each pixel is hidden now and then, and nothing tells it where.
"""

# %%
# A film
# ------
# The photograph of a temple that comes with scikit-learn, in changing light and with a glow that drifts in: rank two.
# A dark balloon and a pale car pass in front of it.

import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import load_sample_image

import theorylab as tl

grey = load_sample_image("china.jpg").mean(axis=2)[:424, :640] / 255
scene = grey.reshape(53, 8, 80, 8).mean(axis=(1, 3))
y, x = np.meshgrid(np.arange(53), np.arange(80), indexing="ij")
time = np.linspace(0, 1, 60)[:, None, None]

truth = 0.6 * scene * (1 + 0.3 * np.sin(2 * np.pi * time)) + 0.3 * time * np.exp(-x / 40)
balloon = np.hypot(x - 5 - 70 * time, y - 15 - 10 * time) < 6
car = (abs(x - 75 + 70 * time) < 3) & (y > 38)
film = np.where(balloon, 0.0, np.where(car, 1.0, truth))  # (frame, y, x)

# %%
# The background
# --------------
# Factors L (pixels, rank) and R (frames, rank), from a truncated singular value decomposition on. The steps fall
# geometrically, so that nothing needs to be known of the truth. Rank two is one for the light and one for the glow. A
# larger one would begin to explain what moves: it is large, and the same in all frames but for its place.

columns = jnp.asarray(film.reshape(60, -1).T, jnp.float32)
problem = tl.lowrank.SensingProblem(tl.lowrank.IdentitySensing(columns.shape), columns.reshape(-1))
start = tl.lowrank.truncated_spectral_init(problem, rank=2, outliers=0.0)
method = tl.lowrank.PreconditionedSubgradient(damping=1e-3, step="geometric", decay=0.97)
run = tl.solve(method, problem, start, key=0, steps=240)


def frames(factors):
    return np.asarray(factors[0] @ factors[1].T).T.reshape(film.shape)


background, smeared = frames(run.value), frames(start)
print(f"off by {np.linalg.norm(background - truth) / np.linalg.norm(truth):.4f}")
print(f"the plain decomposition: {np.linalg.norm(smeared - truth) / np.linalg.norm(truth):.4f}")

# %%
# What moves
# ----------
# Whatever the background does not explain. The plain decomposition, which is the best one in least squares, leaves
# ghosts.

rows = {
    "film": film,
    "background": background,
    "what moves": np.where(abs(film - background) > 0.1, film, np.nan),
    "by plain SVD": np.where(abs(film - smeared) > 0.1, film, np.nan),
}
with tl.figures.style():
    figure, axes = plt.subplots(4, 4, figsize=(9, 6.4), layout="constrained")
    for row, (name, pictures) in zip(axes, rows.items(), strict=True):
        for panel, frame in zip(row, (6, 22, 38, 54), strict=True):
            panel.imshow(pictures[frame], cmap=plt.get_cmap("gray").with_extremes(bad="#8fb8d8"), vmin=0, vmax=1)
            panel.set(xticks=[], yticks=[])
            panel.grid(visible=False)
            panel.spines[:].set_visible(False)
        row[0].set_ylabel(name)
    for panel, frame in zip(axes[0], (6, 22, 38, 54), strict=True):
        panel.set_title(f"frame {frame}")

# %%
# For a film of your own, stack the frames as columns, choose the least rank that explains the light, and try `decay`
# between 0.95 and 0.99: a slower fall takes longer and forgives more. The paper behind it runs with `theorylab run
# opsa_robust_recovery`.
