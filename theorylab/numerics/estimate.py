"""A number with an error bar, and what arithmetic makes of both."""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np


class Estimate(NamedTuple):
    r"""A number, or an array of numbers, that draws have made, and by how much it may be off.

    `+ - * / **`, `log`, `exp` and `mean` carry the error along to first order (the delta method): $f(\hat x, \hat y)$
    has the standard error $\sqrt{(\partial_xf\,s_x)^2 + (\partial_yf\,s_y)^2}$. Two estimates are taken to be
    independent, and a plain number or array to be exact; for those that share draws there is `jackknife`.

    **Arguments**: `value` and `standard_error`, numbers or arrays of one shape, NumPy's, JAX's or xarray's; an error of
    0 says that the value is exact, one of nan that nobody knows it. It unpacks as `value, standard_error`.

    **Source**: first-order error propagation; checked against the scatter of simulated estimates.

        >>> import theorylab as tl
        >>> a, b = tl.numerics.Estimate(2.0, 0.3), tl.numerics.Estimate(4.0, 0.4)
        >>> a + b
        Estimate(value=6.0, standard_error=0.5)
        >>> (a / b).value, round((a / b).standard_error, 4), (2 * a - 1).standard_error
        (0.5, 0.0901, 0.6)
    """

    value: Any
    standard_error: Any

    __array_ufunc__ = None  # NumPy's arrays leave `array * estimate` to us

    @classmethod
    def of(cls, samples: Any, axis: int | str = 0) -> "Estimate":
        r"""Take the mean of independent draws, and its standard error $s/\sqrt n$, with $s^2$ over $n - 1$.

        **Arguments**: `samples`, NumPy's, JAX's or an `xarray.DataArray`; `axis` of the draws, by place or name.

        **Returns** an `Estimate` without that axis; a single draw has nan for its error.

            >>> import theorylab as tl
            >>> mean, error = tl.numerics.Estimate.of([1.0, 2.0, 3.0])
            >>> float(mean), round(float(error), 3)
            (2.0, 0.577)
        """
        if hasattr(samples, "dims"):
            dim = axis if isinstance(axis, str) else samples.dims[axis]
            n = samples.sizes[dim]
            spread = samples.std(dim, ddof=1) if n > 1 else np.nan * samples.mean(dim)
            return cls(samples.mean(dim), spread / n**0.5)
        samples = samples if hasattr(samples, "__array_namespace__") else np.asarray(samples, float)
        n = samples.shape[axis]  # pyright: ignore[reportArgumentType, reportCallIssue]: a number, without dims
        spread = samples.std(axis=axis, ddof=1) if n > 1 else np.nan * samples.mean(axis=axis)
        return cls(samples.mean(axis=axis), spread / n**0.5)

    @classmethod
    def jackknife(cls, function: Callable[..., Any], *samples: Any, axis: int | str = 0) -> "Estimate":
        r"""Estimate any smooth function of paired samples: its value, and the scatter when one draw is left out.

        With $\theta_i$ the value without the i-th draw of all samples, the standard error is
        $\sqrt{\frac{n-1}{n}\sum_i(\theta_i - \bar\theta)^2}$.

        **Arguments**: `function` of as many arrays, such as a ratio of means; `samples`, with n >= 2 draws each along
        `axis`, the i-th ones made together.

        **Returns** an `Estimate` of what the function returns.

        **Raises** `ValueError` for samples of different numbers of draws, or fewer than two.

        **Source**: Quenouille (1949), Tukey (1958); the standard error of a mean is that of `of`, to rounding.

            >>> import numpy as np, theorylab as tl
            >>> x = np.asarray([1.0, 2.0, 4.0])
            >>> ratio = tl.numerics.Estimate.jackknife(lambda x, y: x.mean() / y.mean(), x, 2 * x)
            >>> float(ratio.value), float(ratio.standard_error)
            (0.5, 0.0)
        """
        counts = [_length(one, axis) for one in samples]
        if len(set(counts)) != 1 or counts[0] < 2:
            raise ValueError(f"the samples have {counts} draws along {axis!r}: give as many of each, two at least")
        n = counts[0]
        without = [function(*(_take(one, np.delete(np.arange(n), i), axis) for one in samples)) for i in range(n)]
        mean = sum(without[1:], without[0]) / n
        variance = sum(((one - mean) ** 2 for one in without[1:]), (without[0] - mean) ** 2) * ((n - 1) / n)
        return cls(function(*samples), variance**0.5)

    def mean(self, axis: Any = None) -> "Estimate":
        """Take the mean of independent estimates along an axis, or of all.

        >>> import theorylab as tl
        >>> mean = tl.numerics.Estimate.of([[1.0, 4.0], [3.0, 6.0]]).mean()
        >>> float(mean.value), round(float(mean.standard_error), 4)
        (3.5, 0.7071)
        """
        value, error = (one if hasattr(one, "mean") else np.asarray(one) for one in self)
        mean = value.mean(axis)
        return Estimate(mean, (error**2).sum(axis) ** 0.5 * (np.size(mean) / np.size(value)))

    def log(self) -> "Estimate":
        """Take the natural logarithm.

        >>> import theorylab as tl
        >>> float(tl.numerics.Estimate(2.0, 0.5).log().standard_error)
        0.25
        """
        return Estimate(_of(self.value).log(self.value), abs(self.standard_error / self.value))

    def exp(self) -> "Estimate":
        """Take the exponential.

        >>> import theorylab as tl
        >>> float(tl.numerics.Estimate(0.0, 0.5).exp().standard_error)
        0.5
        """
        value = _of(self.value).exp(self.value)
        return Estimate(value, value * self.standard_error)

    def __add__(self, other: Any) -> "Estimate":  # pyright: ignore[reportIncompatibleMethodOverride]: no tuple's sum
        other = _estimate(other)
        return Estimate(self.value + other.value, _hypot(self.standard_error, other.standard_error))

    def __mul__(self, other: Any) -> "Estimate":  # pyright: ignore[reportIncompatibleMethodOverride]: no tuple's
        other = _estimate(other)
        error = _hypot(other.value * self.standard_error, self.value * other.standard_error)
        return Estimate(self.value * other.value, error)

    def __truediv__(self, other: Any) -> "Estimate":
        other = _estimate(other)
        ratio = self.value / other.value
        return Estimate(ratio, _hypot(self.standard_error / other.value, ratio * other.standard_error / other.value))

    def __pow__(self, exponent: int | float) -> "Estimate":
        return Estimate(self.value**exponent, abs(exponent * self.value ** (exponent - 1) * self.standard_error))

    def __neg__(self) -> "Estimate":
        return Estimate(-self.value, self.standard_error)

    def __sub__(self, other: Any) -> "Estimate":
        return self + -_estimate(other)

    def __rsub__(self, other: Any) -> "Estimate":
        return -self + other

    def __rtruediv__(self, other: Any) -> "Estimate":
        return _estimate(other) / self

    __radd__, __rmul__ = __add__, __mul__  # pyright: ignore[reportAssignmentType]: no tuple's product


def _estimate(value: Any) -> Estimate:
    return value if isinstance(value, Estimate) else Estimate(value, 0.0)


def _hypot(a: Any, b: Any) -> Any:
    return (a**2 + b**2) ** 0.5


def _of(value: Any) -> Any:
    return value.__array_namespace__() if hasattr(value, "__array_namespace__") else np


def _length(samples: Any, axis: Any) -> int:
    return samples.sizes[axis] if isinstance(axis, str) else np.shape(samples)[axis]


def _take(samples: Any, rows: Any, axis: Any) -> Any:
    return samples.isel({axis: rows}) if isinstance(axis, str) else np.take(samples, rows, axis)
