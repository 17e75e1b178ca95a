"""How good samples are: their moments, modes and distances to other samples, each with what chance alone would show."""

from collections.abc import Callable
from math import gcd
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jaxtyping import Array, Float, ScalarLike

from ..numerics.arrays import floating
from ..numerics.checked import Key, Numbers
from ..numerics.draws import normal
from ..numerics.estimate import Estimate


class MomentErrors(NamedTuple):
    """Distances of a sample's moments from given ones, and the root mean square that a perfect sample would show.

    **Arguments**: `mean`, the Euclidean distance of the means, (); `covariance`, the Frobenius distance of the
    covariances, (); `mean_chance` and `covariance_chance`, (), the sizes that both have by chance.
    """

    mean: Float[Array, ""]
    mean_chance: Float[Array, ""]
    covariance: Float[Array, ""]
    covariance_chance: Float[Array, ""]


def moment_errors(x: Float[Array, "n ..."], mean: Numbers, covariance: Numbers) -> MomentErrors:
    r"""Measure how far the mean and the covariance of samples are from given ones.

    By chance the squares are $\operatorname{tr}\hat\Sigma/n$ and $\frac1n\big(\frac1n\sum_i |z_i|^4 -
    |\hat\Sigma|_F^2\big)$ with $z_i = x_i - \mu$ and $\hat\Sigma$ the mean of $z_i z_i^T$, in the mean.

    **Arguments**: `x`, samples (n, ...), independent, each taken as a vector of D entries; `mean` $\mu$ (D,);
    `covariance` (D, D).

    **Returns** `MomentErrors`.

    **Raises** `ValueError` for shapes that do not fit.

    **Source**: derived here; checked by simulation.

        >>> import jax, jax.numpy as jnp, theorylab as tl
        >>> x = jax.random.normal(jax.random.key(0), (10_000, 2))
        >>> errors = tl.diffusion.moment_errors(x, jnp.zeros(2), jnp.eye(2))
        >>> bool(errors.mean < 3 * errors.mean_chance), round(float(errors.mean_chance), 3)
        (True, 0.014)
    """
    x = _rows("x", x)
    n, d = x.shape
    mean, covariance = jnp.asarray(mean, x.dtype), jnp.asarray(covariance, x.dtype)
    if mean.shape != (d,) or covariance.shape != (d, d):
        raise ValueError(
            f"mean has the shape {mean.shape} and covariance {covariance.shape}: samples of {d} entries each need "
            f"({d},) and ({d}, {d})"
        )
    z = x - mean[None]
    second = _product(z.T, z) / n
    lengths = jnp.sum(z**2, axis=1)
    return MomentErrors(
        jnp.linalg.norm(jnp.mean(z, axis=0)),
        jnp.sqrt(jnp.mean(lengths) / n),
        jnp.linalg.norm(second - covariance),
        jnp.sqrt(jnp.maximum(jnp.mean(lengths**2) - jnp.sum(second**2), 0) / n),
    )


def mode_proportions(x: Float[Array, "n ..."], posterior: Callable[[Array], Array]) -> Estimate:
    r"""Estimate the share of each mode among samples, $\frac1n\sum_i P(k \mid x_i)$, with its standard error.

    Probabilities are averaged, not their largest: where the samples follow the mixture whose posterior this is, the
    expectation of the result is the mixture's weights exactly, however much its modes overlap.

    **Arguments**: `x`, samples (n, ...), independent, n >= 2; `posterior`, a callable from one sample to the
    probabilities of the modes (..., K), of which all rows count alike: a classifier, or for a `GaussianMixture`
    `lambda x: mixture.posterior(x, 1.0)`, and for a `MultiTokenMixture` the `shares` of the same, whose expectation is
    `pattern_frequencies()`.

    **Returns** an `Estimate` of the proportions (K,).

    **Raises** `ValueError` for fewer than two samples.

    **Source**: derived here.

        >>> import jax.numpy as jnp, theorylab as tl
        >>> mixture = tl.diffusion.GaussianMixture([[-9.0], [9.0]], 1.0, [0.5, 0.5])
        >>> x = jnp.asarray([[-9.0], [9.0], [9.0], [9.0]])
        >>> [v.tolist() for v in tl.diffusion.mode_proportions(x, lambda x: mixture.posterior(x, 1.0))]
        [[0.25, 0.75], [0.25, 0.25]]
    """
    _rows("x", x)
    shares = jax.vmap(posterior)(x)
    shares = jnp.mean(shares.reshape(len(x), -1, shares.shape[-1]), axis=1)
    return Estimate.of(shares)


