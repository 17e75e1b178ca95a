"""Adapters on models: starts, what trains, merging, real data, and the layout of Flax."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from sklearn.datasets import load_digits

from theorylab.lowrank import lora

KEY = jax.random.key(0)


def everywhere(model):
    return model


@pytest.fixture(scope="module")
def mlp():
    return eqx.nn.MLP(6, 4, 5, 2, key=KEY)


def squares(model, x):
    return jnp.mean(jax.vmap(model)(x) ** 2)


@pytest.fixture(scope="module")
def batch():
    return jnp.asarray(np.random.default_rng(1).normal(size=(7, 6)))


@pytest.fixture(scope="module")
def gradient(mlp, batch):
    return eqx.filter_grad(squares)(mlp, batch)


@pytest.mark.parametrize("init", ["standard", "spectral"])
def test_at_the_start_nothing_has_changed(init, mlp, batch, gradient):
    adapted = lora.lorafy(mlp, 2, where=everywhere, init=init, key=KEY, gradient=gradient)
    assert all(isinstance(layer, lora.LoraLinear) for layer in adapted.layers)
    assert np.allclose(jax.vmap(adapted)(batch), jax.vmap(mlp)(batch), rtol=1e-12, atol=1e-14)
    assert all(layer.A.shape[0] == 2 and not np.any(layer.B) for layer in adapted.layers)


def test_the_spectral_start_descends_fastest(mlp, gradient):
    """Rows of A: orthonormal, and among all such the ones along which the gradient in B is largest."""
    adapted = lora.lorafy(mlp, 2, where=everywhere, gradient=gradient, scale=3.0)
    for layer, slope in zip(adapted.layers, gradient.layers, strict=True):
        assert np.allclose(layer.A @ layer.A.T, 9 * np.eye(2), rtol=0, atol=1e-5)
        values = np.linalg.svd(slope.weight, compute_uv=False)
        seen = np.linalg.norm(np.asarray(slope.weight @ layer.A.T)) / 3
        assert seen == pytest.approx(np.linalg.norm(values[:2]), rel=1e-5)


def test_the_standard_start_has_rows_of_length_one():
    linear = eqx.nn.Linear(400, 300, key=KEY)
    A = lora.lorafy(linear, 100, where=everywhere, init="standard", key=KEY).A
    # 40,000 draws: four standard errors of a variance
    assert float(jnp.mean(A**2)) * 400 == pytest.approx(1, abs=4 * np.sqrt(2 / 40_000))


def test_where_chooses_layers_and_parts(mlp):
    def types(where):
        adapted = lora.lorafy(mlp, 1, where=where, init="standard", key=KEY)
        return [isinstance(layer, lora.LoraLinear) for layer in adapted.layers]

    assert types(lambda m: m.layers[-1]) == [False, False, True]
    assert types(lambda m: [m.layers[0], m.layers[2]]) == [True, False, True]
    assert types(lambda m: m.layers[:2]) == [True, True, False]
    twice = lora.lorafy(mlp, 1, where=lambda m: m.layers[0], init="standard", key=KEY)
    rest = lora.lorafy(twice, 1, where=everywhere, init="standard", key=KEY)
    assert rest.layers[0] is not None and isinstance(rest.layers[0].linear, eqx.nn.Linear)


def test_other_models():
    """Attention, stacked layers under vmap, and half precision."""
    attention = eqx.nn.MultiheadAttention(2, 6, key=KEY)
    adapted = lora.lorafy(attention, 2, where=lambda m: m.query_proj, init="standard", key=KEY)
    moved = eqx.tree_at(lambda m: m.query_proj.B, adapted, jnp.ones_like(adapted.query_proj.B))
    x = jnp.asarray(np.random.default_rng(0).normal(size=(3, 6)))
    assert np.allclose(moved(x, x, x), lora.merge_adapters(moved)(x, x, x), rtol=0, atol=1e-5)

    stack = eqx.filter_vmap(lambda key: eqx.nn.Linear(6, 5, key=key))(jax.random.split(KEY, 3))
    slope = eqx.tree_at(lambda m: m.weight, stack, stack.weight + 1)
    many = lora.lorafy(stack, 2, where=everywhere, gradient=slope)
    many = eqx.tree_at(lambda m: m.B, many, jnp.ones_like(many.B))
    assert many.A.shape == (3, 2, 6) and many.B.shape == (3, 5, 2)
    apply = eqx.filter_vmap(lambda layer, x: layer(x))
    assert np.allclose(apply(many, x), apply(lora.merge_adapters(many), x), rtol=0, atol=1e-5)

    half = jax.tree.map(lambda leaf: leaf.astype(jnp.bfloat16), eqx.nn.Linear(6, 5, key=KEY))
    assert lora.lorafy(half, 2, where=everywhere, gradient=half).A.dtype == jnp.bfloat16


@pytest.fixture(scope="module")
def digits():
    features, labels = map(np.asarray, load_digits(return_X_y=True))
    pictures = jnp.asarray(features / 16, jnp.float32)
    turned = jnp.rot90(pictures.reshape(-1, 8, 8), axes=(1, 2)).reshape(-1, 64)
    return pictures, turned, jnp.asarray(labels)


def cross_entropy(model, x, labels):
    return jnp.mean(optax.softmax_cross_entropy_with_integer_labels(jax.vmap(model)(x), labels))


def train(model, marks, x, labels, steps):
    """Adam at full batch on the leaves that are marked; the model and the losses."""
    trained, frozen = eqx.partition(model, marks)
    optimiser = optax.adam(1e-2)

    @jax.jit
    def run(trained, x, labels):
        def step(carry, _):
            trained, state = carry
            value, slope = jax.value_and_grad(lambda t: cross_entropy(eqx.combine(t, frozen), x, labels))(trained)
            updates, state = optimiser.update(slope, state)
            return (optax.apply_updates(trained, updates), state), value

        return jax.lax.scan(step, (trained, optimiser.init(trained)), None, length=steps)

    (trained, _), losses = run(trained, x, labels)
    return eqx.combine(trained, frozen), np.asarray(losses)


@pytest.fixture(scope="module")
def pretrained(digits):
    with jax.numpy_dtype_promotion("standard"):
        model = eqx.nn.MLP(64, 10, 32, 1, key=KEY, dtype=jnp.float32)
        model, losses = train(model, jax.tree.map(eqx.is_array, model), digits[0], digits[2], 200)
    assert losses[-1] < 0.2 < 2 < losses[0]
    return model


@pytest.mark.parametrize("init", ["standard", "spectral"])
def test_fine_tuning_on_turned_digits(init, pretrained, digits, standard_promotion):
    """Only adapters move, the loss falls by half and more, and the merged model is the adapted one."""
    _, turned, labels = digits
    gradient = eqx.filter_grad(cross_entropy)(pretrained, turned, labels)
    adapted = lora.lorafy(pretrained, 4, where=everywhere, init=init, key=KEY, gradient=gradient)
    marks = lora.adapters_only(adapted)
    tuned, losses = train(adapted, marks, turned, labels, 150)
    assert losses[0] == pytest.approx(float(cross_entropy(pretrained, turned, labels)), rel=1e-6)
    assert losses[-1] < losses[0] / 2
    for old, new in zip(pretrained.layers, tuned.layers, strict=True):
        assert np.array_equal(old.weight, new.linear.weight) and np.array_equal(old.bias, new.linear.bias)
        assert np.any(new.B)
    merged = lora.merge_adapters(tuned)
    assert jax.tree.structure(merged) == jax.tree.structure(pretrained)
    # float32 rounding of logits of the order 10, through two layers
    assert np.allclose(jax.vmap(merged)(turned), jax.vmap(tuned)(turned), rtol=0, atol=1e-3)
    change = merged.layers[0].weight - pretrained.layers[0].weight
    assert np.linalg.matrix_rank(np.asarray(change), tol=1e-4) == 4


@pytest.fixture(scope="module")
def scaled(mlp):
    """Three layers of ranks 3, 2, 2 and alphas 6, 6, 1, none of whose factors is zero."""
    patterns = {"rank_pattern": {"layers.0": 3}, "alpha_pattern": {r"2": 1}}
    adapted = lora.lorafy(mlp, 2, where=everywhere, init="standard", key=KEY, alpha=6, **patterns)
    ups = [jnp.cos(jnp.arange(layer.B.size, dtype=float)).reshape(layer.B.shape) for layer in adapted.layers]
    return eqx.tree_at(lambda m: [layer.B for layer in m.layers], adapted, ups)


def test_alpha_over_the_rank_scales_the_product(mlp, scaled, batch):
    """W + (alpha/rank) B A, by the layer's own rank and alpha, when applied and when merged."""
    assert [layer.A.shape[0] for layer in scaled.layers] == [3, 2, 2]
    merged = lora.merge_adapters(scaled)
    for layer, plain, found, scale in zip(scaled.layers, mlp.layers, merged.layers, (2, 3, 0.5), strict=True):
        weight = np.asarray(plain.weight) + scale * (np.asarray(layer.B) @ np.asarray(layer.A))
        assert np.allclose(found.weight, weight, rtol=0, atol=1e-6)  # rounding in float32, entries of the order 1
    assert np.allclose(jax.vmap(merged)(batch), jax.vmap(scaled)(batch), rtol=0, atol=1e-5)


