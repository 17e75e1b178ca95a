"""The denoising loss of one layer of attention, with its gradient: noise given, and noise drawn in the step."""

import importlib
import importlib.util
from collections.abc import Callable
from dataclasses import replace
from functools import cache, partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from harness import Case, Entry, checked

import theorylab as tl

LEVELS = 50
SHAPES = {"64": (1024, 64, 64), "128": (48, 256, 128), "8": (8192, 16, 8)}
DEVICE_SHAPE = (1024, 256, 128)
EAGER, SDPA, COMPILE, HALF = "PyTorch, eager", "PyTorch, SDPA", "PyTorch, compile", "PyTorch, bf16 autocast"


def size(shape: tuple[int, int, int], quick: bool) -> tuple[int, int, int]:
    return (shape[0] // 16, *shape[1:]) if quick else shape


def data(shape: tuple[int, int, int], dtype="float32"):
    """Clean points, levels, noise, and the matrices (W, S, V) with merged keys and queries."""
    jax.config.update("jax_enable_x64", False)
    rng = np.random.default_rng(0)
    x0, noise = (rng.normal(size=shape).astype("float32") for _ in range(2))
    t = rng.integers(0, LEVELS, shape[0]).astype("int32")
    d = shape[-1]
    matrices = [(rng.normal(size=(d, d)) * scale / d**0.5).astype("float32") for scale in (0.3, 1.0, 1.0)]
    schedule = tl.diffusion.Schedule.linear_alpha(0.98, 0.95, LEVELS)
    return schedule, jnp.asarray(x0, dtype), t, jnp.asarray(noise, dtype), [jnp.asarray(m, dtype) for m in matrices]


def ours(schedule, x0, t, noise, matrices, drawing: str | None = None) -> Callable[[], float]:
    """Loss and gradient with the noise given, or, with `drawing`, with levels and noise of the step's own."""

    @jax.jit
    def step(matrices, schedule, x0, t, noise, seed):
        given: dict[str, Any] = {"t": t, "noise": noise}
        if drawing:
            given = {"key": jax.random.key(seed), "levels": "stratified", "noise": drawing}
        model: Any = tl.diffusion.SoftmaxAttention(*matrices)
        return jax.value_and_grad(lambda model: tl.diffusion.denoising_loss(model, x0, schedule, **given))(model)

    def run():
        loss, gradient = jax.block_until_ready(step(matrices, schedule, x0, t, noise, 0))
        assert np.isfinite(np.asarray(gradient.W, "float32")).all()
        return float(loss)

    return run


def torch_step(schedule, x0, t, noise, matrices, kind: str, *, draw: bool = False, device="cpu") -> Callable[[], float]:
    """The same by PyTorch, in one of its forms."""
    torch: Any = importlib.import_module("torch")
    torch.set_num_threads(1)
    root, rest = (np.asarray(r)[t][:, None, None] for r in (schedule.signal_root, schedule.noise_root))
    parts = [np.asarray(part, "float32") for part in (x0, noise, root, rest)]
    clean, given, root, rest = (torch.from_numpy(part.copy()).to(device) for part in parts)
    W, S, V = weights = [torch.tensor(np.asarray(m, "float32"), device=device, requires_grad=True) for m in matrices]

    def loss(x, noise):
        q = x @ W.T
        if SDPA in kind:
            values, x4, q4 = (x @ V.T)[:, None], x[:, None], q[:, None]
            mixed = torch.nn.functional.scaled_dot_product_attention(q4, x4, values, scale=1.0)[:, 0]
        else:
            mixed = (torch.softmax(q @ x.mT, -1) @ x) @ V.T
        return ((x @ S.T + mixed - noise) ** 2).mean()

    form = torch.compile(loss) if "compile" in kind else loss

    def run():
        for weight in weights:
            weight.grad = None
        noise = torch.randn_like(clean) if draw else given
        with torch.autocast(device, dtype=torch.bfloat16, enabled="bf16" in kind):
            value = form(root * clean + rest * noise, noise)
        value.backward()
        return float(value.detach())

    return run


def later(make: Callable, *args, **keywords) -> Callable[[], float]:
    """Made when it is first called, so that a competitor measured alone has no other's memory."""
    made = cache(lambda: make(*args, **keywords))
    return lambda: made()()


def given(shape: tuple[int, int, int], quick: bool) -> dict[str, Entry]:
    problem = data(size(shape, quick))
    solvers = {"theorylab": ours(*problem)}
    if importlib.util.find_spec("torch"):
        kinds = (EAGER, SDPA, HALF) if quick else (EAGER, SDPA, COMPILE, HALF)
        solvers |= {kind: later(torch_step, *problem, kind) for kind in kinds}
    entries = checked(solvers, 1e-4, {HALF: 1e-2})
    return {name: replace(entry, dtype="bfloat16" if name == HALF else "") for name, entry in entries.items()}


def drawn(shape: tuple[int, int, int], quick: bool) -> dict[str, Entry]:
    problem = data(size(shape, quick))
    solvers = {
        "theorylab, counter": ours(*problem, drawing="counter"),
        "theorylab, noise given": ours(*problem),
        "theorylab, threefry": ours(*problem, drawing="threefry"),
    }
    if importlib.util.find_spec("torch"):
        solvers["PyTorch, eager, noise in the step"] = later(torch_step, *problem, EAGER, draw=True)
    return checked(solvers, 0.1)  # other draws of noise, and other levels


def device(quick: bool) -> dict[str, Entry]:
    problem = data(size(DEVICE_SHAPE, quick), "bfloat16")
    solvers = {"theorylab, bf16": ours(*problem)}
    torch = importlib.import_module("torch") if importlib.util.find_spec("torch") else None
    if torch is not None and torch.cuda.is_available():
        kind = f"{SDPA}, compile, bf16 autocast"
        solvers[kind] = torch_step(*problem, kind, device="cuda")
    return checked(solvers, 3e-2)  # products of eight bits


def flops(shape: tuple[int, int, int]) -> float:
    """Of a point, forwards and backwards, each product counted three times."""
    _, n, d = shape
    return 3.0 * (6 * n * d**2 + 4 * n**2 * d)


def text(shape: tuple[int, int, int]) -> str:
    return "batch {}, {} tokens, d = {}".format(*shape)


CASES = [
    Case(
        name=f"attention_{name}",
        room="diffusion",
        make=partial(given, shape),
        work=lambda quick, shape=shape: float(size(shape, quick)[0]),
        unit="points",
        size=text(shape),
        dtype="float32",
        flops=flops(shape),
        target={EAGER: 1.4, SDPA: 1.4, COMPILE: 1.4, HALF: 1.1},
        note="loss and gradient, noise given",
    )
    for name, shape in SHAPES.items()
]
CASES += [
    Case(
        name=f"attention_{name}_noise",
        room="diffusion",
        make=partial(drawn, shape),
        work=lambda quick, shape=shape: float(size(shape, quick)[0]),
        unit="points",
        size=text(shape),
        dtype="float32",
        flops=flops(shape),
        target={"theorylab, noise given": 0.8},
        note="loss and gradient, noise drawn in the step",
    )
    for name, shape in SHAPES.items()
]
CASES += [
    Case(
        name="attention_device",
        room="diffusion",
        make=device,
        work=lambda quick: float(size(DEVICE_SHAPE, quick)[0]),
        unit="points",
        size=text(DEVICE_SHAPE),
        dtype="bfloat16",
        flops=flops(DEVICE_SHAPE),
        note="loss and gradient, noise given; the goal is 0.5 ms on an H200",
        accelerator=True,
    )
]
