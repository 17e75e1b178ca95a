"""`theorylab run` of a paper made for the test, as `srun` would start it: `python command.py FOLDER`."""

import sys
from dataclasses import replace
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))

import theorylab.figures as figures
from theorylab import cli
from theorylab.papers import Claim, Experiment, Paper, Verdict


def run(setting, key):
    import jax.numpy as jnp

    import theorylab as tl
    from tests.engine.problems import Linear, Relax

    def build(key, *, rate):
        return Relax(rate), Linear(jnp.asarray([1.0, 2.0]), jnp.ones(2))

    rates = jnp.asarray([0.1, 0.2, 0.3])
    found = tl.sweep(build, over={"rate": rates}, seeds=2, key=key, steps=50)
    return found[["value", "completed"]]


def plot(dataset):
    figure, axes = figures.panels(1)
    figures.measured(axes[0], dataset.rate, dataset.value.isel(seed=0, value_0=0))
    return figure


def check(dataset):
    assert bool(dataset.completed.all())
    # x' = x - rate (x - 1) from one stays there
    return Verdict.compare(float(abs(dataset.value.isel(value_0=0) - 1).max()), "<=", 1e-12)


seen = []


def miss_once(dataset):
    seen.append(check(dataset))
    return replace(seen[-1], verdict="holds" if len(seen) == 2 else "fails", statistical=True)


PAPER = Paper(
    slug="toy",
    title="A toy",
    authors=("Nobody",),
    venue="Nowhere",
    year=2026,
    room="games",
    setting="",
    experiments=(
        Experiment(
            "rates",
            "some rates",
            sizes={"small": 1, "paper": 2, "large": 3},
            run=run,
            plot=plot,
            claims=(
                Claim("still", "nothing moves", "derived here", check),
                Claim("drawn", "nothing moves of fresh draws", "derived here", miss_once),
            ),
        ),
    ),
)

if __name__ == "__main__":
    cli.find = lambda slug: PAPER
    sys.exit(cli.main(["run", "toy", "--json", "--out", sys.argv[1]]))
