"""Stochastic extragradient with reshuffling: whole sweeps against the forms a user could write."""

import jax
import jax.numpy as jnp
import numpy as np
from harness import Case, Entry

import theorylab as tl

N, D, STEPS, SEEDS = 100, 200, 32, 4
RATES = np.geomspace(1e-4, 1e-2, STEPS)


def epochs(quick: bool) -> int:
    return 10 if quick else 150


def game() -> tuple[np.ndarray, np.ndarray]:
    """General blocks: nothing shared between components, so that no shortcut applies."""
    rng = np.random.default_rng(0)
    return np.eye(D) + 0.3 * rng.normal(size=(N, D, D)) / np.sqrt(D), rng.normal(size=(N, D))


def extragradient(quick: bool) -> dict[str, Entry]:
    jax.config.update("jax_enable_x64", True)
    matrices, offsets = game()
    problem = tl.games.AffineGame(jnp.asarray(matrices), jnp.asarray(offsets))
    solution, x0 = np.asarray(problem.solution), jnp.zeros(D)
    total = epochs(quick)

    def build(key, *, step_size):
        return tl.games.Extragradient(step_size, 2 * step_size), problem, x0

    def error(problem, state):
        return jnp.sum((state.x - problem.solution) ** 2)

    def sweep():
        record = tl.Record(tl.every(1), error=error)
        return tl.sweep(build, over={"step_size": RATES}, seeds=SEEDS, key=0, steps=total, record=record)

    def columns():
        for seed in range(SEEDS):
            rng, x, errors = np.random.default_rng(seed), np.zeros((D, STEPS)), []
            for _ in range(total):
                for i in rng.permutation(N):
                    a, b = matrices[i], offsets[i][:, None]
                    ahead = x - 2 * RATES * (a @ x + b)
                    x = x - RATES * (a @ ahead + b)
                errors.append(np.sum((x - solution[:, None]) ** 2, 0))

    def lane(matrices, offsets, solution, rate, key):
        def update(x, i):
            ahead = x - 2 * rate * (matrices[i] @ x + offsets[i])
            return x - rate * (matrices[i] @ ahead + offsets[i]), None

        def epoch(x, t):
            x, _ = jax.lax.scan(update, x, jax.random.permutation(jax.random.fold_in(key, t), N))
            return x, jnp.sum((x - solution) ** 2)

        return jax.lax.scan(epoch, jnp.zeros(D), jnp.arange(flat_epochs))[1]

    # an eighth of the epochs: the flat form is some ten times slower, and its cost is linear in them
    flat_epochs = max(1, total // 8)
    flat = jax.jit(jax.vmap(lane, (None, None, None, 0, 0)))
    rates = jnp.tile(jnp.asarray(RATES), SEEDS)
    keys = jnp.repeat(jax.random.split(jax.random.key(0), SEEDS), STEPS)
    arrays = (problem.matrices, problem.offsets, problem.solution)

    def flat_vmap():
        import time

        start = time.process_time()
        flat(*arrays, rates, keys).block_until_ready()
        return (time.process_time() - start) * total / flat_epochs

    return {
        "theorylab sweep": Entry(sweep),
        "NumPy, a seed's lanes as columns": Entry(columns),
        "JAX, flat vmap": Entry(flat_vmap, cost=lambda seconds: seconds),
    }


CASES = [
    Case(
        name="extragradient_sweep",
        room="games",
        make=extragradient,
        work=lambda quick: float(N * STEPS * SEEDS * epochs(quick)),
        unit="lane-steps",
        size=f"{N} components of {D} x {D}, {STEPS} step sizes x {SEEDS} seeds, every epoch recorded",
        dtype="float64",
        flops=4.0 * D * D,
        target={"NumPy, a seed's lanes as columns": 1.4, "JAX, flat vmap": 7.0},
        rounds=5,
        note="whole calls of sweep: tracing, building and the labelled result count",
    )
]
