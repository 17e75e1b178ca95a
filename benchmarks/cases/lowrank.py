"""Robust recovery with OPSA: single runs, lanes that share the measurements, and measurements without matrices."""

import importlib.util
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import numpy as np
from harness import Case, Entry

import theorylab as tl

N, TRUE_RANK, RANK, MEASUREMENTS, LANES = 100, 5, 10, 5000, 16
DAMPING, OUTLIERS = 1e-2, 0.1


def steps(quick: bool) -> int:
    return 3 if quick else 30


def problem() -> tl.lowrank.SensingProblem:
    """Single precision; the matrices are drawn on the device and nowhere else."""
    jax.config.update("jax_enable_x64", False)
    return tl.lowrank.sensing_problem(
        jax.random.key(0), shape=(N, N), true_rank=TRUE_RANK, measurements=MEASUREMENTS, outliers=OUTLIERS
    )


def starts(count: int) -> tuple:
    keys = jax.random.split(jax.random.key(1))
    return tuple(jax.random.normal(key, (count, N, RANK)) for key in keys)


def run_of(total: int) -> Callable:
    """A run from given factors, of the library's step."""
    method = tl.lowrank.PreconditionedSubgradient(DAMPING)

    def run(problem, x0):
        key = jax.random.key(0)

        def one(state, _):
            state = method.step(problem, state, key)
            return state, state.gap

        state, gaps = jax.lax.scan(one, method.init(problem, key, x0), length=total)
        return state.x, gaps

    return run


def waited(fn: Callable, *args) -> Entry:
    compiled = jax.jit(jax.default_matmul_precision("highest")(fn))
    return Entry(lambda: jax.block_until_ready(compiled(*args)))


def numpy_lanes(A, y, sizes, L, R, total: int):
    """NumPy at its best: the lanes are the rows of one matrix product, both ways; one lane is a vector."""
    lanes, eye = len(L), DAMPING * np.eye(RANK, dtype=np.float32)
    one = lanes == 1
    for _ in range(total):
        X = (L @ R.mT).reshape(lanes, -1)
        z = (A @ X[0] if one else X @ A.T) - y
        signs = np.sign(z).reshape(lanes, -1)
        S = ((signs[0] @ A if one else signs @ A) / MEASUREMENTS).reshape(lanes, N, N)
        of_L, of_R = S @ R, S.mT @ L
        along_L = np.linalg.solve(R.mT @ R + eye, of_L.mT).mT
        along_R = np.linalg.solve(L.mT @ L + eye, of_R.mT).mT
        gap = np.mean(np.abs(z).reshape(lanes, -1) - sizes, axis=-1)
        size = (gap / (np.sum(of_L * along_L, (1, 2)) + np.sum(of_R * along_R, (1, 2))))[:, None, None]
        L, R = L - size * along_L, R - size * along_R
    return L, R


def torch_lanes(A, y, sizes, L, R, total: int) -> Entry | None:
    if importlib.util.find_spec("torch") is None:
        return None
    torch: Any = importlib.import_module("torch")
    torch.set_num_threads(1)
    A, y, sizes, L0, R0 = (torch.from_numpy(np.array(array, copy=array is not A)) for array in (A, y, sizes, L, R))
    eye = DAMPING * torch.eye(RANK)

    @torch.no_grad()
    def run():
        L, R = L0, R0
        for _ in range(total):
            z = (L @ R.mT).reshape(len(L), -1) @ A.T - y
            S = (torch.sign(z) @ A / MEASUREMENTS).reshape(-1, N, N)
            of_L, of_R = S @ R, S.mT @ L
            along_L = torch.linalg.solve(R.mT @ R + eye, of_L.mT).mT
            along_R = torch.linalg.solve(L.mT @ L + eye, of_R.mT).mT
            gap = torch.mean(z.abs() - sizes, -1)
            size = (gap / ((of_L * along_L).sum((1, 2)) + (of_R * along_R).sum((1, 2))))[:, None, None]
            L, R = L - size * along_L, R - size * along_R
        return L, R

    return Entry(run)


def scaled(fn: Callable, factor: float) -> Entry:
    """A part of the work, whose time counts so many times."""

    def run():
        start = time.process_time()
        fn()
        return (time.process_time() - start) * factor

    return Entry(run, cost=lambda seconds: seconds)


def arrays(given) -> tuple:
    """For NumPy, without a copy of the matrices."""
    return np.asarray(given.operator.rows), np.asarray(given.observations), np.abs(np.asarray(given.noise))


def one_lane(quick: bool) -> dict[str, Entry]:
    given, total = problem(), steps(quick)
    L, R = starts(1)
    A, y, sizes = arrays(given)
    L0, R0 = np.asarray(L), np.asarray(R)
    entries = {
        "theorylab": waited(run_of(total), given, (L[0], R[0])),
        "NumPy": Entry(partial(numpy_lanes, A, y, sizes, L0, R0, total)),
    }
    peer = torch_lanes(A, y, sizes, L0, R0, total)
    return entries if peer is None else entries | {"torch": peer}


