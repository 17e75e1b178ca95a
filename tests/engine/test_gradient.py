"""Gradient steps: what Optax does by itself."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import theorylab as tl

KEY = jax.random.key(0)


@pytest.mark.usefixtures("standard_promotion")
class TestGradient:
    @pytest.mark.parametrize("factory", [optax.sgd, optax.adam, optax.lion], ids=lambda f: f.__name__)
    def test_it_is_optax_own_loop(self, factory, dtype):
        target = jnp.asarray([1.0, -2.0], dtype)

        def loss(x):
            return jnp.sum((x - target) ** 4)

        x, optimiser = jnp.zeros(2, dtype), factory(0.05)
        state = optimiser.init(x)
        for _ in range(20):
            update, state = optimiser.update(jax.grad(loss)(x), state, x)
            x = optax.apply_updates(x, update)
        found = tl.minimise(loss, jnp.zeros(2, dtype), tl.Gradient(factory, learning_rate=0.05), steps=20).value
        assert found.dtype == x.dtype
        np.testing.assert_allclose(found, x, rtol=50 * float(jnp.finfo(dtype).eps))  # twenty steps of rounding

    def test_line_searches_get_what_they_ask_for(self):
        found = tl.minimise(
            lambda x: jnp.sum((x - 1.0) ** 2 * jnp.arange(1.0, 4.0)), jnp.zeros(3), optax.lbfgs(), steps=20
        )
        np.testing.assert_allclose(found.value, 1.0, rtol=1e-9)

    def test_aux_and_args_and_keys(self):
        found = tl.minimise(
            lambda x, c, key: (jnp.sum((x - c) ** 2) + 0 * jax.random.normal(key), {"twice": 2 * x}),
            jnp.zeros(2),
            optax.sgd(0.5),
            args=(jnp.ones(2),),
            key=KEY,
            has_aux=True,
            steps=3,
        )
        assert found.value.tolist() == [1.0, 1.0] and found.state.aux["twice"].tolist() == [2.0, 2.0]
        assert found.trace.loss[-1] == 0.0

    def test_schedules_and_flags_are_code(self):
        method = tl.Gradient(optax.sgd, optax.constant_schedule(0.1), nesterov=True, momentum=0.9)
        assert sorted(method.hyper) == ["momentum"]

    def test_bad_arguments(self):
        with pytest.raises(TypeError, match="sgd: missing a required argument: 'learning_rate'"):
            tl.Gradient(optax.sgd, rate=0.1)
        with pytest.raises(TypeError, match="built already"):
            tl.Gradient(optax.sgd(0.1), learning_rate=0.1)
        with pytest.raises(ValueError, match="learning_rate"):
            tl.Gradient(optax.sgd, learning_rate=-0.1)
