"""Training a denoiser: the loss on fresh draws as a problem of the engine, a moving average, and both in one call."""

from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, PyTree

from ..engine.gradient import Gradient
from ..engine.keys import as_key, stream
from ..engine.method import Method, as_structure, hyperparameter
from ..engine.record import Record, every
from ..engine.solve import Solution, solve
from ..engine.status import NONFINITE, RUNNING
from ..engine.until import Stop
from ..numerics.arrays import floating
from ..numerics.checked import Key, Numbers, takes
from .loss import denoising_loss
from .schedules import Schedule


class DenoisingProblem(eqx.Module):
    r"""The denoising loss of a model on fresh points, levels and noise: a problem for `tl.solve` and `tl.sweep`.

    The iterate x is what the model trains, a pytree like the model with None in place of all else; `model(x)` puts the
    two together again.

    **Arguments**

    - `model`: a callable pytree `(x, t)`: an Equinox module, a Flax NNX module, or for Linen and for functions of
      parameters `jax.tree_util.Partial(net.apply, params)`.
    - `data`: points (n, ...), of which each step draws `batch`, with replacement; or a sampler `key -> (batch, ...)`.
    - `schedule`: a `Schedule`; `levels`, `noise` and `parametrisation`: as in `denoising_loss`.
    - `trainable`: which floating arrays of the model are trained, as `equinox.partition` takes it: a function of a leaf
      or a pytree of truths; all of them by default.

    **Raises** `TypeError` for a model that is no callable pytree with an array to train, or for data of another kind;
    `ValueError` for a batch below 1, or where the sampler, or its lack, leaves none to choose.

    **Source**: derived here.

        >>> import jax, jax.numpy as jnp, optax, theorylab as tl
        >>> schedule = tl.diffusion.Schedule.linear_alpha(0.98, 0.95, 10)
        >>> model = tl.diffusion.LinearAttention(jnp.eye(2), -jnp.eye(2))
        >>> problem = tl.diffusion.DenoisingProblem(model, lambda key: jax.random.normal(key, (8, 4, 2)), schedule)
        >>> run = tl.solve(tl.Gradient(optax.sgd, learning_rate=0.1), problem, key=0, steps=3)
        >>> problem.model(run.value)(jnp.ones((4, 2)), 0).shape
        (4, 2)
    """

    params: PyTree
    frozen: PyTree
    rest: PyTree = eqx.field(static=True)
    data: Any
    schedule: Schedule
    weights: Float[Array, "..."] | None
    batch: int | None = eqx.field(static=True)
    levels: str | None = eqx.field(static=True)
    noise: str = eqx.field(static=True)
    parametrisation: str = eqx.field(static=True)

    def __init__(
        self,
        model: Callable[..., Any],
        data: Any,
        schedule: Schedule,
        *,
        batch: int | None = None,
        trainable: Any = eqx.is_inexact_array,
        levels: Any = "uniform",
        noise: str = "threefry",
        parametrisation: str = "epsilon",
    ):
        if not callable(model):
            raise TypeError(f"model is {model!r}: pass a callable pytree, such as jax.tree_util.Partial(apply, params)")
        takes("model", model, "x", "t", cure="let it take the level t, an int32 (), too")
        chosen, rest = eqx.partition(model, trainable)
        self.params, kept = eqx.partition(chosen, eqx.is_inexact_array)
        if not jax.tree.leaves(self.params):
            raise TypeError(
                "model has no floating array to train: pass a module, or jax.tree_util.Partial(apply, params) for a "
                "function of parameters, and a `trainable` that chooses some"
            )
        self.frozen, self.rest = eqx.partition(eqx.combine(kept, rest), eqx.is_array)
        sampled = callable(data)
        if sampled != (batch is None) or (batch is not None and batch < 1):
            raise ValueError(
                f"batch = {batch!r}: pass the number of points that a step draws from an array, at least 1, and none "
                "with a sampler, which has its own"
            )
        self.data = as_structure(data) if sampled else floating(data)
        self.batch, self.schedule, self.noise, self.parametrisation = batch, schedule, noise, parametrisation
        named = isinstance(levels, str)
        self.levels, self.weights = (levels, None) if named else (None, floating(levels))

    def model(self, x: PyTree) -> Any:
        """Put these arrays in the place of those that the model trains."""
        return eqx.combine(x, self.frozen, self.rest)

    def initial(self, key: Key) -> PyTree:
        """Give the arrays that the model trains, as they were given."""
        del key
        return self.params

    def draw(self, key: Key) -> Float[Array, "batch ..."]:
        """Draw the points of one step."""
        if self.batch is None:
            return self.data(key)
        return self.data[jax.random.randint(key, (self.batch,), 0, self.data.shape[0])]

    def loss(self, x: PyTree, key: Key) -> Float[Array, ""]:
        """Compute the denoising loss on fresh points, levels and noise."""
        return denoising_loss(
            self.model(x),
            self.draw(stream(key, "data")),
            self.schedule,
            key=key,
            levels=self.levels if self.weights is None else self.weights,
            noise=self.noise,
            parametrisation=self.parametrisation,
        )


class AveragedState(eqx.Module):
    """The state of the method within, and the average of its iterates."""

    inner: Any
    average: PyTree[Array]

    @property
    def x(self) -> PyTree[Array]:
        return self.inner.x

    @property
    def loss(self) -> Array:
        return self.inner.loss


