"""Checks of claims: from a dataset to a verdict, with tolerances that come from rounding or from standard errors."""

from collections.abc import Callable
from typing import Any, Literal

import numpy as np

from theorylab.numerics import Estimate
from theorylab.papers.verdict import Relation, Verdict

Check = Callable[[Any], Verdict]
"""A dataset to a `Verdict`."""

Quantity = str | float | int | Callable[[Any], Any]
"""What is read of a dataset: a variable by name, a number, or a function of it to an array or an `Estimate`."""


def bounded(value: Quantity, relation: Relation, theory: Quantity, *, rounding: Quantity = 0.0, quantity: str) -> Check:
    """Check exact numbers against exact numbers: rounding is the only doubt.

    **Arguments**: `value` and `theory`, whose arrays broadcast by the names of their dimensions; a nan of `theory`
    marks a place without prediction; `relation`, `"==" | "<=" | ">="`, which has to hold everywhere; `rounding`, the
    slack, in their unit; `quantity`, what they measure, in words.

    **Returns** a `Check`, whose `Verdict` shows the numbers at the place that is nearest to breaking it.

        >>> import theorylab.papers.kit as kit, xarray
        >>> dataset = xarray.Dataset({"error": ("step", [0.5, 0.3]), "bound": ("step", [0.6, 0.3])})
        >>> verdict = kit.bounded("error", "<=", "bound", rounding=1e-12, quantity="the error")(dataset)
        >>> verdict.verdict, verdict.measured
        ('holds', 0.3)
    """

    def check(dataset: Any) -> Verdict:
        measured, predicted, slack = _together(*(_read(dataset, one) for one in (value, theory, rounding)))
        known = ~np.isnan(predicted)
        measured, predicted, slack = (one[known] for one in (measured, predicted, slack))
        if not measured.size:
            return Verdict.compare(np.nan, relation, np.nan, quantity=quantity)
        gap = measured - predicted
        excess = {"==": np.abs(gap), "<=": gap, ">=": -gap}[relation] - slack
        at = int(np.argmax(excess))  # argmax finds a nan first
        return Verdict.compare(measured[at], relation, predicted[at], slack[at], quantity=quantity)

    return check


def estimated(
    value: Quantity, relation: Relation, theory: Quantity = 0.0, *, over: str = "seed", quantity: str
) -> Check:
    """Check means of independent draws, or estimates, against theory: the doubt is three standard errors.

    **Arguments**: `value`, draws along the dimension `over`, whose means have Student's quantile that errs as rarely as
    three sigma, or an `Estimate`; `relation`; an `==` of many numbers is `agrees`; `theory`, a number, or an array for
    an inequality that has to hold everywhere; `quantity`, what they measure, in words.

    **Returns** a `Check`.

        >>> import theorylab.papers.kit as kit, xarray
        >>> dataset = xarray.Dataset({"error": ("seed", [0.50, 0.49, 0.51, 0.50])})
        >>> kit.estimated("error", "<=", 1.0, quantity="the error")(dataset).verdict
        'holds'
    """

    def check(dataset: Any) -> Verdict:
        found, draws = _estimate(_read(dataset, value), over)
        mean, error, predicted = _together(*found, _read(dataset, theory))
        if relation == "==":
            if mean.size > 1:
                raise ValueError(f"{quantity}: {mean.size} numbers by '==' need one error rate: use kit.agrees")
            return Verdict.estimate(Estimate(mean[0], error[0]), "==", predicted[0], draws=draws, quantity=quantity)
        return Verdict.worst(Estimate(mean, error), relation, predicted, draws=draws, quantity=quantity)

    return check


