"""Stochastic extragradient with reshuffling and extrapolation: whole sweeps against the forms a user could write."""

import time
from collections.abc import Callable
from functools import partial
from typing import Literal

import jax
import jax.numpy as jnp
import numpy as np
from harness import Case, Entry

import theorylab as tl

N, STEPS, SEEDS = 100, 32, 4
RATES = np.geomspace(1e-4, 1e-2, STEPS)
MULTIPLIERS = (1, 2)
LANES = STEPS * len(MULTIPLIERS)


def epochs(quick: bool, d: int) -> int:
    return 4 if quick else 150 * 200**2 // (2 * d**2)


def game(d: int) -> tuple[np.ndarray, np.ndarray]:
    """General blocks: nothing shared between components, so that no shortcut applies."""
    rng = np.random.default_rng(0)
    return np.eye(d) + 0.3 * rng.normal(size=(N, d, d)) / np.sqrt(d), rng.normal(size=(N, d))


def extrapolated(step_size: float) -> tl.Method:
    return tl.games.Richardson(tl.games.Extragradient(step_size, 2 * step_size), MULTIPLIERS)


def plain(step_size: float) -> tl.Method:
    return tl.games.Extragradient(step_size, 2 * step_size)


def sweep(
    problem,
    total: int,
    method: Callable = extrapolated,
    rates=RATES,
    coupling: Literal["seed", "all"] = "seed",
    dtype="float64",
):
    """A whole call: tracing, building, running, the labelled result."""
    x0 = jnp.zeros(problem.d, dtype)

    def build(key, *, step_size):
        return method(step_size), problem, x0

    def error(problem, state):
        return jnp.sum((state.x - problem.solution) ** 2)

    return tl.sweep(
        build,
        over={"step_size": np.asarray(rates, dtype)},
        seeds=SEEDS if dtype == "float64" else GPU_SEEDS,
        key=0,
        steps=total,
        record=tl.Record(tl.every(1), error=error),
        coupling=coupling,
    )


def columns(matrices, offsets, solution, total):
    """NumPy at its best: the lanes of a seed are the columns of one matrix product."""
    rates = np.concatenate([m * RATES for m in MULTIPLIERS])
    for seed in range(SEEDS):
        rng, x, errors = np.random.default_rng(seed), np.zeros((len(solution), LANES)), []
        for _ in range(total):
            for i in rng.permutation(N):
                a, b = matrices[i], offsets[i][:, None]
                ahead = x - 2 * rates * (a @ x + b)
                x = x - rates * (a @ ahead + b)
            estimate = 2 * x[:, :STEPS] - x[:, STEPS:]
            errors.append(np.sum((estimate - solution[:, None]) ** 2, 0))


def one_by_one(matrices, offsets, solution, updates):
    """The form of the public code: run by run, the block matrix put together at each gradient, two norms a step."""
    h = len(solution) // 2
    blocks = [(a[:h, :h], a[:h, h:], a[h:, :h], a[h:, h:]) for a in matrices]

    def gradient(x, i):
        p, q, r, s = blocks[i]
        return np.block([[p, q], [r, s]]) @ x + offsets[i]

    order, x, rate = np.random.default_rng(0).permutation(N), np.zeros(len(solution)), RATES[0]
    start, errors = np.linalg.norm(x - solution), []
    for t in range(updates):
        i = order[t % N]
        x = x - rate * gradient(x - 2 * rate * gradient(x, i), i)
        errors.append(np.linalg.norm(x - solution) ** 2 / start**2)


def timed(fn: Callable, share: float) -> Entry:
    """Work that is linear in its length, run for a share of it."""

    def run():
        start = time.process_time()
        fn()
        return (time.process_time() - start) / share

    return Entry(run, cost=lambda seconds: seconds)