def sliced_wasserstein(
    x: Float[Array, "n ..."], y: Float[Array, "m ..."], key: Key, *, projections: int = 256
) -> Float[Array, ""]:
    r"""Estimate the sliced 2-Wasserstein distance of two samples.

    It is $\big(E_\theta W_2^2(\theta^T x, \theta^T y)\big)^{1/2}$ for a random direction $\theta$. On each direction
    the distance of the two empirical laws is exact: quantiles are matched with quantiles, which for equal sizes pairs
    the sorted points, and for unequal ones splits them. A translation by v has the distance $|v|/\sqrt D$.

    **Arguments**: `x` and `y`, samples (n, ...) and (m, ...), of one shape and dtype each, taken as vectors of D
    entries; `key`, a key or a seed, for the directions; `projections`, their number.

    **Returns** (); the squares of the distances on single directions are averaged.

    **Raises** `ValueError` for samples of different shapes or fewer than two, and for no projections.

    **Source**: Bonneel, Rabin, Peyre, Pfister (2015), Sliced and Radon Wasserstein barycenters of measures.

        >>> import jax, jax.numpy as jnp, theorylab as tl
        >>> x = jnp.asarray([[0.0], [1.0]])
        >>> float(tl.diffusion.sliced_wasserstein(x, x + 3, jax.random.key(0), projections=4))
        3.0
    """
    x, y = _pair(x, y)
    if isinstance(projections, bool) or not isinstance(projections, int) or projections < 1:
        raise ValueError(f"projections = {projections!r} must be an integer from 1 on")
    directions = normal(key, (projections, x.shape[1]), x.dtype)
    directions = directions / jnp.linalg.norm(directions, axis=1, keepdims=True)
    # projections in rows, so that each is sorted along contiguous memory
    of_x, of_y = (jnp.sort(_product(directions, values.T), axis=1) for values in (x, y))
    from_x, from_y, mass = _couple(len(x), len(y))
    gaps = (of_x[:, from_x] - of_y[:, from_y]) ** 2
    return jnp.sqrt(jnp.mean(jnp.sum(gaps * jnp.asarray(mass, x.dtype)[None], axis=1)))


