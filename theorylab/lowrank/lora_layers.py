"""Low-rank adapters on the linear layers of any model: put on, trained alone, merged."""

from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Float, PRNGKeyArray, PyTree

from ..numerics import Key, checked, normal
from .lora_flow import spectral_pair
from .problems import check_rank

STARTS = ("spectral", "standard")


@checked
class LoraLinear(eqx.Module):
    r"""A linear layer with a low-rank adapter beside its weight: $y = Wx + B(Ax) + c$.

    **Arguments**: `linear`, an `equinox.nn.Linear` of weight W (out, in), or a stack of such with leading axes; `A`
    (..., rank, in); `B` (..., out, rank).

    **Source**: Hu et al. (2021), arXiv 2106.09685.

        >>> import equinox as eqx, jax, jax.numpy as jnp, theorylab as tl
        >>> linear = eqx.nn.Linear(3, 2, key=jax.random.key(0))
        >>> layer = tl.lowrank.LoraLinear(linear, jnp.ones((1, 3)), jnp.ones((2, 1)))
        >>> bool(jnp.allclose(layer(jnp.ones(3)), linear(jnp.ones(3)) + 3.0))
        True
    """

    linear: eqx.nn.Linear
    A: Float[Array, "*layers rank inputs"]
    B: Float[Array, "*layers outputs rank"]

    def __call__(self, x: Array, *, key: PRNGKeyArray | None = None) -> Array:
        """The layer's output, of the shape that the linear layer gives."""
        y = self.linear(x, key=key)
        return y + (self.B @ (self.A @ x.reshape(-1))).reshape(y.shape)


@checked
def lorafy(
    model: PyTree,
    rank: int,
    *,
    where: Callable[[PyTree], Any],
    init: str = "spectral",
    key: Key | None = None,
    gradient: PyTree | None = None,
    scale: ArrayLike = 1.0,
) -> PyTree:
    r"""The model with adapters $W + BA$ on chosen linear layers; with B = 0 it still computes what it did.

    `"standard"` draws A from N(0, 1/in), rows of a length near one. `"spectral"` takes as rows of A the top right
    singular vectors of the loss's gradient in W: the directions along which one full gradient step moves the layer
    most. Small starts align with them by themselves, and slowly. Train with `adapters_only`, end with
    `merge_adapters`.

    **Arguments**: `model`, a pytree with `equinox.nn.Linear` layers; `rank`, from 1 to the least dimension of the
    chosen weights; `where`, from the model to a layer or several, or to whole parts of it, all of whose linear layers
    are meant: `lambda model: model.layers[-1]`, `lambda model: model`; `init`, `"spectral"` or `"standard"`; `key`, a
    typed key (), for the standard start; `gradient`, for the spectral one, the gradient of the loss in the model, as
    `equinox.filter_grad` gives it; `scale`, (), by which A is multiplied.

    **Returns** a model of the same kind, with `LoraLinear` in the place of the chosen layers.

    **Raises** `ValueError` for a `where` that finds no linear layer, a rank above a layer's dimensions, an unknown
    start, a standard start without a key, and a spectral one without a gradient or with a zero one.

    **Source**: Hu et al. (2021), arXiv 2106.09685; the spectral start: Xu et al. (2025), arXiv 2503.06982, Section 4,
    in the form by the gradient, derived here.

        >>> import equinox as eqx, jax, jax.numpy as jnp, theorylab as tl
        >>> model = eqx.nn.MLP(4, 3, 8, 1, key=jax.random.key(0))
        >>> adapted = tl.lowrank.lorafy(model, 2, where=lambda m: m.layers[-1], init="standard", key=jax.random.key(1))
        >>> type(adapted.layers[-1]).__name__, bool(jnp.allclose(adapted(jnp.ones(4)), model(jnp.ones(4))))
        ('LoraLinear', True)
    """
    _check_init(init, key, gradient)
    layers = _linears(where(model))
    if not layers:
        raise ValueError(
            "where finds no equinox.nn.Linear that is not adapted already: return a linear layer of the model, several "
            "of them, or a part that holds some"
        )
    if init == "standard":
        pairs = [
            _pair(layer.weight, rank, init, one, None, scale)
            for layer, one in zip(layers, jax.random.split(key, len(layers)), strict=True)  # pyright: ignore[reportArgumentType]
        ]
    else:
        slopes = _linears(where(gradient))
        if len(slopes) != len(layers):
            raise ValueError(
                f"gradient has {len(slopes)} linear layers where the model has {len(layers)}: pass what "
                "equinox.filter_grad gives for this model"
            )
        pairs = [
            _pair(layer.weight, rank, init, None, slope.weight, scale)
            for layer, slope in zip(layers, slopes, strict=True)
        ]
    replaced = [LoraLinear(layer, *pair) for layer, pair in zip(layers, pairs, strict=True)]
    return eqx.tree_at(lambda tree: _linears(where(tree)), model, replaced)


