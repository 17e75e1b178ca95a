"""House rules of every test: strict promotion, eight virtual CPU devices, both precisions, a warm compilation cache."""

import collections
import contextlib
import functools
import gc
import io
import os
import pathlib
import re
import runpy
import textwrap
import types
from typing import Any, NamedTuple

import jax
import jaxtyping
import pytest

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

BUDGET = 20  # CPU seconds, cold, of a paper's own tests and doctests
QUICK = "--xla_cpu_use_fusion_emitters=false" if jax.__version_info__ < (0, 11) else ""  # 0.12 knows it no more


def pytest_addoption(parser):
    parser.addoption("--optimised", action="store_true", help="compile as users do, not as fast as tests can")


def pytest_configure(config):
    """XLA with its older code generator for CPUs, which compiles in two thirds of the time: compiling is most of what
    tests cost. What they start as processes of their own, as users do, keeps the default."""
    if QUICK and not config.getoption("optimised"):
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("XLA_FLAGS", " ".join(filter(None, [os.environ.get("XLA_FLAGS"), QUICK])))
            jax.devices()  # the flags are read once, here


@functools.cache
def papers():
    """The room of every paper: not imported with this file, so that types are checked there too."""
    from theorylab.papers import slugs

    return slugs()


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_protocol(item):
    """In the rooms mathematics is tested, many small programs once each: there LLVM need not optimise either, nor
    where the contract runs their examples."""
    from theorylab._names import rooms

    top, folder, *_ = item.path.relative_to(item.config.rootpath).parts
    small = top == "tests" and (folder in rooms() or item.path.name in ("test_kernels.py", "test_methods.py"))
    jax.config.update("jax_disable_most_optimizations", small and not item.config.getoption("optimised"))
    item.stash[CLOCK] = cpu_seconds()


CLOCK = pytest.StashKey[float]()


def cpu_seconds():
    """Of this process, of all its threads, and of the processes that it has started and that have ended."""
    return sum(os.times()[:4])


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item):
    report = yield
    now = cpu_seconds()
    report.cpu_seconds, item.stash[CLOCK] = now - item.stash[CLOCK], now
    return report


def pytest_terminal_summary(terminalreporter):
    """What the tests cost: by folder, and of each paper those whose name has its slug, after a compilation cache."""
    by_folder, by_paper = collections.Counter(), collections.Counter()
    own = re.compile(rf"(?<![A-Za-z0-9_])(?:test_)?({'|'.join(papers())})(?![A-Za-z0-9_])")
    for report in (each for reports in terminalreporter.stats.values() for each in reports):
        if seconds := getattr(report, "cpu_seconds", 0.0):
            top, *folders = report.nodeid.partition("::")[0].split("/")[:-1] or ["."]
            by_folder["doctests" if top == "theorylab" else "/".join([top, *folders[:1]])] += seconds
            by_paper.update({slug: seconds for slug in own.findall(report.nodeid)[:1]})
    for name, spent in (("folder", by_folder), ("paper", by_paper)):
        if spent:
            each = ", ".join(f"{key} {seconds:.1f}" for key, seconds in spent.most_common())
            total = f"{spent.total():.0f} in all, {spent.total() / len(spent):.1f} on average"
            terminalreporter.write_line(textwrap.fill(f"CPU seconds by {name}: {each} ({total})", 120))
    over = [slug for slug, seconds in by_paper.items() if seconds > BUDGET]
    if over:
        terminalreporter.write_line(f"more than {BUDGET} CPU seconds: {', '.join(over)}", yellow=True)


class Ran(NamedTuple):
    """A small experiment as `theorylab run` runs it: its data, what its claims say of them, and its CPU seconds."""

    dataset: Any
    verdicts: list
    seconds: float


@pytest.fixture(scope="session")
def ran():
    """`ran(paper, experiment)`: each runs once, for every test that asks."""
    from theorylab.report.experiments import decide, make

    @functools.cache
    def once(slug, name):
        from theorylab.papers import find

        paper = find(slug)
        experiment = {each.name: each for each in paper.experiments}[name]
        asked = {"size": "small", "seed": 0, "precision": paper.precision}
        with jax.numpy_dtype_promotion("standard"):
            before = cpu_seconds()
            dataset = make(experiment, **asked)
            seconds = cpu_seconds() - before

            def again(needed):
                return make(experiment, **asked, again=True) if needed else None

            return Ran(dataset, decide(experiment, dataset, again), seconds)

    return lambda paper, experiment: once(paper.slug, experiment.name)


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
