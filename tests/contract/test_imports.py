"""What an import costs, and which floor may import which."""

import pathlib
import resource
import subprocess
import sys

ROOT = pathlib.Path(__file__).parents[2]
HEAVY = ("jax", "jaxlib", "equinox", "xarray", "matplotlib", "optax", "diffrax", "sklearn", "scipy")


def python(*words):
    """Run Python at the package's root; its output, once it has ended well."""
    done = subprocess.run([sys.executable, *words], capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_importing_the_package_loads_nothing_heavy():
    loaded = python("-c", "import sys, theorylab; print(*sys.modules)").split()
    assert "theorylab" in loaded and not set(HEAVY) & set(loaded)


def test_floors_hold():
    """The contracts of pyproject.toml, by import-linter."""
    said = python("-c", "from importlinter.cli import lint_imports_command as lint; lint(['--no-cache'])")
    assert "0 broken" in said


def test_list_takes_a_cpu_second():
    """One of three, since the machine may be busy."""

    def seconds():
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        assert "seg_rr" in python("-c", "import sys; from theorylab.cli import main; sys.exit(main(['list']))")
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime

    assert any(seconds() <= 1 for _ in range(3))