def many_lanes(quick: bool) -> dict[str, Entry]:
    given, total = problem(), steps(quick)
    L, R = starts(LANES)
    A, y, sizes = arrays(given)
    L0, R0 = np.asarray(L), np.asarray(R)
    dampings = np.full(LANES, DAMPING, np.float32)

    def build(key, *, damping):
        return tl.lowrank.PreconditionedSubgradient(damping), given, (L[0], R[0])

    entries = {
        "theorylab, steps under vmap": waited(jax.vmap(run_of(total), (None, 0)), given, (L, R)),
        "theorylab, a whole sweep over the damping": Entry(
            lambda: tl.sweep(build, over={"damping": dampings}, key=0, steps=total)
        ),
        "NumPy, lane by lane": scaled(partial(numpy_lanes, A, y, sizes, L0[:1], R0[:1], total), LANES),
        "NumPy, lanes as one matrix product": Entry(partial(numpy_lanes, A, y, sizes, L0, R0, total)),
    }
    peer = torch_lanes(A, y, sizes, L0, R0, total)
    return entries if peer is None else entries | {"torch, lanes as one matrix product": peer}


def rank_one(quick: bool) -> dict[str, Entry]:
    dense, total = problem(), steps(quick)
    L, R = starts(1)
    truth = tl.lowrank.low_rank_matrix(jax.random.key(4), (N, N), TRUE_RANK)
    operator = tl.lowrank.RankOneSensing(jax.random.key(2), (N, N), MEASUREMENTS)
    given = tl.lowrank.corrupted_problem(jax.random.key(3), operator, truth, outliers=OUTLIERS)
    x0 = (L[0], R[0])
    return {
        "theorylab": waited(run_of(20 * total), given, x0),
        "theorylab, dense measurements of the same size": scaled(waited(run_of(total), dense, x0).run, 20),
    }


def device(lanes: int, quick: bool) -> dict[str, Entry]:
    """On an accelerator: an iteration beside the least that it can cost, one reading of the matrices."""
    given: Any = problem()
    total = steps(quick)
    L, R = starts(lanes)

    def reading(rows):
        def one(carry, _):
            # the carry enters, or a compiler would read once for all
            return carry + jax.numpy.sum(rows + carry) * 1e-20, None

        return jax.lax.scan(one, jax.numpy.zeros((), rows.dtype), length=total)[0]

    return {
        "theorylab": waited(jax.vmap(run_of(total), (None, 0)), given, (L, R)),
        "one reading of the matrices an iteration": waited(reading, given.operator.rows),
    }


SIZE = f"{N} x {N}, true rank {TRUE_RANK}, rank {RANK}, m = {MEASUREMENTS}"
CASES = [
    Case(
        name="opsa_one_lane",
        room="lowrank",
        make=one_lane,
        work=lambda quick: float(steps(quick)),
        unit="lane-iterations",
        size=SIZE + ", dense",
        dtype="float32",
        flops=4.0 * MEASUREMENTS * N**2,
        target={"NumPy": 0.95},
        note="steps of one run",
    ),
    Case(
        name="opsa_16_lanes",
        room="lowrank",
        make=many_lanes,
        work=lambda quick: float(LANES * steps(quick)),
        unit="lane-iterations",
        size=SIZE + f", dense, {LANES} lanes that share the measurements",
        dtype="float32",
        flops=4.0 * MEASUREMENTS * N**2,
        target={
            "NumPy, lane by lane": 6.0,
            "NumPy, lanes as one matrix product": 1.1,
            "torch, lanes as one matrix product": 1.1,
        },
        note="steps of all lanes",
    ),
    Case(
        name="opsa_rank_one",
        room="lowrank",
        make=rank_one,
        work=lambda quick: 20.0 * steps(quick),
        unit="lane-iterations",
        size=SIZE + ", measurements a b'",
        dtype="float32",
        flops=8.0 * MEASUREMENTS * N * RANK,
        target={"theorylab, dense measurements of the same size": 20.0},
        note="another ensemble: like is compared with unlike, at the same size",
    ),
    *(
        Case(
            name=f"opsa_gpu_{lanes}_lanes",
            room="lowrank",
            make=partial(device, lanes),
            work=lambda quick, lanes=lanes: float(lanes * steps(quick)),
            unit="lane-iterations",
            size=SIZE + f", dense, lanes: {lanes}",
            dtype="float32",
            target=target,
            note="the goals are 0.8 of the bandwidth for one lane, and 1e5 lane-iterations a second for 64",
            accelerator=True,
        )
        for lanes, target in ((1, {"one reading of the matrices an iteration": 0.8}), (64, {}))
    ),
]
