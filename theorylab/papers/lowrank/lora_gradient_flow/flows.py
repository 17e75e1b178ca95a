"""What the experiments share: layers with common singular vectors, small starts, flows, and what is read of them."""

from typing import Any

import numpy as np

import theorylab.lowrank as lowrank

SIDE, RANK, SIGMA = 10, 4, 5.0  # of the paper's matrices, adapters and difference
UNIT = np.linspace(0, 1, 41)
FLOW = {"rtol": 1e-13, "atol": 1e-18}


def as_adapters(*parts) -> Any:
    """Adapters of NumPy arrays."""
    make: Any = lowrank.lora.Adapters
    return make(*parts)


def layers(rng, hidden, ratio, differences) -> Any:
    """(W1, W2, target) with W2 W1 standard normal, and by direction u, g, v and the sizes of difference and layers.

    `differences` gives the size on a pair of singular vectors by its place; the layers' quotient is `ratio`.
    """
    U, size, Vt = np.linalg.svd(rng.standard_normal((SIDE, SIDE)))
    G, _ = np.linalg.qr(rng.standard_normal((hidden, SIDE)))
    W1, W2 = (G * np.sqrt(size * ratio)) @ Vt, (U * np.sqrt(size / ratio)) @ G.T
    places = list(differences)
    on = {"u": U.T[places], "g": G.T[places], "v": Vt[places], "delta": np.asarray(list(differences.values())),
          "w1": np.sqrt(size[places] * ratio), "w2": np.sqrt(size[places] / ratio)}  # fmt: skip
    return (W1, W2, W2 @ W1 + (on["u"].T * on["delta"]) @ on["v"]), on


def gaussian(rng, hidden) -> Any:
    """The small start at scale one."""
    A1, A2 = (rng.standard_normal((RANK, side)) for side in (SIDE, hidden))
    return as_adapters(A1, np.zeros((hidden, RANK)), A2, np.zeros((SIDE, RANK)))


def scaled(start, scale) -> Any:
    return as_adapters(*(scale * one for one in start))


def spectral(weights, lengths) -> Any:
    """The spectral start with rows of such lengths."""
    W1, W2, target = weights
    return lowrank.spectral_init(W1, W2, target, RANK, lengths)


def around(weights, start, time, **tolerances) -> Any:
    """What is predicted of a small start: the flow around the one direction."""
    W1, W2, target = weights
    return lowrank.lora.rank_one_lora_flow(W1, W2, target, start, time, **tolerances)


def flow(weights, start, time) -> Any:
    """Adapters and loss along the flow: lane by lane, since each steps as it needs, and one program serves all."""
    import jax

    (W1, W2, target), start, time = jax.tree.map(jax.numpy.asarray, (weights, start, time))
    found = lowrank.two_layer_lora_flow(W1, W2, target, start, time, **FLOW)
    return as_adapters(*map(np.asarray, found.adapters)), np.asarray(found.loss)


def sizes(adapters) -> Any:
    """The norms of Z1 and Z2."""
    squares = [np.sum(one**2, (-2, -1)) for one in adapters]
    return np.sqrt(squares[0] + squares[1]), np.sqrt(squares[2] + squares[3])


def misalignments(adapters, on) -> Any:
    """1 - cos of either layer."""
    (A1, B1, A2, B2), (u, g, v) = adapters, (on[name][0] for name in "ugv")
    return lowrank.lora.misalignment(A1, B1, g, v), lowrank.lora.misalignment(A2, B2, u, g)


def grown(adapters, on) -> Any:
    """What Z1 and Z2 have along their growing directions."""
    (A1, B1, A2, B2), (u, g, v) = adapters, (on[name][0] for name in "ugv")
    return [np.linalg.norm(one, axis=-1) / np.sqrt(2) for one in (B1.mT @ g + A1 @ v, B2.mT @ u + A2 @ g)]


def powers(values) -> Any:
    """The local powers of the scale, between neighbours."""
    return np.log(values).diff("scale") / np.log(values.scale).diff("scale")