class Averaged(Method):
    r"""Any method, read out as the exponential moving average of its iterates.

    $\bar x_{s+1} = \lambda \bar x_s + (1 - \lambda)\, x_{s+1}$ from $\bar x_0 = x_0$; the method within is not touched.

    **Arguments**: `method`, whose state has an iterate `x`; `decay` $\lambda$ in [0, 1), ().

    **Raises** `ValueError` for a decay outside [0, 1).

    **Source**: Polyak, Juditsky (1992), for averaged iterates; exponential weights as in Song et al. (2021).

        >>> import jax.numpy as jnp, optax, theorylab as tl
        >>> method = tl.diffusion.Averaged(tl.Gradient(optax.sgd, learning_rate=0.5), decay=0.5)
        >>> class Square:
        ...     def loss(self, x, key):
        ...         return x**2
        >>> float(tl.solve(method, Square(), jnp.asarray(1.0), key=0, steps=2).value)  # of 1, 0, 0
        0.25
    """

    method: Method
    decay: Float[Array, "*lanes"] = eqx.field(converter=hyperparameter)

    def requires(self):
        """The decay lies in [0, 1)."""
        sentence = f"decay = {self.decay} must lie in [0, 1): the share of the average that a step keeps"
        return {sentence: (self.decay >= 0) & (self.decay < 1)}

    def init(self, problem: Any, key: Key, x0: PyTree | None = None) -> AveragedState:
        """Start the method, and its average at its iterate."""
        inner = self.method.init(problem, as_key(key), x0)
        return AveragedState(inner, inner.x)

    def step(self, problem: Any, state: AveragedState, key: Key) -> AveragedState:
        """Take a step of the method, and of the average."""
        inner = self.method.step(problem, state.inner, as_key(key))

        def mix(average, x):
            decay = jnp.asarray(self.decay, average.dtype)
            return decay * average + (1 - decay) * x

        return AveragedState(inner, jax.tree.map(mix, state.average, inner.x))

    def readout(self, problem: Any, state: AveragedState) -> PyTree:
        """Read out the average."""
        del problem
        return state.average


class _FiniteLoss(Stop):
    """Ends a run at the very step whose loss is not finite, though its iterate may still be."""

    def update(self, carry, value, t):
        return carry, jnp.where(jnp.isfinite(value), jnp.int8(RUNNING), jnp.int8(NONFINITE))


def fit(
    model: Callable[..., Any],
    data: Any,
    schedule: Schedule,
    optimiser: Method | optax.GradientTransformation,
    *,
    steps: int,
    key: Any,
    batch: int | None = None,
    held_out: Numbers | Callable[..., Any] | None = None,
    rows: int = 100,
    ema: float | Array | None = None,
    trainable: Any = eqx.is_inexact_array,
    levels: Any = "uniform",
    noise: str = "threefry",
    parametrisation: str = "epsilon",
    **solving: Any,
) -> tuple[Any, Solution]:
    r"""Train a model to denoise, by any optimiser, and see its loss on points that it is not trained on.

    `tl.solve` on a `DenoisingProblem`: checkpoints and a later continuation are its `store=`, progress its `progress=`.
    A loss that is not finite ends the run with the status `nonfinite` at its step (an error with `throw=True`).

    **Arguments**

    - `model`, `data`, `schedule`, `batch`, `trainable`, `levels`, `noise`, `parametrisation`: as in `DenoisingProblem`.
    - `optimiser`: `tl.Gradient(optax.adam, learning_rate=1e-3)`, or a built Optax optimiser; `steps` of it, under the
      `key`, a key or a seed.
    - `held_out`: points (n, ...) or a sampler, of which one draw is kept: their loss, with stratified levels and the
      same noise throughout, is recorded as `held_out`, about `rows` times in the run, and so is the `loss` of the steps
      (zero before the first).
    - `ema`: the decay of a moving average of the parameters, which then is what is evaluated and returned.
    - `solving`: more keywords of `tl.solve`; a `record` of one's own replaces this one.

    **Returns** the trained model, and the `Solution` with its status and trace.

    **Raises** as `DenoisingProblem`, `tl.solve` and `denoising_loss` do.

    **Source**: derived here.

        >>> import jax, jax.numpy as jnp, optax, theorylab as tl
        >>> schedule = tl.diffusion.Schedule.linear_alpha(0.98, 0.95, 10)
        >>> sampler = lambda key: 3.0 + jax.random.normal(key, (64, 4, 2))
        >>> start = tl.diffusion.LinearAttention(jnp.eye(2), 0 * jnp.eye(2))
        >>> model, run = tl.diffusion.fit(
        ...     start, sampler, schedule, optax.sgd(0.02), steps=100, key=0, held_out=sampler, rows=2
        ... )
        >>> bool(run.trace.held_out[-1] < run.trace.held_out[0] / 4)
        True
    """
    key = as_key(key)
    problem = DenoisingProblem(
        model, data, schedule, batch=batch, trainable=trainable, levels=levels, noise=noise,
        parametrisation=parametrisation,
    )  # fmt: skip
    method = optimiser if isinstance(optimiser, Method) else Gradient(optimiser)
    method = method if ema is None else Averaged(method, ema)
    watched = {"loss": lambda problem, state: state.loss}
    if held_out is not None:
        points: Any = held_out(stream(key, "held_out")) if callable(held_out) else floating(held_out)

        def on_held_out(problem, state):
            trained = problem.model(method.readout(problem, state))
            again = stream(key, "held_out_noise")
            return denoising_loss(
                trained, points, schedule, key=again, levels="stratified", parametrisation=parametrisation
            )

        watched["held_out"] = on_held_out
    if rows < 1:
        raise ValueError(f"rows = {rows} must be at least 1: about how many losses are recorded")
    solving.setdefault("record", Record(every(max(1, steps // rows)), **watched))
    finite = _FiniteLoss(lambda problem, state: state.loss, every=1)
    solving["until"] = finite if solving.get("until") is None else finite | solving["until"]
    solution = solve(method, problem, key=key, steps=steps, **solving)
    return problem.model(solution.value), solution
