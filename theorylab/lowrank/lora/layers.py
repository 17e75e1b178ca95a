"""Low-rank adapters on the linear layers of any model: put on, trained alone, merged."""

import math
import re
from collections.abc import Callable, Mapping
from numbers import Real
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Float, PRNGKeyArray, PyTree

from ...numerics.checked import Key
from ...numerics.draws import normal
from ..problems import check_rank
from .flow import spectral_pair

STARTS = ("spectral", "standard")


class LoraLinear(eqx.Module):
    r"""A linear layer with a low-rank adapter beside its weight: $y = Wx + sB(Ax) + c$.

    **Arguments**: `linear`, an `equinox.nn.Linear` of weight W (out, in), or a stack of such with leading axes; `A`
    (..., rank, in); `B` (..., out, rank); `scaling` s, a number that no training moves, in `lorafy` alpha/rank.

    **Source**: Hu et al. (2021), arXiv 2106.09685, Section 4.1.

        >>> import equinox as eqx, jax, jax.numpy as jnp, theorylab as tl
        >>> linear = eqx.nn.Linear(3, 2, key=jax.random.key(0))
        >>> layer = tl.lowrank.lora.LoraLinear(linear, jnp.ones((1, 3)), jnp.ones((2, 1)))
        >>> bool(jnp.allclose(layer(jnp.ones(3)), linear(jnp.ones(3)) + 3.0))
        True
    """

    linear: eqx.nn.Linear
    A: Float[Array, "*layers rank inputs"]
    B: Float[Array, "*layers outputs rank"]
    scaling: float = eqx.field(static=True, default=1.0)

    def __call__(self, x: Array, *, key: PRNGKeyArray | None = None) -> Array:
        """The layer's output, of the shape that the linear layer gives."""
        y = self.linear(x, key=key)
        return y + self.scaling * (self.B @ (self.A @ x.reshape(-1))).reshape(y.shape)


def lorafy(
    model: PyTree,
    rank: int,
    *,
    where: Callable[[PyTree], Any],
    init: str = "spectral",
    key: Key | None = None,
    gradient: PyTree | None = None,
    scale: ArrayLike = 1.0,
    alpha: float | int | None = None,
    rslora: bool = False,
    rank_pattern: Mapping[str, int] | None = None,
    alpha_pattern: Mapping[str, float | int] | None = None,
) -> PyTree:
    r"""Put adapters $W + \frac\alpha r BA$ on chosen linear layers of a model; with B = 0 it computes what it did.

    `"standard"` draws A from N(0, 1/in), rows of a length near one. `"spectral"` takes as rows of A the top right
    singular vectors of the loss's gradient in W: the directions along which one full gradient step moves the layer
    most. Small starts align with them by themselves, and slowly. Train with `adapters_only`, end with
    `merge_adapters`.

    By default the product is not scaled. With $s = \alpha/r$ the gradient flow from (A, B) is, in the variables
    $(\sqrt sA, \sqrt sB)$, the flow of the product alone, s times as fast: so `lora_flow` and `spectral_init`, which
    know no alpha, speak of scaled adapters too.

    A pattern is a regular expression for the path of a layer in the model (`layers.0`, `blocks.3.attention.query_proj`)
    or for the end of one after a dot (`query_proj`). Of several that match, the first counts.

    **Arguments**: `model`, a pytree with `equinox.nn.Linear` layers; `rank`, from 1 to the least dimension of the
    chosen weights; `where`, from the model to a layer or several, or to whole parts of it, all of whose linear layers
    are meant: `lambda model: model.layers[-1]`, `lambda model: model`; `init`, `"spectral"` or `"standard"`; `key`, a
    typed key (), for the standard start; `gradient`, for the spectral one, the gradient of the loss in the model, as
    `equinox.filter_grad` gives it; `scale`, (), by which A is multiplied at the start; `alpha`, a positive number, by
    default the rank; `rslora`, whether the product is scaled by $\alpha/\sqrt r$ instead (rank-stabilised);
    `rank_pattern`, `alpha_pattern`, from patterns to the ranks and alphas of the layers that match.

    **Returns** a model of the same kind, with `LoraLinear` in the place of the chosen layers.

    **Raises** `ValueError` for a `where` that finds no linear layer, a rank above a layer's dimensions, an unknown
    start, a standard start without a key, a spectral one without a gradient or with a zero one, an alpha that is not
    positive, `rslora` without alpha, and a pattern that matches no chosen layer.

    **Source**: Hu et al. (2021), arXiv 2106.09685; the spectral start: Xu et al. (2025), arXiv 2503.06982, Section 4,
    in the form by the gradient, derived here; rsLoRA: Kalajdzievski (2023), arXiv 2312.03732; the flow of scaled
    adapters, derived here and checked by steps of descent, which keep the same law.

        >>> import equinox as eqx, jax, jax.numpy as jnp, theorylab as tl
        >>> model = eqx.nn.MLP(4, 3, 8, 1, key=jax.random.key(0))
        >>> start = dict(where=lambda m: m.layers, init="standard", key=jax.random.key(1))
        >>> adapted = tl.lowrank.lorafy(model, 2, alpha=4, rank_pattern={"layers.0": 3}, **start)
        >>> [(layer.A.shape, round(layer.scaling, 2)) for layer in adapted.layers]
        [((3, 4), 1.33), ((2, 8), 2.0)]
        >>> bool(jnp.allclose(adapted(jnp.ones(4)), model(jnp.ones(4))))
        True
    """
    _check_init(init, key, gradient)
    layers = _linears(where(model))
    if not layers:
        raise ValueError(
            "where finds no equinox.nn.Linear that is not adapted already: return a linear layer of the model, several "
            "of them, or a part that holds some"
        )
    if rslora and alpha is None:
        raise ValueError("rslora = True scales alpha by 1/sqrt(rank), and alpha is None: pass an alpha")
    paths = _paths(model, layers)
    ranks = _by_pattern("rank_pattern", rank_pattern or {}, rank, paths)
    alphas = _by_pattern("alpha_pattern", alpha_pattern or {}, alpha, paths)
    if init == "standard":
        keys, slopes = jax.random.split(key, len(layers)), [None] * len(layers)  # pyright: ignore[reportArgumentType]
    else:
        keys, slopes = [None] * len(layers), [slope.weight for slope in _linears(where(gradient))]
        if len(slopes) != len(layers):
            raise ValueError(
                f"gradient has {len(slopes)} linear layers where the model has {len(layers)}: pass what "
                "equinox.filter_grad gives for this model"
            )
    replaced = []
    for layer, path, r, a, one, slope in zip(layers, paths, ranks, alphas, keys, slopes, strict=True):
        pair = _pair(layer.weight, r, init, one, slope, scale, f"rank of {path}" if path else "rank")
        replaced.append(LoraLinear(layer, *pair, scaling=_scaling(a, r, rslora)))
    return eqx.tree_at(lambda tree: _linears(where(tree)), model, replaced)


