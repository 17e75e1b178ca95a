"""House rules of every test: strict promotion, eight virtual CPU devices, both precisions, a warm compilation cache."""

import contextlib
import gc
import io
import os
import pathlib
import runpy
import types

import jax
import jaxtyping
import pytest

from theorylab._names import rooms

gc.set_threshold(20_000, 20, 20)  # tracing makes many small objects that stay: fewer looks at them

_jaxtyped = jaxtyping.jaxtyped


def _jaxtyped_if_annotated(fn=None, **keywords):
    """`jaxtyped`, which the import hook puts on every function, for those that have annotations to check.

    A function made within another is decorated anew each time the other is called, and most have no annotations:
    that took a third of the tests that mostly trace.
    """
    if fn is None:
        return lambda fn: _jaxtyped_if_annotated(fn, **keywords)
    if isinstance(fn, types.FunctionType) and not fn.__annotations__:
        return fn
    return _jaxtyped(fn, **keywords)


jaxtyping.jaxtyped = _jaxtyped_if_annotated

jax.config.update("jax_num_cpu_devices", 8)
jax.config.update("jax_enable_x64", True)
jax.config.update("jax_numpy_dtype_promotion", "strict")
jax.config.update("jax_numpy_rank_promotion", "raise")
jax.config.update("jax_compilation_cache_dir", str(pathlib.Path(__file__).parent / ".jax_cache"))
jax.config.update("jax_persistent_cache_min_compile_time_secs", 0)
jax.config.update("jax_persistent_cache_min_entry_size_bytes", -1)

ROOMS = {pathlib.Path(__file__).parent / "tests" / name for name in rooms()}
QUICK = "--xla_cpu_use_fusion_emitters=false" if jax.__version_info__ < (0, 11) else ""  # 0.12 knows it no more


def _start_xla():
    """XLA with its older code generator for CPUs, which compiles in two thirds of the time: compiling is most of what
    tests cost. What they start as processes of their own, as users do, keeps the default."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XLA_FLAGS", " ".join(filter(None, [os.environ.get("XLA_FLAGS"), QUICK])))
        jax.devices()  # the flags are read once, here


if QUICK:
    _start_xla()


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_protocol(item):
    """In the rooms mathematics is tested, many small programs once each: there LLVM need not optimise either."""
    jax.config.update("jax_disable_most_optimizations", not ROOMS.isdisjoint(item.path.parents))


@pytest.fixture(params=["float32", "float64"])
def dtype(request):
    """Both precisions."""
    return request.param


@pytest.fixture
def standard_promotion():
    """For tests that step through Optax, whose adam is not clean under strict promotion."""
    with jax.numpy_dtype_promotion("standard"):
        yield


@pytest.fixture
def compilations():
    """`with compilations() as count: ...; count()`: how many programs XLA compiled."""
    from jax._src import monitoring  # the public module registers listeners but cannot take one away

    @contextlib.contextmanager
    def counting():
        seen = []

        def listen(event, duration, **_):
            if "backend_compile" in event:
                seen.append(event)

        jax.monitoring.register_event_duration_secs_listener(listen)
        try:
            yield lambda: len(seen)
        finally:
            monitoring.unregister_event_duration_listener(listen)

    return counting


@pytest.fixture(scope="session")
def page_blocks():
    """`page_blocks("start/install")`: the Python blocks of a page of the documentation, each with what it prints."""
    docs = pathlib.Path(__file__).parent / "docs"
    part = runpy.run_path(str(docs / "fill.py"))["PART"]

    def blocks(name):
        text = (docs / f"{name}.md").read_text(encoding="utf-8")
        return [(match["code"], match["text"] or "") for match in part.finditer(text)]

    return blocks


@pytest.fixture(scope="session")
def guide_blocks(page_blocks):
    """The Python blocks of a guide."""
    return lambda name: [code for code, _ in page_blocks(f"guides/{name}")]


@pytest.fixture(scope="session")
def run_block():
    """`run_block(code, names)`: what a block prints, as users have it who have set nothing."""

    def run(code, names):
        with (
            jax.enable_x64(False),
            jax.numpy_rank_promotion("allow"),
            jax.numpy_dtype_promotion("standard"),
            contextlib.redirect_stdout(io.StringIO()) as said,
        ):
            exec(compile(code, "a block of a guide", "exec"), names)
        return said.getvalue()

    return run
