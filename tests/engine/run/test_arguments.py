"""What stands in the wrong place is named, with the cure, before anything is compiled."""

import equinox as eqx
import jax
import jax.numpy as jnp
import jaxtyping
import optax
import pytest

import theorylab as tl

nnx = pytest.importorskip("flax.nnx")


class Bowl:
    def loss(self, x, key):
        return jnp.sum(x**2)


def run(method=None, problem=None, x0=1.0, **keywords):
    return tl.solve(method or tl.Gradient(optax.sgd, 0.1), problem or Bowl(), x0, key=0, steps=2, **keywords)


def minimise(fn=lambda x: x, x0=1.0, optimiser=None, **keywords):
    return tl.minimise(fn, x0, optimiser or optax.sgd(0.1), steps=2, **keywords)


def game():
    return tl.games.min_max(lambda u, v, i: u * v, 1, start=(1.0, 1.0))


def linear():
    return nnx.Linear(2, 2, rngs=nnx.Rngs(0))


def optimiser():
    return nnx.Optimizer(linear(), optax.sgd(0.1), wrt=nnx.Param)


def one(x):
    return x


def records(fn):
    return tl.Record(tl.every(1), e=fn)


POINTS = jnp.ones((4, 2))
LEVELS = tl.diffusion.Schedule.linear_alpha(0.98, 0.95, 10)
WRONG = {
    "an Optax transformation as method": (lambda: run(optax.adam(1e-2)), r"method is an Optax.*tl\.Gradient\("),
    "method and problem swapped": (
        lambda: run(game(), tl.games.Extragradient(0.1, 0.1)),
        "swap them, solve",
    ),
    "a class": (lambda: run(tl.games.Extragradient, game()), r"the class Extragradient.*Extragradient\(step_size, ext"),
    "a problem's class": (lambda: run(problem=Bowl), "problem is the class Bowl: give an instance"),
    "no method": (lambda: run("adam"), r"method must be a tl\.Method.*got 'adam'"),
    "a function as record": (lambda: run(record=one), r"record must be a tl\.Record.*tl\.Record\(tl\.every"),
    "a function among records": (lambda: run(record=[one]), r"record must be a tl\.Record"),
    "a record of one argument": (lambda: records(one), r"Record: e must be a function of \(problem, state\).* \(x\)"),
    "a mean of one argument": (lambda: records(tl.Mean(one)), r"Record: e must be a function of \(problem, state\)"),
    "a rule of one argument": (lambda: run(until=one), r"until must be a function of \(problem, state\)"),
    "a bound of one argument": (lambda: run(until=tl.below(one, 1.0)), r"until must be a function of \(problem, sta"),
    "a loss that is no number": (
        lambda: minimise(lambda x: x, jnp.ones(2)),
        r"the loss returns float.*\[2\].*jnp\.mean",
    ),
    "a loss of integers": (lambda: minimise(lambda x: x.astype(int)), r"the loss returns int.*floating number"),
    "a loss with its aux": (lambda: minimise(lambda x: (x, x)), "returns a tuple.*has_aux=True"),
    "a start of integers": (lambda: minimise(x0=3), r"x0 holds int.*floating numbers"),
    "a loss of two arguments": (lambda: minimise(lambda x, y: x), r"fn must be a function of \(x\).*'y'.*args="),
    "a loss without its key": (lambda: minimise(key=0), r"fn must be a function of \(x, key=\)"),
    "start and function swapped": (lambda: minimise(jnp.ones(2), one), "fn must be a function of x"),
    "start and optimiser swapped": (lambda: minimise(x0=optax.sgd(0.1)), "the order is minimise"),
    "a rate in quotes": (lambda: tl.Gradient(optax.adam, learning_rate="0.1"), "learning_rate = '0.1' is a string"),
    "an nnx optimiser": (lambda: minimise(optimiser=optimiser()), r"nnx\.Optimizer.*optax\.adam\(1e-3\).*nnx\.split"),
    "an nnx optimiser as method": (lambda: run(optimiser()), r"nnx\.Optimizer.*tl\.Gradient\(.*nnx\.split"),
    "an nnx module": (lambda: minimise(x0=linear()), r"NNX module Linear.*nnx\.split.*nnx\.merge"),
    "a payoff as a component": (lambda: tl.games.FiniteSum(lambda u, v, i: u, 1), r"component.*\(i, x\).*min_max"),
    "a component's order": (lambda: tl.games.FiniteSum(lambda x, i, data: x, 1, data=1.0), "put the index i into its"),
    "a component as a payoff": (lambda: tl.games.min_max(lambda i, x: x, 1), r"f must be.*\(u, v, i\).*FiniteSum"),
    "a payoff's order": (lambda: tl.games.min_max(lambda i, u, v: u, 1), "put the index i into its place"),
    "a payoff without data": (lambda: tl.games.min_max(lambda u, v, i: u, 1, data=1.0), r"\(u, v, i, data\)"),
    "nets without a loss": (
        lambda: run(tl.games.GradientDescentAscent(0.1), game(), (eqx.nn.Dropout(0.5), 1.0)),
        "x0 is a tuple: it holds no floating array",
    ),
    "a model of the loss": (
        lambda: tl.diffusion.denoising_loss(one, POINTS, LEVELS, key=0),
        r"model.*\(x, t\)",
    ),
    "a model of the risks": (lambda: tl.diffusion.level_risks(one, POINTS, LEVELS, 0), r"model.*\(x, t\)"),
    "a model of a sampler": (
        lambda: tl.diffusion.sample_flow(one, LEVELS, POINTS, steps=3),
        r"model.*\(x, t\)",
    ),
    "a model that is trained": (
        lambda: tl.diffusion.DenoisingProblem(one, POINTS, LEVELS),
        r"model.*\(x, t\)",
    ),
    "a seed below zero": (
        lambda: tl.solve(tl.Gradient(optax.sgd, 0.1), Bowl(), 1.0, key=-1, steps=2),
        "key = -1.*seed",
    ),
}


@pytest.fixture
def as_users_have_it():
    """Without the import hook of these tests, which checks types before anything of the library speaks."""
    jaxtyping.config.update("jaxtyping_disable", True)
    yield
    jaxtyping.config.update("jaxtyping_disable", False)


@pytest.mark.usefixtures("as_users_have_it")
@pytest.mark.parametrize("wrong", WRONG)
def test_it_is_named_with_its_cure(wrong, compilations):
    call, message = WRONG[wrong]
    with pytest.raises((TypeError, ValueError), match=message), jax.numpy_dtype_promotion("standard"):
        call()  # the arrays that stand in messages and keys
    with pytest.raises((TypeError, ValueError)), jax.numpy_dtype_promotion("standard"), compilations() as count:
        try:
            call()
        finally:
            assert count() == 0


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("minimize", "minimise"),
        ("games.Extragradent", "Extragradient"),
        ("engine.Soltuion", "Solution"),
        ("diffusion.denoising_los", "denoising_loss"),
        ("lowrank.complet_problem", "completion_problem"),
        ("papers.citte", "cite"),
        ("numerics.normla", "normal"),
    ],
)
def test_a_misspelt_name_is_answered_with_what_was_meant(name, meant):
    package, _, last = name.rpartition(".")
    with pytest.raises(AttributeError, match=f"has no '{last}'; did you mean '{meant}'"):
        getattr(getattr(tl, package) if package else tl, last)


def test_a_name_like_no_other_gets_no_suggestion():
    name = "xyzzy"
    with pytest.raises(AttributeError, match=rf"^theorylab has no '{name}'$"):
        getattr(tl, name)