def adapters_only(model: PyTree) -> PyTree:
    """Mark the adapters of a model: True for A and B of every `LoraLinear`, False for all else.

    For `equinox.partition(model, adapters_only(model))`, whose first half is what Optax updates.

    **Arguments**: `model`, a pytree.

    **Returns** a pytree of bools with the model's structure.

    **Raises** `ValueError` where the model has no adapter.

    **Source**: derived here.

        >>> import equinox as eqx, jax, theorylab as tl
        >>> model = eqx.nn.Linear(4, 3, key=jax.random.key(0))
        >>> adapted = tl.lowrank.lorafy(model, 1, where=lambda m: m, init="standard", key=jax.random.key(1))
        >>> trained, frozen = eqx.partition(adapted, tl.lowrank.lora.adapters_only(adapted))
        >>> [leaf.shape for leaf in jax.tree.leaves(trained)]
        [(1, 4), (3, 1)]
    """
    if not _adapted(model):
        raise ValueError("model has no LoraLinear layer: put adapters on it with lorafy first")

    def mark(node):
        marks = jax.tree.map(lambda _: False, node)
        return eqx.tree_at(lambda one: (one.A, one.B), marks, (True, True)) if isinstance(node, LoraLinear) else marks

    return jax.tree.map(mark, model, is_leaf=_is_lora)


def merge_adapters(model: PyTree) -> PyTree:
    """Add every adapter of a model to its weight, W + s B A: plain linear layers again, at their old cost.

    **Arguments**: `model`, a pytree with `LoraLinear` layers.

    **Returns** the model with `equinox.nn.Linear` in their place.

    **Raises** `ValueError` where the model has no adapter.

    **Source**: Hu et al. (2021), arXiv 2106.09685; checked against the adapted model.

        >>> import equinox as eqx, jax, jax.numpy as jnp, theorylab as tl
        >>> linear = eqx.nn.Linear(3, 2, use_bias=False, key=jax.random.key(0))
        >>> layer = tl.lowrank.lora.LoraLinear(linear, jnp.ones((1, 3)), jnp.ones((2, 1)))
        >>> bool(jnp.all(tl.lowrank.lora.merge_adapters(layer).weight == linear.weight + 1))
        True
    """
    layers = _require_adapted(model)
    merged = [_with_weight(layer.linear, layer.linear.weight + _product(layer)) for layer in layers]
    return _replace_adapted(model, merged)