def printed(draws: Quantity, number: Quantity, *, over: str = "seed", quantity: str) -> Check:
    r"""Check a number that a paper prints of one draw against draws of our own.

    It may lie as far from their mean as one more draw may, $s\sqrt{1 + 1/n}$ times the quantile of Student's t that
    errs as rarely as three sigma.

    **Arguments**: `draws`, along the dimension `over`; `number`, the printed one; `quantity`, what it is, in words.

    **Returns** a `Check`.

        >>> import theorylab.papers.kit as kit, xarray
        >>> dataset = xarray.Dataset({"error": ("seed", [0.50, 0.48, 0.52, 0.49])})
        >>> [kit.printed("error", number, quantity="the error")(dataset).verdict for number in (0.53, 0.9)]
        ['holds', 'fails']
    """

    def check(dataset: Any) -> Verdict:
        found = _read(dataset, draws)
        mean, error = Estimate.of(found, over)
        n = found.sizes[over]
        one_more = Estimate(mean, error * (n + 1) ** 0.5)
        return Verdict.estimate(one_more, "==", _read(dataset, number), draws=n, quantity=quantity)

    return check


def agrees(samples: Quantity, theory: Quantity, *, over: str = "seed", quantity: str) -> Check:
    """Check that the means of draws are what theory says, all of many with one joint error rate.

    **Arguments**: `samples`, with the dimension `over`; `theory`, whose nan marks a number without prediction;
    `quantity`, whose means they are, in words.

    **Returns** a `Check`, made by `Verdict.agree`.

        >>> import theorylab.papers.kit as kit, xarray
        >>> dataset = xarray.Dataset({"error": (("seed", "x"), [[0.9, 2.1], [1.1, 1.9], [1.0, 2.2]])})
        >>> theory = xarray.DataArray([1.0, 2.0], dims="x")
        >>> kit.agrees("error", lambda dataset: theory, quantity="errors")(dataset).verdict
        'holds'
    """

    def check(dataset: Any) -> Verdict:
        import xarray

        drawn, predicted = _read(dataset, samples), _read(dataset, theory)
        drawn, predicted = xarray.broadcast(xarray.DataArray(drawn), xarray.DataArray(predicted), exclude=[over])
        return Verdict.agree(drawn.transpose(over, ...), predicted, quantity=quantity)

    return check


def ratio(value: Quantity, along: str, of: Any, to: Any, *, over: str = "seed") -> Callable[[Any], Estimate]:
    """Take the means of draws at labels of a dimension over those at others, as independent estimates.

    **Arguments**: `value`, with the dimensions `along` and `over`; `of` and `to`, labels, or lists: two lists are taken
    in pairs.

    **Returns** a `Quantity`, an `Estimate`, for `estimated` and `ordered`.

        >>> import theorylab.papers.kit as kit, xarray
        >>> dataset = xarray.Dataset({"error": (("seed", "rule"), [[1.0, 4.0], [3.0, 4.0]])}, {"rule": ["a", "b"]})
        >>> float(kit.ratio("error", "rule", "a", "b")(dataset).value)
        0.5
    """

    def taken(dataset: Any) -> Estimate:
        found = Estimate.of(_read(dataset, value), over)
        parts = [Estimate(*(part.sel({along: at}).drop_vars(along) for part in found)) for at in (of, to)]
        return parts[0] / parts[1]

    return taken


def ordered(
    value: Quantity, along: str, direction: Literal["falls", "rises"], *, over: str = "seed", quantity: str
) -> Check:
    """Check that numbers fall, or rise, from each place along a dimension to the next.

    **Arguments**: `value`, with the dimension `along`, in whose order it goes; where it has the dimension `over` too,
    its draws are compared in pairs and judged by their spread; an `Estimate` by its errors, independent at each place;
    otherwise it is exact; `direction`; `quantity`, what falls or rises, in words.

    **Returns** a `Check` of the change that is nearest to breaking it.

        >>> import theorylab.papers.kit as kit, xarray
        >>> dataset = xarray.Dataset({"error": ("width", [0.9, 0.5, 0.4])}, {"width": [1, 2, 3]})
        >>> kit.ordered("error", "width", "falls", quantity="the error")(dataset).verdict
        'holds'
    """
    relation: Relation = "<=" if direction == "falls" else ">="
    quantity = f"change of {quantity} to the next {along}"

    def check(dataset: Any) -> Verdict:
        values = _read(dataset, value)
        parts = values if isinstance(values, Estimate) else (values,)
        later, earlier = (
            [part.isel({along: places}).drop_vars(along, errors="ignore") for part in parts]
            for places in (slice(1, None), slice(None, -1))
        )
        if isinstance(values, Estimate):
            moved = Estimate(*later) - Estimate(*earlier)
            return estimated(lambda _: moved, relation, 0.0, quantity=quantity)(dataset)
        change = later[0] - earlier[0]
        kind = estimated if over in change.dims else bounded
        more: Any = {"over": over} if over in change.dims else {}
        return kind(lambda _: change, relation, 0.0, quantity=quantity, **more)(dataset)

    return check


