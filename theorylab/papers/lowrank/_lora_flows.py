"""What the experiments on the flow of LoRA share: layers with common singular vectors, starts, flows, readings."""

from typing import Any

import numpy as np

import theorylab.lowrank as lowrank

SIDE, RANK, SIGMA = 10, 4, 5.0  # of the paper's matrices, adapters and difference
UNIT = np.linspace(0, 1, 41)
FLOW = {"rtol": 1e-13, "atol": 1e-18}


def as_adapters(*parts) -> Any:
    """Adapters of NumPy arrays, for reading."""
    make: Any = lowrank.lora.Adapters
    return make(*parts)


def layers(rng, hidden, ratio, differences) -> Any:
    """W1, W2 with W2 W1 standard normal, the target, and by direction u, g, v and the sizes of difference and layers.

    `differences` gives the size on a pair of singular vectors by its place; the layers' quotient is `ratio`.
    """
    U, size, Vt = np.linalg.svd(rng.standard_normal((SIDE, SIDE)))
    G, _ = np.linalg.qr(rng.standard_normal((hidden, SIDE)))
    W1, W2 = (G * np.sqrt(size * ratio)) @ Vt, (U * np.sqrt(size / ratio)) @ G.T
    places = list(differences)
    on = {"u": U.T[places], "g": G.T[places], "v": Vt[places], "delta": np.asarray(list(differences.values())),
          "w1": np.sqrt(size[places] * ratio), "w2": np.sqrt(size[places] / ratio)}  # fmt: skip
    return W1, W2, W2 @ W1 + (on["u"].T * on["delta"]) @ on["v"], on


def gaussian(rng, hidden) -> Any:
    """The small start at scale one."""
    A1, A2 = (rng.standard_normal((RANK, side)) for side in (SIDE, hidden))
    return as_adapters(A1, np.zeros((hidden, RANK)), A2, np.zeros((SIDE, RANK)))


def scaled(start, scale) -> Any:
    return as_adapters(*(scale * one for one in start))


def flows(lanes) -> Any:
    """The flows of all lanes (W1, W2, target, adapters, ts), one by one: one program serves all experiments."""
    import jax
    import jax.numpy as jnp

    found = [lowrank.two_layer_lora_flow(*jax.tree.map(jnp.asarray, lane), **FLOW) for lane in lanes]
    return jax.tree.map(lambda *leaves: np.stack(leaves), *found)


def sizes(adapters) -> Any:
    """The norms of Z1 and Z2."""
    squares = [np.sum(one**2, (-2, -1)) for one in adapters]
    return np.sqrt(squares[0] + squares[1]), np.sqrt(squares[2] + squares[3])


def misalignments(lanes, on) -> Any:
    """1 - cos of either layer, lane by lane."""
    gap = lowrank.lora.misalignment
    found = [
        [gap(A1, B1, one["g"][0], one["v"][0]), gap(A2, B2, one["u"][0], one["g"][0])]
        for (A1, B1, A2, B2), one in zip(lanes, on, strict=True)
    ]
    return np.moveaxis(np.asarray(found), 1, 0)


def each(adapters) -> Any:
    """The adapters lane by lane."""
    return [as_adapters(*lane) for lane in zip(*adapters, strict=True)]


def grown(adapters, on) -> Any:
    """What Z1 and Z2 have along their growing directions."""
    A1, B1, A2, B2 = adapters
    u, g, v = on["u"][0], on["g"][0], on["v"][0]
    pairs = (B1.mT @ g + A1 @ v, B2.mT @ u + A2 @ g)
    return [np.linalg.norm(one, axis=-1) / np.sqrt(2) for one in pairs]


def rest(adapters, on) -> Any:
    """The squared spectral norm of what Z1 has off its growing direction."""
    A1, B1, _, _ = adapters
    g, v = on["g"][0], on["v"][0]
    along = (B1.mT @ g + A1 @ v)[..., None, :] / 2
    Z1 = np.concatenate([B1 - g[:, None] * along, A1.mT - v[:, None] * along], axis=-2)
    return np.linalg.norm(Z1, 2, axis=(-2, -1)) ** 2


def powers(values) -> Any:
    """The local powers of the scale, between neighbours, by seed."""
    return np.log(values).diff("scale") / np.log(values.scale).diff("scale")