def flat_vmap(arrays, total: int) -> Entry:
    def lane(matrices, offsets, solution, rate, key):
        def update(x, i):
            ahead = x - 2 * rate * (matrices[i] @ x + offsets[i])
            return x - rate * (matrices[i] @ ahead + offsets[i]), None

        def epoch(x, t):
            x, _ = jax.lax.scan(update, x, jax.random.permutation(jax.random.fold_in(key, t), N))
            return x, jnp.sum((x - solution) ** 2)

        return jax.lax.scan(epoch, jnp.zeros(len(solution)), jnp.arange(some))[1]

    # a few of the epochs: the flat form is some ten times slower
    some = max(1, total // 25)
    flat = jax.jit(jax.vmap(lane, (None, None, None, 0, 0)))
    rates = jnp.tile(jnp.concatenate([m * jnp.asarray(RATES) for m in MULTIPLIERS]), SEEDS)
    keys = jnp.repeat(jax.random.split(jax.random.key(0), SEEDS), LANES)
    return timed(lambda: flat(*arrays, rates, keys).block_until_ready(), some / total)


def problem_and_arrays(d: int):
    jax.config.update("jax_enable_x64", True)
    matrices, offsets = game(d)
    problem = tl.games.AffineGame(jnp.asarray(matrices), jnp.asarray(offsets))
    return problem, (matrices, offsets, np.asarray(problem.solution))


def own_permutations(quick: bool) -> dict[str, Entry]:
    problem, arrays = problem_and_arrays(200)
    total = epochs(quick, 200)
    some = N * (1 if quick else 5)
    doubled = np.concatenate([m * RATES for m in MULTIPLIERS])
    return {
        "theorylab sweep": Entry(partial(sweep, problem, total)),
        "theorylab, as many lanes without extrapolation": Entry(partial(sweep, problem, total, plain, doubled)),
        "NumPy, a seed's lanes as columns": Entry(partial(columns, *arrays, total)),
        "NumPy, run by run": timed(partial(one_by_one, *arrays, some), some / (N * total * LANES * SEEDS)),
        "JAX, flat vmap": flat_vmap((problem.matrices, problem.offsets, problem.solution), total),
    }


def one_stream(quick: bool) -> dict[str, Entry]:
    problem, arrays = problem_and_arrays(200)
    total = epochs(quick, 200)
    return {
        "theorylab sweep, coupling='all'": Entry(partial(sweep, problem, total, coupling="all")),
        "NumPy, a seed's lanes as columns": Entry(partial(columns, *arrays, total)),
    }


def large(quick: bool) -> dict[str, Entry]:
    problem, (matrices, *_) = problem_and_arrays(400)
    total = epochs(quick, 400)
    lanes = np.random.default_rng(1).normal(size=(400, LANES * SEEDS))
    out = np.empty_like(lanes)

    def products():
        for _ in range(2 * total):
            for a in matrices:
                np.matmul(a, lanes, out=out)

    return {
        "theorylab sweep, coupling='all'": Entry(partial(sweep, problem, total, coupling="all")),
        "NumPy, its matrix products alone": Entry(products),
    }


GPU_SEEDS = 16  # 4,096 lanes: 16 seeds x 128 step sizes x 2 multipliers


def many(quick: bool) -> dict[str, Entry]:
    jax.config.update("jax_enable_x64", False)
    matrices, offsets = (array.astype(np.float32) for array in game(200))
    problem = tl.games.AffineGame(jnp.asarray(matrices), jnp.asarray(offsets))
    rates = np.geomspace(1e-4, 1e-2, 128)
    total = 1 if quick else 20
    return {
        "theorylab sweep": Entry(partial(sweep, problem, total, rates=rates, dtype="float32")),
        "theorylab sweep, coupling='all'": Entry(
            partial(sweep, problem, total, rates=rates, coupling="all", dtype="float32")
        ),
    }


def work(d: int, quick: bool) -> float:
    return float(N * LANES * SEEDS * epochs(quick, d))


WHOLE = "whole calls of sweep: tracing, building and the labelled result count"
CASES = [
    Case(
        name="extragradient_sweep",
        room="games",
        make=own_permutations,
        work=partial(work, 200),
        unit="lane-steps",
        size=f"{N} components of 200 x 200, {STEPS} step sizes x (1, 2) x {SEEDS} seeds, every epoch recorded",
        dtype="float64",
        flops=4.0 * 200**2,
        target={
            "theorylab, as many lanes without extrapolation": 0.95,
            "NumPy, a seed's lanes as columns": 1.4,
            "NumPy, run by run": 20.0,
            "JAX, flat vmap": 7.0,
        },
        note=WHOLE,
    ),
    Case(
        name="extragradient_one_stream",
        room="games",
        make=one_stream,
        work=partial(work, 200),
        unit="lane-steps",
        size="the same, one permutation stream for all seeds",
        dtype="float64",
        flops=4.0 * 200**2,
        target={"NumPy, a seed's lanes as columns": 1.9},
        note=WHOLE,
    ),
    Case(
        name="extragradient_400",
        room="games",
        make=large,
        work=partial(work, 400),
        unit="lane-steps",
        size=f"{N} components of 400 x 400, {STEPS} step sizes x (1, 2) x {SEEDS} seeds, one permutation stream",
        dtype="float64",
        flops=4.0 * 400**2,
        target={"NumPy, its matrix products alone": 0.85},
        note=WHOLE,
    ),
    Case(
        name="extragradient_4096_lanes",
        room="games",
        make=many,
        work=lambda quick: float(N * 128 * 2 * GPU_SEEDS * (1 if quick else 20)),
        unit="lane-steps",
        size=f"{N} components of 200 x 200, 128 step sizes x (1, 2) x {GPU_SEEDS} seeds, every epoch recorded",
        dtype="float32",
        flops=4.0 * 200**2,
        rounds=3,
        note=WHOLE,
        accelerator=True,
    ),
]