def unmerge_adapters(merged: PyTree, adapted: PyTree) -> PyTree:
    """Take the adapters of a merged model out of its weights once more, to go on with their training.

    **Arguments**: `merged`, what `merge_adapters` gave, perhaps changed elsewhere since; `adapted`, the model that it
    was made from, which holds the adapters.

    **Returns** a model like `adapted`, with the weights of `merged` less s B A.

    **Raises** `ValueError` where `adapted` has no adapter, or the two are not of one structure.

    **Source**: derived here; checked by merging again.

        >>> import equinox as eqx, jax, jax.numpy as jnp, theorylab as tl
        >>> linear = eqx.nn.Linear(3, 2, key=jax.random.key(0))
        >>> layer = tl.lowrank.lora.LoraLinear(linear, jnp.ones((1, 3)), jnp.ones((2, 1)))
        >>> back = tl.lowrank.lora.unmerge_adapters(tl.lowrank.lora.merge_adapters(layer), layer)
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
        return LoraLinear(_with_weight(base, base.weight - _product(lora)), lora.A, lora.B, lora.scaling)

    return jax.tree.map(restore, places, merged, adapted, is_leaf=lambda node: isinstance(node, bool))


def kernel_adapters(
    kernel: Array,
    rank: int,
    *,
    init: str = "spectral",
    key: Key | None = None,
    gradient: Array | None = None,
    scale: ArrayLike = 1.0,
) -> tuple[Float[Array, "inputs rank"], Float[Array, "rank outputs"]]:
    r"""Make the start of `lorafy` for a kernel in the layout of Flax, $y = x(K + DU)$: D down to the rank, U = 0 up.

    With an alpha it is $K + \frac\alpha r DU$ that one applies: the start is the same.

    **Arguments**: `kernel` K (in, out), of a `flax.linen.Dense` or a `flax.nnx.Linear`; `rank`, from 1 to min(in,
    out); `init`, `key` and `scale` as in `lorafy`; `gradient` (in, out), of the loss in K, for the spectral start.

    **Returns** (D (in, rank), U (rank, out)), of the kernel's dtype; U is zero.

    **Raises** `ValueError` as `lorafy` does, and for a kernel that is not a matrix.

    **Source**: as `lorafy`, whose factors these are, transposed.

        >>> import jax, jax.numpy as jnp, theorylab as tl
        >>> gradient = jnp.zeros((3, 2)).at[1, 0].set(-4.0)
        >>> down, up = tl.lowrank.lora.kernel_adapters(jnp.ones((3, 2)), 1, gradient=gradient)
        >>> jnp.abs(down[:, 0]).tolist(), up.shape
        ([0.0, 1.0, 0.0], (1, 2))
    """
    _check_init(init, key, gradient)
    if kernel.ndim != 2:
        raise ValueError(f"kernel has the shape {kernel.shape}: pass a matrix (in, out), reshaped if need be")
    A, B = _pair(kernel.T, rank, init, key, None if gradient is None else gradient.T, scale)
    return A.T, B.T


def _pair(weight, rank, init, key, gradient, scale, name="rank"):
    """A and B for a weight (..., out, in)."""
    check_rank(name, rank, weight.shape[-2:])
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


def _paths(model, layers):
    """Where in the model each layer stands, as attributes and indices joined by dots."""
    nodes = jax.tree_util.tree_leaves_with_path(model, is_leaf=lambda one: isinstance(one, eqx.nn.Linear | LoraLinear))
    path_of = {id(node): jax.tree_util.keystr(path, simple=True, separator=".") for path, node in nodes}
    return [path_of.get(id(layer), "") for layer in layers]


def _by_pattern(name, patterns, default, paths):
    """The value of each path: of the first pattern that matches it, or the default."""

    def matches(pattern, path):
        try:
            return re.fullmatch(rf"(.*\.)?({pattern})", path)
        except re.error as error:
            raise ValueError(f"{name}: {pattern!r} is not a regular expression, {error}: correct it") from None

    for pattern in patterns:
        if not any(matches(pattern, path) for path in paths):
            raise ValueError(f"{name}: {pattern!r} matches none of the chosen layers ({', '.join(paths)}): correct it")
    return [next((value for pattern, value in patterns.items() if matches(pattern, path)), default) for path in paths]


def _scaling(alpha, rank, rslora):
    if alpha is None:
        return 1.0
    if isinstance(alpha, bool) or not isinstance(alpha, Real) or not 0 < float(alpha) < math.inf:
        raise ValueError(f"alpha = {alpha!r} must be a positive number, by default the rank")
    return float(alpha) / (math.sqrt(rank) if rslora else rank)


def _product(layer):
    return layer.scaling * (layer.B @ layer.A)


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
