"""The gradient flow of low-rank adapters: any difference, one of low rank, and sweeps of starts."""

import time
from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from harness import Case, Entry, checked

import theorylab as tl

RANK, TRUE_RANK, LANES, END = 8, 16, 64, 30.0
TOLERANCES: dict[str, Any] = {"rtol": 1e-6, "atol": 1e-9}


def side(n: int, quick: bool) -> int:
    return n // 5 if quick else n


def data(n: int, noise: float = 0.0, dtype="float64"):
    """A difference with singular values about 1, plus noise of full rank; starts with B = 0; one time."""
    jax.config.update("jax_enable_x64", dtype == "float64")
    rng = np.random.default_rng(0)
    difference = rng.normal(size=(n, TRUE_RANK)) @ rng.normal(size=(TRUE_RANK, n)) / n
    difference += noise * rng.normal(size=(n, n)) / np.sqrt(n)
    starts = rng.normal(size=(LANES, RANK, n)) / np.sqrt(n)
    return tuple(jnp.asarray(x, dtype) for x in (difference, starts, np.zeros((n, RANK)), np.asarray([END])))


def diffrax_peer(D, A0, B0) -> Callable:
    """diffrax as its documentation would have it, by the residual."""
    import diffrax

    def field(t, y, D):
        A, B = y
        E = D - B @ A
        return B.T @ E, E @ A.T

    @jax.jit
    def solve(D, A0, B0):
        ends: Any = diffrax.diffeqsolve(
            diffrax.ODETerm(field),
            diffrax.Tsit5(),
            0.0,
            END,
            None,
            (A0, B0),
            args=D,
            stepsize_controller=diffrax.PIDController(**TOLERANCES),
        ).ys
        A, B = ends
        return jnp.sum((D - B[0] @ A[0]) ** 2) / 2

    return lambda: float(solve(D, A0, B0))


def scipy_peer(D, A0, B0) -> Callable:
    """DOP853, the quicker of SciPy's explicit methods here."""
    from scipy.integrate import solve_ivp

    D, A0, B0 = map(np.asarray, (D, A0, B0))

    def split(y):
        return y[: A0.size].reshape(A0.shape), y[A0.size :].reshape(B0.shape)

    def field(t, y):
        A, B = split(y)
        E = D - B @ A
        return np.concatenate([(B.T @ E).ravel(), (E @ A.T).ravel()])

    def solve():
        start = np.concatenate([A0.ravel(), B0.ravel()])
        A, B = split(solve_ivp(field, (0.0, END), start, method="DOP853", **TOLERANCES).y[:, -1])
        return np.sum((D - B @ A) ** 2) / 2

    return solve


def one(n: int, noise: float, quick: bool) -> dict[str, Entry]:
    D, starts, B0, ts = data(side(n, quick), noise)
    A0 = starts[0]
    solvers = {
        "theorylab": lambda: float(tl.lowrank.lora_flow(D, A0, B0, ts, **TOLERANCES).loss[0]),
        "diffrax, Tsit5, by the residual": diffrax_peer(D, A0, B0),
        "SciPy, DOP853": scipy_peer(D, A0, B0),
    }
    return checked(solvers, 1e-4)  # a hundred tolerances of the solvers


def sweep(noise: float, quick: bool) -> dict[str, Entry]:
    D, starts, B0, ts = data(side(500, quick), noise)
    # no jit around: the difference would become a constant of the program
    lanes = jax.vmap(lambda A: tl.lowrank.lora_flow(D, A, B0, ts, **TOLERANCES).loss[0])
    single = scipy_peer(D, starts[0], B0)

    def peer():
        start = time.process_time()
        single()
        return (time.process_time() - start) * LANES

    return {
        "theorylab": Entry(lambda: np.asarray(lanes(starts))),
        "SciPy, DOP853, lane by lane": Entry(peer, cost=lambda seconds: seconds),
    }


def device(noise: float, quick: bool) -> dict[str, Entry]:
    D, starts, B0, ts = data(side(1000, quick), noise, "float32")
    tolerances: dict[str, Any] = {"rtol": 1e-5, "atol": 1e-7}

    def flow(A):
        return tl.lowrank.lora_flow(D, A, B0, ts, **tolerances).loss[0]

    lanes = jax.vmap(flow)
    return {
        "theorylab, 64 lanes": Entry(lambda: np.asarray(lanes(starts))),
        "theorylab, lane by lane": Entry(lambda: [float(flow(A)) for A in starts]),
    }


FULL, SAME = "a difference of full rank", f"a difference of rank {TRUE_RANK}"
CASES = [
    Case(
        name=name,
        room="lora",
        make=partial(one, n, noise),
        work=lambda quick: 1.0,
        unit="solves",
        size=f"n = {n}, rank {RANK}, {kind}, t in [0, {END:g}], rtol 1e-6",
        dtype="float64",
        target=dict.fromkeys(("diffrax, Tsit5, by the residual", "SciPy, DOP853"), target) if target else {},
        note=note,
    )
    for name, n, noise, kind, target, note in (
        ("lora_any_difference", 500, 0.1, FULL, 2.2, "the search for a low rank, which fails, counts"),
        ("lora_low_rank", 500, 0.0, SAME, 25.0, "the search for the low rank counts"),
        ("lora_low_rank_1000", 1000, 0.0, SAME, None, "the search for the low rank counts; the goal is 100"),
    )
]
CASES += [
    Case(
        name=name,
        room="lora",
        make=partial(sweep, noise),
        work=lambda quick: float(LANES),
        unit="solves",
        size=f"n = 500, rank {RANK}, {kind}, {LANES} starts",
        dtype="float64",
        target={"SciPy, DOP853, lane by lane": 10.0} if target else {},
        rounds=2,
        note="a SciPy solve times the lanes",
    )
    for name, noise, kind, target in (
        ("lora_sweep_low_rank", 0.0, SAME, True),
        ("lora_sweep_any_difference", 0.1, FULL, False),
    )
]
CASES += [
    Case(
        name=name,
        room="lora",
        make=partial(device, noise),
        work=lambda quick: float(LANES),
        unit="solves",
        size=f"n = 1000, rank {RANK}, {kind}, {LANES} starts, rtol 1e-5",
        dtype="float32",
        accelerator=True,
    )
    for name, noise, kind in (("lora_gpu_low_rank", 0.0, SAME), ("lora_gpu_any_difference", 0.1, FULL))
]
