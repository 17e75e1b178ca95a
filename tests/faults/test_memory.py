"""Out of memory in a block: half of its lanes at a time, and it says so."""

import json
import subprocess
import sys
from pathlib import Path

SCRIPT = """
import json, resource, sys, warnings
import jax, jax.numpy as jnp, numpy as np
# dispatched in the background, XLA's CPU client (jaxlib 0.10.2) waits forever for a program whose scratch did not fit
jax.config.update("jax_cpu_enable_async_dispatch", False)
import theorylab as tl

class Grow(tl.Method):
    '''The state is 2 MiB; nothing else is.'''
    rate: jax.Array
    def init(self, problem, key, x0=None):
        return tl.engine.State(jnp.full((512, 1024), self.rate))
    def step(self, problem, state, key):
        return tl.engine.State(state.x * 0.5)
    def readout(self, problem, state):
        return state.x[0, 0]

def build(key, *, rate):
    return Grow(rate), jnp.zeros(())

rates = jnp.linspace(1.0, 2.0, 512)
def sweep(**keywords):
    return tl.sweep(build, over={"rate": rates}, seeds=1, key=0, steps=3, **keywords)

whole = sweep(memory_limit=64 * 2**20)
held = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (held + 900 * 2**20, resource.RLIM_INFINITY))
with warnings.catch_warnings(record=True) as told:
    warnings.simplefilter("always")
    ds = sweep(memory_limit=2**40)
notes = json.loads(ds.attrs["stats"])["notes"]
np.testing.assert_allclose(ds.value, whole.value, rtol=1e-6)
assert ds.completed.all()
print(json.dumps({"notes": notes, "warnings": [str(w.message) for w in told]}))
"""


def test_a_block_that_does_not_fit_is_halved():
    """A process that may have 900 MiB more asks for a GiB of states at once."""
    ran = subprocess.run(
        [sys.executable, "-c", SCRIPT],
        capture_output=True,
        text=True,
        cwd=Path(__file__).parents[2],
        check=False,
        timeout=300,
    )
    assert ran.returncode == 0, ran.stderr
    found = json.loads(ran.stdout)
    assert "512 lanes at once ran out of memory" in found["notes"][0] and "RESOURCE_EXHAUSTED" in found["notes"][0]
    assert any("going on with half of them at a time" in text for text in found["warnings"])
    assert any("Set memory_limit=" in text for text in found["warnings"])
