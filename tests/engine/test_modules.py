"""Iterates that are modules: what floats moves, and all comes back whole."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import theorylab as tl


@pytest.fixture(scope="module")
def net():
    return eqx.nn.MLP(1, 1, 4, 1, key=jax.random.key(0))


@pytest.mark.usefixtures("standard_promotion")
class TestModules:
    x = jnp.linspace(-1.0, 1.0, 16)[:, None]

    def loss(self, net):
        return jnp.mean((jax.vmap(net)(self.x) - self.x**2) ** 2)

    def own_loop(self, net, steps):
        """Optax on the floating arrays, as Equinox's documentation does."""
        optimiser = optax.adam(1e-2)
        state = optimiser.init(eqx.filter(net, eqx.is_inexact_array))
        for _ in range(steps):
            update, state = optimiser.update(eqx.filter_grad(self.loss)(net), state)
            net = eqx.apply_updates(net, update)
        return net

    def test_a_module_is_optimised_and_comes_back_whole(self, net):
        found = tl.minimise(self.loss, net, optax.adam(1e-2), steps=3)
        assert isinstance(found.value, eqx.nn.MLP)
        rounding = {"rtol": 1e-10}  # three steps
        np.testing.assert_allclose(self.loss(found.value), self.loss(self.own_loop(net, 3)), **rounding)
        np.testing.assert_allclose(found.trace.loss[0], self.loss(net), **rounding)
        more = tl.minimise(self.loss, None, optax.adam(1e-2), steps=2, state=found)
        np.testing.assert_allclose(self.loss(more.value), self.loss(self.own_loop(net, 5)), **rounding)

    def test_a_problem_whose_loss_takes_a_module(self, net):
        class Fit:
            def loss(fit, net, key):
                return self.loss(net)

        watch = tl.Record(tl.every(1), loss=lambda problem, state: self.loss(problem.whole(state.x)))
        method = tl.Gradient(optax.adam, learning_rate=1e-2)
        found = tl.solve(method, Fit(), net, key=0, steps=3, record=watch)
        np.testing.assert_allclose(found.trace.loss[-1], self.loss(self.own_loop(net, 3)), rtol=1e-10)
        assert isinstance(found.value, eqx.nn.MLP)
        dataset = tl.sweep(
            lambda key, rate: (tl.Gradient(optax.adam, rate), Fit(), net), over={"rate": [1e-2]}, key=0, steps=3
        )
        np.testing.assert_allclose(
            dataset["value.layers.0.weight"].values[0, 0], found.value.layers[0].weight, rtol=1e-10
        )

    def test_what_is_no_floating_array_stays(self):
        net = eqx.nn.Sequential([eqx.nn.Linear(1, 1, key=jax.random.key(0)), eqx.nn.Dropout(0.5, inference=True)])
        found = tl.minimise(self.loss, net, optax.sgd(0.1), steps=1).value
        assert found[1].p == 0.5 and found[1].inference is True and (found[0].weight != net[0].weight).all()

    def test_two_networks_play_a_game(self, net):
        """Gradient descent ascent on both, against Equinox's own gradients."""
        other = eqx.nn.MLP(1, 1, 4, 1, key=jax.random.key(1))

        def payoff(u, v, i):
            return jnp.mean(jax.vmap(u)(self.x) * jax.vmap(v)(self.x)) + 0 * i

        game = tl.games.min_max(payoff, 2, start=(net, other))
        found = tl.solve(tl.games.GradientDescentAscent(0.1, order="cyclic"), game, key=0, steps=1)
        u, v = net, other
        for _ in range(2):
            down, up = eqx.filter_grad(lambda pair: payoff(*pair, 0))((u, v))
            u = eqx.apply_updates(u, jax.tree.map(lambda g: -0.1 * g, down))
            v = eqx.apply_updates(v, jax.tree.map(lambda g: 0.1 * g, up))
        for mine, own in zip(jax.tree.leaves(found.value), jax.tree.leaves((u, v)), strict=True):
            if eqx.is_array(own):
                np.testing.assert_allclose(mine, own, rtol=1e-10)
        np.testing.assert_allclose(payoff(*found.value, 0), payoff(u, v, 0), rtol=1e-10)
        boxed = tl.games.Constrained(game, (tl.games.constraints.ball(1.0), None))
        value = tl.solve(tl.games.GradientDescentAscent(0.1), boxed, key=0, steps=1).value
        assert float(optax.tree.norm(eqx.filter(value[0], eqx.is_inexact_array))) <= 1 + 1e-12