def power(
    y: Quantity,
    x: Quantity,
    relation: Relation,
    exponent: float | int,
    *,
    tail: int = 2,
    over: str | None = None,
    rounding: float | int = 0.05,
    quantity: str,
) -> Check:
    r"""Check the exponent of a power law $|y| \approx Cx^p$ at the end of an axis, or refuse to answer.

    Of exact numbers (`over=None`) it is the slope of $\log|y|$ against $\log x$ between the last two places; with
    `tail=3` and x that falls by a factor f it is rid of what shrinks with x, $(f\,p_2 - p_1)/(f - 1)$. Of draws it is
    the weighted fit to the means of the last `tail` places (`numerics.loglog_slope`), undecided where those are noise.

    **Arguments**: `x`, with one dimension, whose end is the limit; `y`, with that dimension; `relation` and `exponent`;
    `tail`, the places that are read; `over`, the dimension of draws; `rounding`, what the next power of x leaves of an
    exact slope at these places; `quantity`, what y is, in words.

    **Returns** a `Check` of the exponent that is nearest to breaking it, over the other dimensions of y.

        >>> import theorylab.papers.kit as kit, xarray
        >>> dataset = xarray.Dataset({"error": ("step_size", [4e-2, 1e-2, 2.5e-3])}, {"step_size": [0.4, 0.2, 0.1]})
        >>> round(kit.power("error", "step_size", "==", 2, quantity="error")(dataset).measured, 12)
        2.0
    """
    quantity = f"exponent of {quantity}"

    def check(dataset: Any) -> Verdict:
        from theorylab.numerics import loglog_slope

        places, values = _read(dataset, x), _read(dataset, y)
        (dim,) = places.dims
        grid = np.asarray(places, float)[-tail:]
        last = values.isel({dim: slice(-tail, None)}).transpose(..., dim)
        if over is None:
            rows = np.reshape(np.asarray(last, float), (-1, tail))
            found = np.asarray([_limit(grid, row) for row in rows])
            return bounded(lambda _: found, relation, exponent, rounding=rounding, quantity=quantity)(dataset)
        means, errors = (
            np.reshape(np.asarray(one), (-1, tail)) for one in Estimate.of(last.transpose(over, ...), over)
        )
        fits = [loglog_slope(grid, Estimate(mean, error)) for mean, error in zip(means, errors, strict=True)]
        found = Estimate(*(np.asarray(part) for part in zip(*fits, strict=True)))
        return estimated(lambda _: found, relation, exponent, quantity=quantity)(dataset)

    return check


def _limit(x: Any, y: Any) -> float:
    from theorylab.numerics import local_slopes

    slopes = local_slopes(x, y)
    if len(slopes) == 1:
        return slopes[-1]
    factor = x[-2] / x[-1]
    return (factor * slopes[-1] - slopes[-2]) / (factor - 1)


def _read(dataset: Any, quantity: Quantity) -> Any:
    if isinstance(quantity, str):
        return dataset[quantity]
    return quantity(dataset) if callable(quantity) else quantity


def _estimate(found: Any, over: str) -> tuple[Estimate, int | None]:
    """The estimate, and of how many draws it is known to be the mean."""
    return (found, None) if isinstance(found, Estimate) else (Estimate.of(found, over), found.sizes[over])


def _together(*arrays: Any) -> list[np.ndarray]:
    """Arrays that broadcast, by name where they have names, as vectors."""
    import xarray

    if any(hasattr(one, "dims") for one in arrays):
        arrays = xarray.broadcast(*(xarray.DataArray(one) for one in arrays))
    return [np.ravel(one) for one in np.broadcast_arrays(*(np.asarray(one, float) for one in arrays))]
