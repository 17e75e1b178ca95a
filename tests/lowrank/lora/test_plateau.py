"""The prediction around one direction against the flow itself, its limits, and what it refuses."""

import jax.numpy as jnp
import numpy as np
import pytest

from theorylab.lowrank import lora

M, N, H, RANK, SIGMA = 4, 5, 7, 2, 3.0
DIRECTION = 1  # of the difference: not the layers' first
# from where the growing direction is the top singular vector
TS = np.asarray([2.0, 3.0, 5.0, 10.0, 40.0])


def setting(ratio):
    """W1, W2 and a target, with w1 = ratio, w2 = 1 on the difference's direction."""
    sides = (M, H, N)
    U, G, V = (np.linalg.qr(np.random.default_rng(k).standard_normal((side, M)))[0] for k, side in enumerate(sides))
    size = np.asarray([1.3, 1.0, 0.8, 0.7])
    W1, W2 = (G * (ratio * size)) @ V.T, (U * size[::-1] / size[::-1][DIRECTION]) @ G.T
    target = W2 @ W1 + SIGMA * np.outer(U[:, DIRECTION], V[:, DIRECTION])
    return W1, W2, target, (U[:, DIRECTION], G[:, DIRECTION], V[:, DIRECTION])


def start(scale):
    draws = np.random.default_rng(5)
    A1, A2 = (scale * draws.standard_normal((RANK, side)) for side in (N, H))
    return lora.Adapters(*map(jnp.asarray, (A1, np.zeros((H, RANK)), A2, np.zeros((M, RANK)))))


@pytest.fixture(scope="module", params=[0.3, 0.9])
def both(request):
    """The flow and its prediction at two scales; all else within one compiled program."""
    W1, W2, target, (u, g, v) = setting(request.param)
    found = {}
    for scale in (3e-2, 3e-3):
        begin = start(scale)
        flow = lora.two_layer_lora_flow(W1, W2, target, begin, jnp.asarray(TS), rtol=1e-12, atol=1e-16)
        A1, B1, A2, B2 = flow.adapters
        measured = {
            "loss": flow.loss,
            "misalignment1": lora.misalignment(A1, B1, g, v),
            "misalignment2": lora.misalignment(A2, B2, u, g),
            "norm1": np.sqrt(np.sum(A1**2, (1, 2)) + np.sum(B1**2, (1, 2))),
            "norm2": np.sqrt(np.sum(A2**2, (1, 2)) + np.sum(B2**2, (1, 2))),
        }
        predicted = lora.rank_one_lora_flow(W1, W2, target, begin, TS)
        found[scale] = {
            name: np.abs(np.asarray(value) / np.asarray(getattr(predicted, name)) - 1)
            for name, value in measured.items()
        }
    return found


@pytest.mark.parametrize("name", ["loss", "misalignment1", "misalignment2", "norm1", "norm2"])
def test_what_it_leaves_out_vanishes_with_the_scale(both, name):
    """Relative deviations: a tenth of the scale leaves a tenth or less."""
    # the second layer outgrows its start more slowly, and by alpha^(2 delta_w) only
    since, share = (2, 0.1**0.6 * 1.5) if name == "misalignment2" else (0, 0.12)
    large, small = (both[scale][name][since:].max() for scale in (3e-2, 3e-3))
    assert large < 0.3
    assert small < share * large


def test_without_other_directions_it_is_the_scalar_flow():
    W1, W2, target, _ = setting(0.5)
    begin = lora.spectral_init(W1, W2, target, 1, 0.2)
    ts = np.asarray([0.0, 0.3, 0.7, 1.0])
    found = lora.rank_one_lora_flow(W1, W2, target, begin, ts, atol=1e-14)
    alone = lora.scalar_lora_flow(SIGMA, 0.5, 1.0, 0.2, 0.2, jnp.asarray(ts), rtol=1e-12, atol=1e-14)
    assert np.allclose(found.loss, alone.loss, rtol=1e-9)
    assert np.allclose(found.norm1, np.hypot(alone.a1, alone.b1), rtol=1e-9)
    assert np.allclose(found.norm2, np.hypot(alone.a2, alone.b2), rtol=1e-9)


@pytest.mark.parametrize("ratio, scale", [(0.3, 1e-5), (0.6, 1e-7)])
def test_the_misalignment_is_a_power_of_the_scale(ratio, scale):
    """4 - 2 delta_w, to the second layer's share of the change and the first one's start: p2 and alpha^(2 delta_w)."""
    W1, W2, target, _ = setting(ratio)
    one, two = (
        lora.rank_one_lora_flow(W1, W2, target, start(size), np.asarray([60.0]), atol=1e-40)
        for size in (scale, scale / 10)
    )
    power = np.log10(float(one.misalignment1[0]) / float(two.misalignment1[0]))
    assert power == pytest.approx(4 - 2 * ratio, abs=10 * (float(one.norm2[0]) ** 2 + scale ** (2 * ratio)))


def test_bad_input():
    W1, W2, target, _ = setting(0.5)
    begin = start(0.1)
    with pytest.raises(ValueError, match=r"adapters\.B2 is not 0"):
        lora.rank_one_lora_flow(W1, W2, target, begin._replace(B2=begin.B2 + 1), TS)
    with pytest.raises(ValueError, match="must have rank one"):
        lora.rank_one_lora_flow(W1, W2, target + np.eye(M, N), begin, TS)
    with pytest.raises(ValueError, match="must have rank one"):
        lora.rank_one_lora_flow(W1, W2, W2 @ W1, begin, TS)
    with pytest.raises(ValueError, match="must share them"):
        lora.rank_one_lora_flow(W1, W2, W2 @ W1 + np.outer(np.ones(M), np.ones(N)), begin, TS)
    off = begin._replace(A1=jnp.zeros_like(begin.A1))
    with pytest.raises(ValueError, match="must not be orthogonal"):
        lora.rank_one_lora_flow(W1, W2, target, off, TS)
    with pytest.raises(ValueError, match=r"ts reaches 1\.0e\+20"):
        lora.rank_one_lora_flow(W1, W2, target, begin, 1e20 * np.ones(1))
