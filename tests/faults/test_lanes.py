"""A lane that fails, or a user's function that raises: the neighbours are untouched, byte for byte."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import theorylab as tl
from tests.engine.problems import Linear, Relax, norm
from theorylab.engine._disk.store import Store

ONE = jax.local_devices()[:1]


def sweep(rates, **keywords):
    def build(key, *, rate):
        # the problem of a lane of its own, so that a NaN in it is in that lane alone
        b = jnp.where(rate == 0.5, jnp.nan, 1.0) * jnp.ones(2)
        return Relax(jnp.where(rate == 0.5, 0.2, rate), 0.1), Linear(jnp.asarray([1.0, 2.0]), b)

    record = tl.Record(tl.every(10), e=norm)
    return tl.sweep(build, over={"rate": rates}, seeds=2, key=1, steps=64, record=record, mesh=ONE, **keywords)


@pytest.mark.parametrize(("bad", "status"), [(50.0, "diverged"), (0.5, "nonfinite"), (-1.0, "invalid")])
def test_neighbours_of_a_bad_lane(bad, status):
    good = sweep([0.1, 0.25, 0.3, 0.4])
    found = sweep([0.1, bad, 0.3, 0.4])
    name = tl.engine.status.NAMES[int(found.status.sel(rate=bad, seed=0))]
    assert name == status
    assert (found.status.isel(rate=[0, 2, 3]) == good.status.isel(rate=[0, 2, 3])).all()
    for variable in ("value", "e", "steps"):
        kept = [one[variable].isel(rate=[0, 2, 3]).values.tobytes() for one in (good, found)]
        assert kept[0] == kept[1], variable


def test_a_callback_that_raises_leaves_a_store_that_goes_on(tmp_path, monkeypatch):
    """The user's function runs on the host, inside the compiled step, and fails once at a chunk beyond the first."""
    monkeypatch.setattr(Store, "seconds", 0.0)
    failing = [True]

    def look(x):
        if failing[0] and look.calls > 30:
            raise OSError("the sensor is gone")
        look.calls += 1
        return np.asarray(x)

    look.calls = 0

    class Watched(Relax):
        def step(self, problem, state, key):
            new = super().step(problem, state, key).x
            return tl.engine.State(jax.pure_callback(look, jax.ShapeDtypeStruct(new.shape, new.dtype), new))

    def solve():
        problem = Linear(jnp.asarray([1.0, 2.0]), jnp.ones(2))
        return tl.solve(Watched(0.1, 0.1), problem, key=2, steps=60, chunk=10, store=tmp_path)

    with pytest.raises(Exception, match="the sensor is gone"):
        solve()
    assert sorted(file.stem.split("-")[1] for file in (tmp_path / "state").iterdir()) == ["20", "30"]
    failing[0] = False
    resumed = solve()
    whole = tl.solve(Relax(0.1, 0.1), Linear(jnp.asarray([1.0, 2.0]), jnp.ones(2)), key=2, steps=60)  # never watched
    assert resumed.stats["chunks"] == 3
    np.testing.assert_allclose(resumed.value, whole.value, rtol=1e-13)