def test_merging_scaled_adapters_and_back(mlp, scaled):
    back = lora.unmerge_adapters(lora.merge_adapters(scaled), scaled)
    assert jax.tree.structure(back) == jax.tree.structure(scaled)
    for layer, plain in zip(back.layers, mlp.layers, strict=True):
        assert np.allclose(layer.linear.weight, plain.weight, rtol=0, atol=1e-6)


def test_alpha_by_default_changes_nothing(mlp):
    start = {"where": everywhere, "init": "standard", "key": KEY}
    plain, as_rank = lora.lorafy(mlp, 2, **start), lora.lorafy(mlp, 2, alpha=2, **start)
    assert [layer.scaling for layer in (*plain.layers, *as_rank.layers)] == [1.0] * 6
    stable = lora.lorafy(mlp, 2, alpha=6, rslora=True, **start)
    assert [layer.scaling for layer in stable.layers] == [pytest.approx(6 / np.sqrt(2))] * 3
    assert sum(jax.tree.leaves(lora.adapters_only(stable))) == 6  # no scale is trained


def test_scaled_descent_is_plain_descent_from_a_larger_start():
    """With s = alpha/rank descent of step eta from (A, B) is that of step s eta from (sqrt(s) A, sqrt(s) B) without."""
    draws, s = np.random.default_rng(0), 3.0
    W, target = (jnp.asarray(draws.normal(size=(5, 4))) for _ in range(2))
    linear = eqx.tree_at(lambda one: one.weight, eqx.nn.Linear(4, 5, use_bias=False, key=KEY), W)
    A, B = jnp.asarray(draws.normal(size=(2, 4))), jnp.asarray(draws.normal(size=(5, 2)))

    def descended(layer, step_size):
        trained, frozen = eqx.partition(layer, lora.adapters_only(layer))
        for _ in range(5):
            slope = jax.grad(lambda one: jnp.sum((lora.merge_adapters(eqx.combine(one, frozen)).weight - target) ** 2))(
                trained
            )
            trained = jax.tree.map(lambda x, g: x - step_size * g, trained, slope)
        return lora.merge_adapters(eqx.combine(trained, frozen)).weight

    scaled = descended(lora.LoraLinear(linear, A, B, s), 1e-3)
    plain = descended(lora.LoraLinear(linear, np.sqrt(s) * A, np.sqrt(s) * B), s * 1e-3)
    assert np.max(np.abs(scaled - W - s * B @ A)) > 0.01
    assert np.allclose(scaled, plain, rtol=0, atol=1e-12)  # rounding in float64


