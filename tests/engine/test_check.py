"""`check_method` passes what runs, and names each kind of what does not."""

import random

import equinox as eqx
import jax
import jax.numpy as jnp
import pytest
from jaxtyping import Array

import theorylab as tl
from tests.engine.problems import Linear, Relax

PROBLEM = Linear(jnp.asarray([1.0, 2.0]), jnp.ones(2))


def test_a_method_that_keeps_all_passes():
    tl.engine.check_method(Relax(0.1, 0.3), PROBLEM)
    tl.engine.check_method(Relax(jnp.float32(0.1), jnp.float32(0.3)), jax.tree.map(jnp.float32, PROBLEM), key=7)


class Still(tl.Method):
    """The start, whatever happens: those below break one promise each."""

    scale: Array = eqx.field(default=1.0, converter=tl.engine.hyperparameter)

    def init(self, problem, key, x0=None):
        return tl.engine.State(tl.engine.start(problem, key, x0))

    def step(self, problem, state, key):
        return state


class Drifts(Still):
    def step(self, problem, state, key):
        return tl.engine.State(state.x.astype(jnp.float32))


class Grows(Still):
    def step(self, problem, state, key):
        return tl.engine.State(jnp.stack([state.x, state.x]))


class Restructures(Still):
    def step(self, problem, state, key):
        return state.x


class Branches(Still):
    def step(self, problem, state, key):
        return tl.engine.State(state.x / 2 if state.x[0] > 0 else state.x)


class Reads(Still):
    def step(self, problem, state, key):
        return tl.engine.State(state.x * float(self.scale))


class Hides(Still):
    def readout(self, problem, state):
        return state.answer


class Names(Still):
    def readout(self, problem, state):
        return "the answer"


class Gambles(Still):
    def step(self, problem, state, key):
        return tl.engine.State(state.x + random.random())


class Alone(Still):
    """A program of its own that no rule maps."""

    def step(self, problem, state, key):
        @jax.custom_batching.custom_vmap
        def alone(x):
            return x

        @alone.def_vmap
        def _(size, batched, x):
            raise NotImplementedError("one at a time")

        return tl.engine.State(alone(state.x + self.scale))


class Leaks(Still):
    """Lanes read each other: each becomes the mean of all."""

    def step(self, problem, state, key):
        @jax.custom_batching.custom_vmap
        def shared(x):
            return x

        @shared.def_vmap
        def _(size, batched, x):
            return jnp.broadcast_to(x.mean(0), x.shape), True

        return tl.engine.State(shared(state.x + jax.random.normal(key)))


@pytest.mark.parametrize(
    ("broken", "said"),
    [
        (Drifts, r"Drifts.step changes the leaf .*x from float64\[2\] to float32\[2\]"),
        (Grows, r"Grows.step changes the leaf .*x from float64\[2\] to float64\[2, 2\]"),
        (Restructures, "Restructures.step changes the structure"),
        (Branches, "Branches.step does not trace: .*Use jnp.where"),
        (Reads, "Reads.step does not trace: .*in the place of numpy, float and int"),
        (Hides, "Hides.readout fails: .*write readout"),
        (Names, "Names.readout returns 'the answer'.* must return arrays"),
        (Gambles, "Gambles gives two answers for one key"),
        (Alone, "Alone runs alone and not under vmap, .*one at a time"),
        (Leaks, "Leaks: a lane under vmap differs"),
    ],
)
def test_what_is_broken_is_named(broken, said):
    with pytest.raises((TypeError, ValueError), match=said):
        tl.engine.check_method(broken(), PROBLEM, jnp.ones(2))


def test_what_is_no_method_is_refused():
    with pytest.raises(TypeError, match="method must be a Method"):
        tl.engine.check_method(abs, PROBLEM)