@checked
def adapters_only(model: PyTree) -> PyTree:
    """Which leaves of a model are adapters: True for A and B of every `LoraLinear`, False for all else.

    For `equinox.partition(model, adapters_only(model))`, whose first half is what Optax updates.

    **Arguments**: `model`, a pytree.

    **Returns** a pytree of bools with the model's structure.

    **Raises** `ValueError` where the model has no adapter.

    **Source**: derived here.

        >>> import equinox as eqx, jax, theorylab as tl
        >>> model = eqx.nn.Linear(4, 3, key=jax.random.key(0))
        >>> adapted = tl.lowrank.lorafy(model, 1, where=lambda m: m, init="standard", key=jax.random.key(1))
        >>> trained, frozen = eqx.partition(adapted, tl.lowrank.adapters_only(adapted))
        >>> [leaf.shape for leaf in jax.tree.leaves(trained)]
        [(1, 4), (3, 1)]
    """
    if not _adapted(model):
        raise ValueError("model has no LoraLinear layer: put adapters on it with lorafy first")

    def mark(node):
        marks = jax.tree.map(lambda _: False, node)
        return eqx.tree_at(lambda one: (one.A, one.B), marks, (True, True)) if isinstance(node, LoraLinear) else marks

    return jax.tree.map(mark, model, is_leaf=_is_lora)


@checked
def merge_adapters(model: PyTree) -> PyTree:
    """The model with every adapter added to its weight, W + B A: plain linear layers again, at their old cost.

    **Arguments**: `model`, a pytree with `LoraLinear` layers.

    **Returns** the model with `equinox.nn.Linear` in their place.

    **Raises** `ValueError` where the model has no adapter.

    **Source**: Hu et al. (2021), arXiv 2106.09685; checked against the adapted model.

        >>> import equinox as eqx, jax, jax.numpy as jnp, theorylab as tl
        >>> linear = eqx.nn.Linear(3, 2, use_bias=False, key=jax.random.key(0))
        >>> layer = tl.lowrank.LoraLinear(linear, jnp.ones((1, 3)), jnp.ones((2, 1)))
        >>> bool(jnp.all(tl.lowrank.merge_adapters(layer).weight == linear.weight + 1))
        True
    """
    layers = _require_adapted(model)
    merged = [_with_weight(layer.linear, layer.linear.weight + layer.B @ layer.A) for layer in layers]
    return _replace_adapted(model, merged)


@checked
def unmerge_adapters(merged: PyTree, adapted: PyTree) -> PyTree:
    """The merged model with its adapters beside the weights once more, to go on with their training.

    **Arguments**: `merged`, what `merge_adapters` gave, perhaps changed elsewhere since; `adapted`, the model that it
    was made from, which holds the adapters.

    **Returns** a model like `adapted`, with the weights of `merged` less B A.

    **Raises** `ValueError` where `adapted` has no adapter, or the two are not of one structure.

    **Source**: derived here; checked by merging again.

        >>> import equinox as eqx, jax, jax.numpy as jnp, theorylab as tl
        >>> linear = eqx.nn.Linear(3, 2, key=jax.random.key(0))
        >>> layer = tl.lowrank.LoraLinear(linear, jnp.ones((1, 3)), jnp.ones((2, 1)))
        >>> back = tl.lowrank.unmerge_adapters(tl.lowrank.merge_adapters(layer), layer)
        >>> bool(jnp.allclose(back.linear.weight, linear.weight))
        True
    """
    layers = _require_adapted(adapted, "adapted")
    plain = _replace_adapted(adapted, [layer.linear for layer in layers])
    if jax.tree.structure(plain) != jax.tree.structure(merged):
        raise ValueError("merged and adapted are not of one structure: pass what merge_adapters gave, and its model")
    places = jax.tree.map(_is_lora, adapted, is_leaf=_is_lora)

    def restore(place, base, lora):
        if not place:
            return base
        return LoraLinear(_with_weight(base, base.weight - lora.B @ lora.A), lora.A, lora.B)

    return jax.tree.map(restore, places, merged, adapted, is_leaf=lambda node: isinstance(node, bool))