def test_patterns_are_of_whole_names(mlp):
    """Of a path or of its end after a dot, the first that matches, as regular expressions."""

    def ranks(**patterns):
        layers = lora.lorafy(mlp, 1, where=everywhere, init="standard", key=KEY, **patterns).layers
        return [layer.A.shape[0] for layer in layers]

    assert ranks(rank_pattern={"layers.1": 2}) == [1, 2, 1]
    assert ranks(rank_pattern={"[01]": 3, "layers.*": 2}) == [3, 3, 2]
    attention = eqx.nn.MultiheadAttention(2, 6, key=KEY)
    both = lora.lorafy(
        {"blocks": [attention]}, 1, where=everywhere, init="standard", key=KEY, rank_pattern={"query_proj": 2}
    )["blocks"][0]
    assert both.query_proj.A.shape[0] == 2 and both.value_proj.A.shape[0] == 1


def test_merging_and_back(mlp):
    adapted = lora.lorafy(mlp, 2, where=lambda m: m.layers[1:], init="standard", key=KEY)
    adapted = eqx.tree_at(lambda m: m.layers[1].B, adapted, jnp.ones_like(adapted.layers[1].B))
    merged = lora.merge_adapters(adapted)
    # a layer without an adapter that has changed since stays changed
    merged = eqx.tree_at(lambda m: m.layers[0].bias, merged, merged.layers[0].bias + 1)
    back = lora.unmerge_adapters(merged, adapted)
    assert np.allclose(back.layers[1].linear.weight, mlp.layers[1].weight, rtol=0, atol=1e-6)
    assert np.array_equal(back.layers[1].A, adapted.layers[1].A)
    assert np.array_equal(back.layers[0].bias, mlp.layers[0].bias + 1)
    again = lora.merge_adapters(back)
    assert np.allclose(again.layers[1].weight, merged.layers[1].weight, rtol=0, atol=1e-6)


