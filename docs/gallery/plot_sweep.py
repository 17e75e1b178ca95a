"""
4,096 lanes to a picture
========================

Where does extragradient settle on a bilinear game, and where does it leave? 64 step sizes times 64 look-ahead ratios,
run at once in one compiled program, and drawn by xarray, with the border that theory gives.
"""

# %%
# The sweep
# ---------
# `build` names its axes; all lanes share the game and the random draws.

import json

import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np

import theorylab as tl

game = tl.games.bilinear_game(jax.random.key(0), components=10, dim=4, mu=1.0, lipschitz=2.0, heterogeneous=False)


def distance(game, state):
    return jnp.linalg.norm(state.x - game.solution)


def build(key, *, step_size, ratio):
    return tl.games.Extragradient(step_size, ratio * step_size), game, game.solution + 1.0


over = {"step_size": np.geomspace(0.02, 1.0, 64), "ratio": np.linspace(0.0, 6.0, 64)}
record = tl.Record(tl.at([0, 50]), distance=distance)
ds = tl.sweep(build, over=over, key=1, steps=50, record=record)
stats = json.loads(ds.attrs["stats"])
print(dict(ds.distance.sizes), f"compiled {stats['blocks']} program, {stats['chunks']} chunks")

# %%
# The border
# ----------
# All components share their matrix, whose singular values s lie in [1, 2]. An update multiplies the squared distance
# along s by :math:`(1 - \gamma_1\gamma_2 s^2)^2 + \gamma_1^2 s^2`, so that runs settle where this is below one for
# both ends.

step, ratio = np.meshgrid(ds.step_size, ds.ratio, indexing="ij")
factor = np.max([(1 - ratio * step**2 * s**2) ** 2 + step**2 * s**2 for s in (1.0, 2.0)], axis=0)

with tl.figures.style():
    figure, axes = plt.subplots(figsize=(6.4, 4.6), layout="constrained")
    growth = np.log10(ds.distance.isel(step=1, seed=0) / ds.distance.isel(step=0, seed=0))
    growth = growth.fillna(9.0)  # lanes that left before the end
    growth.attrs["long_name"] = "log10 of the distance after 50 epochs over that at the start"
    growth.plot.pcolormesh(
        ax=axes, x="step_size", y="ratio", vmin=-3, vmax=3, cmap="PuOr_r", extend="both", xscale="log"
    )
    lines = axes.contour(step, ratio, factor, levels=[1.0], colors="black", linestyles="--")
    axes.set(xlabel=r"step size $\gamma_1$", ylabel=r"look-ahead ratio $\gamma_2 / \gamma_1$", title="")
    axes.plot([], [], "k--", label="border by theory")
    axes.legend(loc="upper left")
    axes.grid(visible=False)

# %%
# A lane that has left is no error: it has a status, and the others go on.

names = np.asarray(ds.status.attrs["flag_meanings"].split())
print({str(name): int((names[ds.status] == name).sum()) for name in np.unique(names[ds.status])})
agree = (growth < 0) == (factor < 1)
print(f"theory and run agree in {float(agree.mean()):.1%} of the lanes")