def mmd(x: Float[Array, "n ..."], y: Float[Array, "m ..."], *, bandwidth: ScalarLike | None = None) -> Estimate:
    r"""Estimate the squared maximum mean discrepancy of two samples, unbiased, and its standard error under equal laws.

    $\widehat{\mathrm{MMD}}{}^2 = \overline{k(x_i, x_j)}_{i \ne j} + \overline{k(y_i, y_j)}_{i \ne j} -
    2\,\overline{k(x_i, y_j)}$ with $k(x, y) = e^{-|x - y|^2 / 2h^2}$: of mean zero where the laws are equal, hence
    negative about as often as positive. Then its variance is $2 E[\tilde k^2]\big(\frac{1}{n(n-1)} + \frac{2}{nm} +
    \frac{1}{m(m-1)}\big)$, where the centred kernel $\tilde k$ is estimated from both samples together.

    **Arguments**: `x` and `y`, independent samples (n, ...) and (m, ...), each at least two, of one shape and dtype;
    `bandwidth` h > 0, (), by default the median of the distances between all points of both samples.

    **Returns** an `Estimate` of the squared discrepancy (), whose standard error is that under equality. Time and
    memory are of order $(n + m)^2$.

    **Raises** `ValueError` for samples of different shapes or fewer than two, and for a bandwidth that is not positive.

    **Source**: Gretton et al. (2012), A kernel two-sample test, lemma 6 and appendix B; checked by simulation.

        >>> import jax, theorylab as tl
        >>> x, y = jax.random.normal(jax.random.key(0), (2, 200, 3))
        >>> value, error = tl.diffusion.mmd(x, y)
        >>> bool(abs(value) < 4 * error), bool(tl.diffusion.mmd(x, y + 1)[0] > 10 * error)
        (True, True)
    """
    x, y = _pair(x, y)
    n, m = len(x), len(y)
    pooled = jnp.concatenate([x, y])
    squares, same = _squared_distances(pooled), jnp.eye(n + m, dtype=bool)
    if bandwidth is None:
        width2 = jnp.nanmedian(jnp.where(same, jnp.nan, squares))
    else:
        if not isinstance(bandwidth, Tracer) and not 0 < np.asarray(bandwidth) < np.inf:
            raise ValueError(f"bandwidth = {bandwidth} must be positive and finite: it is a distance between points")
        width2 = jnp.asarray(bandwidth, x.dtype) ** 2
    # points that are all one have no median distance, and any bandwidth gives the same kernel
    kernel = jnp.exp(-squares / (2 * jnp.where(width2 > 0, width2, 1)))
    off = jnp.where(same, 0, kernel)
    within_x, within_y = jnp.sum(off[:n, :n]) / (n * (n - 1)), jnp.sum(off[n:, n:]) / (m * (m - 1))
    value = within_x + within_y - 2 * jnp.mean(kernel[:n, n:])
    means = jnp.sum(off, axis=1) / (n + m - 1)
    centred = kernel - means[:, None] - means[None] + jnp.mean(means)
    second = jnp.sum(jnp.where(same, 0, centred**2)) / ((n + m) * (n + m - 1))
    variance = 2 * second * (1 / (n * (n - 1)) + 2 / (n * m) + 1 / (m * (m - 1)))
    return Estimate(value, jnp.sqrt(variance))


def frechet_distance(
    x: Float[Array, "n ..."], y: Float[Array, "m ..."], *, features: Callable[[Array], Array] | None = None
) -> Float[Array, ""]:
    r"""Compute the Frechet distance of two samples: of normal laws with their means and covariances, squared as in FID.

    Covariances are estimated from samples, so that for few of them it is above zero where the laws are equal: compare
    it with that of two samples of the truth, of the same sizes.

    **Arguments**: `x` and `y`, samples (n, ...) and (m, ...), each at least two; `features`, a callable of one sample,
    in whose values the distance is taken, by default the samples themselves; pass features that are already found as
    `x` and `y`.

    **Returns** (), as `gaussian_wasserstein`.

    **Raises** `ValueError` for samples of different shapes, or fewer than two.

    **Source**: Heusel et al. (2017), arXiv 1706.08500.

        >>> import jax, jax.numpy as jnp, theorylab as tl
        >>> x = jax.random.normal(jax.random.key(0), (50, 2))
        >>> round(float(tl.diffusion.frechet_distance(x, x + 1)), 4)
        2.0
    """
    if features is not None:
        x, y = jax.vmap(features)(x), jax.vmap(features)(y)
    x, y = _pair(x, y)
    moments = [(jnp.mean(one, axis=0), _covariance(one)) for one in (x, y)]
    return gaussian_wasserstein(*moments[0], *moments[1])