def test_marks_are_of_adapters_alone(mlp):
    adapted = lora.lorafy(mlp, 2, where=lambda m: m.layers[0], init="standard", key=KEY)
    marks = lora.adapters_only(adapted)
    assert sum(jax.tree.leaves(marks)) == 2 and marks.layers[0].A is True and marks.layers[0].B is True
    trained = jax.tree.leaves(eqx.filter(adapted, marks))
    assert [leaf.shape for leaf in trained] == [(2, 6), (5, 2)]


def test_kernels_of_flax(mlp, gradient):
    """The same factors, transposed, on parameters that Flax made and applies."""
    import flax.linen as nn

    weight, slope = mlp.layers[0].weight, gradient.layers[0].weight
    layer = lora.lorafy(mlp, 2, where=lambda m: m.layers[0], gradient=gradient).layers[0]
    down, up = lora.kernel_adapters(weight.T, 2, gradient=slope.T)
    assert np.array_equal(down, layer.A.T) and np.array_equal(up, layer.B.T)

    dense = nn.Dense(5, dtype=jnp.float64, param_dtype=jnp.float64)
    x = jnp.ones((1, 6))
    params = dense.init(KEY, x)
    kernel = params["params"]["kernel"]
    down, up = lora.kernel_adapters(kernel, 2, init="standard", key=KEY)
    up = up + 1
    merged = {"params": params["params"] | {"kernel": kernel + down @ up}}
    assert np.allclose(dense.apply(merged, x), dense.apply(params, x) + x @ down @ up, rtol=0, atol=1e-12)


@pytest.mark.parametrize(
    "change, words",
    [
        ({"rank": 5}, "rank of layers.2 = 5 must be an integer from 1 to 4"),
        ({"rank": 0}, "rank of layers.0 = 0 must be"),
        ({"rank_pattern": {"layers.2": 5}}, "rank of layers.2 = 5 must be an integer from 1 to 4"),
        ({"rank_pattern": {"layer": 1}}, r"rank_pattern: 'layer' matches none of the chosen layers \(layers.0, "),
        ({"alpha_pattern": {"layers.3": 1}}, "alpha_pattern: 'layers.3' matches none"),
        ({"alpha_pattern": {"(": 1}}, r"alpha_pattern: '\(' is not a regular expression"),
        ({"alpha": 0}, "alpha = 0 must be a positive number"),
        ({"alpha": float("nan")}, "alpha = nan must be a positive number"),
        ({"rslora": True}, "alpha is None: pass an alpha"),
        ({"where": lambda m: []}, "where finds no"),
        ({"where": lambda m: m.layers[0].weight}, "where finds no"),
        ({"gradient": None}, "gradient is None"),
        ({"init": "standard"}, "key is None"),
        ({"init": "zero"}, "init = 'zero' is not one of"),
    ],
)
def test_bad_input(change, words, mlp, gradient):
    given = {"rank": 2, "where": everywhere, "init": "spectral", "gradient": gradient} | change
    rank = given.pop("rank")
    with pytest.raises(ValueError, match=words):
        lora.lorafy(mlp, rank, **given)


def test_bad_gradients_and_models(mlp, gradient):
    with pytest.raises(ValueError, match="the gradient is zero"):
        lora.lorafy(mlp, 1, where=everywhere, gradient=jax.tree.map(jnp.zeros_like, eqx.filter(mlp, eqx.is_array)))
    with pytest.raises(ValueError, match="the gradient is not finite"):
        bad = eqx.tree_at(lambda m: m.layers[0].weight, gradient, gradient.layers[0].weight * jnp.nan)
        lora.lorafy(mlp, 1, where=everywhere, gradient=bad)
    with pytest.raises(ValueError, match="gradient has the shape"):
        lora.kernel_adapters(jnp.ones((3, 2)), 1, gradient=jnp.ones((2, 3)))
    with pytest.raises(ValueError, match=r"kernel has the shape \(3,\)"):
        lora.kernel_adapters(jnp.ones(3), 1, gradient=jnp.ones(3))
    for call in (lora.adapters_only, lora.merge_adapters, lambda m: lora.unmerge_adapters(m, m)):
        with pytest.raises(ValueError, match="no LoraLinear"):
            call(mlp)
    adapted = lora.lorafy(mlp, 1, where=everywhere, init="standard", key=KEY)
    with pytest.raises(ValueError, match="not of one structure"):
        lora.unmerge_adapters(mlp.layers[0], adapted)