@checked
def kernel_adapters(
    kernel: Array,
    rank: int,
    *,
    init: str = "spectral",
    key: Key | None = None,
    gradient: Array | None = None,
    scale: ArrayLike = 1.0,
) -> tuple[Float[Array, "inputs rank"], Float[Array, "rank outputs"]]:
    r"""The start of `lorafy` for a kernel in the layout of Flax, $y = x(K + DU)$: D down to the rank, U = 0 up.

    **Arguments**: `kernel` K (in, out), of a `flax.linen.Dense` or a `flax.nnx.Linear`; `rank`, from 1 to min(in,
    out); `init`, `key` and `scale` as in `lorafy`; `gradient` (in, out), of the loss in K, for the spectral start.

    **Returns** (D (in, rank), U (rank, out)), of the kernel's dtype; U is zero.

    **Raises** `ValueError` as `lorafy` does, and for a kernel that is not a matrix.

    **Source**: as `lorafy`, whose factors these are, transposed.

        >>> import jax, jax.numpy as jnp, theorylab as tl
        >>> gradient = jnp.zeros((3, 2)).at[1, 0].set(-4.0)
        >>> down, up = tl.lowrank.kernel_adapters(jnp.ones((3, 2)), 1, gradient=gradient)
        >>> jnp.abs(down[:, 0]).tolist(), up.shape
        ([0.0, 1.0, 0.0], (1, 2))
    """
    _check_init(init, key, gradient)
    if kernel.ndim != 2:
        raise ValueError(f"kernel has the shape {kernel.shape}: pass a matrix (in, out), reshaped if need be")
    A, B = _pair(kernel.T, rank, init, key, None if gradient is None else gradient.T, scale)
    return A.T, B.T


def _pair(weight, rank, init, key, gradient, scale):
    """A and B for a weight (..., out, in)."""
    check_rank("rank", rank, weight.shape[-2:])
    if init == "spectral":
        if gradient is None or gradient.shape != weight.shape:
            found = None if gradient is None else gradient.shape
            raise ValueError(f"gradient has the shape {found} for a weight of shape {weight.shape}: pass one like it")
        return spectral_pair(jnp.asarray(gradient, weight.dtype), rank, scale, "gradient")
    *layers, outputs, inputs = weight.shape
    A = normal(key, (*layers, rank, inputs), weight.dtype) * inputs**-0.5 * jnp.asarray(scale, weight.dtype)
    return A, jnp.zeros((*layers, outputs, rank), weight.dtype)


def _check_init(init, key, gradient):
    if init not in STARTS:
        raise ValueError(f"init = {init!r} is not one of {', '.join(map(repr, STARTS))}")
    if init == "standard" and key is None:
        raise ValueError("key is None: the standard start draws A; pass a key")
    if init == "spectral" and gradient is None:
        raise ValueError("gradient is None: the spectral start needs one full gradient; pass it, or init='standard'")


def _linears(part):
    """The linear layers of a part, those under an adapter left out, each one once."""
    nodes = jax.tree.leaves(part, is_leaf=lambda node: isinstance(node, eqx.nn.Linear | LoraLinear))
    return list({id(node): node for node in nodes if isinstance(node, eqx.nn.Linear)}.values())


def _is_lora(node):
    return isinstance(node, LoraLinear)


def _adapted(model):
    return [node for node in jax.tree.leaves(model, is_leaf=_is_lora) if _is_lora(node)]


def _require_adapted(model, name="the model"):
    layers = _adapted(model)
    if not layers:
        raise ValueError(f"{name} has no LoraLinear layer: put adapters on it with lorafy first")
    return layers


def _replace_adapted(model, layers):
    given = iter(layers)
    return jax.tree.map(lambda node: next(given) if _is_lora(node) else node, model, is_leaf=_is_lora)


def _with_weight(linear, weight):
    return eqx.tree_at(lambda one: one.weight, linear, weight)