def gaussian_wasserstein(
    mean_x: Numbers, covariance_x: Numbers, mean_y: Numbers, covariance_y: Numbers
) -> Float[Array, ""]:
    r"""Compute the squared 2-Wasserstein distance of two normal laws.

    $|\mu_x - \mu_y|^2 + \operatorname{tr}\big(\Sigma_x + \Sigma_y -
    2(\Sigma_x^{1/2}\Sigma_y\Sigma_x^{1/2})^{1/2}\big)$. The last trace is the sum of the singular values of
    $\Sigma_x^{1/2}\Sigma_y^{1/2}$, from roots by symmetric eigenvalues: what lies below the rounding of a covariance,
    as the null space of a sample's, is taken as zero.

    **Arguments**: `mean_x` and `mean_y` (D,); `covariance_x` and `covariance_y` (D, D), symmetric and not negative.

    **Returns** (), at least 0.

    **Raises** `ValueError` for shapes that do not fit.

    **Source**: Dowson, Landau (1982), The Frechet distance between multivariate normal distributions.

        >>> import jax.numpy as jnp, theorylab as tl
        >>> zero = jnp.zeros(2)
        >>> round(float(tl.diffusion.gaussian_wasserstein(zero, 4 * jnp.eye(2), zero + 1, jnp.eye(2))), 4)
        4.0
    """
    mean_x, covariance_x = floating(mean_x), floating(covariance_x)
    mean_y, covariance_y = jnp.asarray(mean_y, mean_x.dtype), jnp.asarray(covariance_y, covariance_x.dtype)
    shapes = [value.shape for value in (mean_x, covariance_x, mean_y, covariance_y)]
    d = mean_x.size
    if shapes != [(d,), (d, d), (d,), (d, d)]:
        raise ValueError(f"mean_x, covariance_x, mean_y, covariance_y have shapes {shapes}: pass twice (D,), (D, D)")
    # both in one call: decompositions that run at once were seen to wait for each other forever on CPU (jaxlib 0.10)
    root_x, root_y = jax.vmap(_root)(jnp.stack([covariance_x, covariance_y]))
    common = jnp.linalg.svd(_product(root_x, root_y), compute_uv=False)
    spread = jnp.trace(covariance_x) + jnp.trace(covariance_y) - 2 * jnp.sum(common)
    return jnp.sum((mean_x - mean_y) ** 2) + jnp.maximum(spread, 0)


def _root(covariance):
    values, vectors = jnp.linalg.eigh(covariance)
    least = len(values) * jnp.finfo(values.dtype).eps * values[-1]
    roots = jnp.sqrt(jnp.where(values > least, values, 0))
    return _product(vectors * roots[None], vectors.T)


def _covariance(x):
    z = x - jnp.mean(x, axis=0, keepdims=True)
    return _product(z.T, z) / (len(x) - 1)


def _product(a, b):
    return jnp.matmul(a, b, precision="highest")


def _squared_distances(x):
    """From a common centre, lest an offset cost digits."""
    z = x - jnp.mean(x, axis=0, keepdims=True)
    lengths = jnp.sum(z**2, axis=1)
    return jnp.maximum(lengths[:, None] + lengths[None] - 2 * _product(z, z.T), 0)


def _couple(n, m):
    """The optimal coupling of n and m sorted points of equal mass each: indices of both, and masses of the pairs."""
    scale = gcd(n, m)
    # quantiles at which one of the two passes to its next point, in units of 1 / lcm
    ends = np.union1d(np.arange(1, n + 1) * (m // scale), np.arange(1, m + 1) * (n // scale))
    starts = np.concatenate([[0], ends[:-1]])
    return starts // (m // scale), starts // (n // scale), (ends - starts) / ends[-1]


def _rows(name, x):
    x = floating(x)
    if x.ndim < 2 or len(x) < 2 or x.size == 0:
        raise ValueError(f"{name} has the shape {x.shape}: pass at least two samples, (n, ...)")
    return x.reshape(len(x), -1)


def _pair(x, y):
    if x.shape[1:] != y.shape[1:] or x.dtype != y.dtype:
        raise ValueError(
            f"x is {x.dtype} {x.shape} and y {y.dtype} {y.shape}: pass samples of one dtype, and of one shape each"
        )
    return _rows("x", x), _rows("y", y)
