"""The law of the multi-token mixture: its samples, and its facts by enumeration."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from theorylab import diffusion
from theorylab.diffusion import multi_token
from theorylab.diffusion.claims import ddpm_multitoken_gmm as claims

WEIGHTS = np.asarray([0.1, 0.2, 0.3, 0.4])
PATTERNS = np.random.default_rng(0).normal(size=(4, 3)) + 1  # neither orthogonal nor centred
BATCH, TOKENS = 20_000, 5


def law(active, **changes):
    return diffusion.MultiTokenMixture(
        **{"patterns": PATTERNS, "weights": WEIGHTS, "active": active, "noise": 0.3} | changes
    )


def enumerated(active, statistic):
    """The mean over the subsets of a statistic of (subset, its probabilities)."""
    found = []
    for Z in itertools.combinations(range(4), active):
        share = np.zeros(4)
        share[list(Z)] = WEIGHTS[list(Z)] / WEIGHTS[list(Z)].sum()
        found.append(statistic(share))
    return np.mean(found, axis=0)


@pytest.fixture(scope="module", params=[1, 2, 4])
def drawn(request):
    mixture = law(request.param)
    return mixture, *(np.asarray(x) for x in mixture.sample(jax.random.key(1), tokens=TOKENS, batch=BATCH))


def within_four_errors(values, expected):
    """Values (draws, ...) have this mean, by their standard error."""
    values = np.asarray(values, float)
    error = values.std(axis=0) / np.sqrt(len(values))
    return np.all(np.abs(values.mean(axis=0) - expected) <= 4 * error + 1e-12)


def test_samples_follow_the_law(drawn):
    mixture, x0, labels = drawn
    shown = labels[:, :, None] == np.arange(4)
    present = shown.any(axis=1)
    assert present.sum(axis=1).max() <= mixture.active and labels.min() >= 0 and labels.max() < 4
    assert within_four_errors(shown.mean(axis=1), mixture.pattern_frequencies())
    assert within_four_errors(present.sum(axis=1), mixture.distinct_patterns(TOKENS))
    # two tokens of a point show the same pattern as often as their subset lets them
    pairs = labels[:, 0] == labels[:, 1]
    assert within_four_errors(pairs, enumerated(mixture.active, lambda share: share @ share))
    noise = x0 - PATTERNS[labels]
    flat = noise.reshape(BATCH, -1)
    assert within_four_errors(flat, 0) and within_four_errors(flat**2, 0.3**2)
    assert within_four_errors(flat[:, :-1] * flat[:, 1:], 0)


def test_spread_is_the_variance_within_a_data_point(drawn):
    mixture, _, labels = drawn
    gaps = PATTERNS[labels[:, 0]] - PATTERNS[labels[:, 1]]
    assert within_four_errors(np.mean(gaps**2, axis=1) / 2, mixture.spread())


@pytest.mark.parametrize("active", [1, 2, 3, 4])
def test_facts_are_sums_over_subsets(active):
    mixture = law(active)
    assert np.allclose(mixture.pattern_frequencies(), enumerated(active, lambda share: share), rtol=1e-14)
    distinct = enumerated(active, lambda share: np.sum(1 - (1 - share) ** 7))
    assert float(mixture.distinct_patterns(7)) == pytest.approx(distinct, rel=1e-13)
    assert float(mixture.distinct_patterns(1)) == pytest.approx(1, rel=1e-13)
    assert float(mixture.distinct_patterns(10**6)) == pytest.approx(active, rel=1e-13)
    C = np.mean(mixture.pattern_covariances(), axis=0)

    def covariance(share):
        return np.cov(PATTERNS.T, aweights=share, ddof=0)

    assert np.allclose(C, enumerated(active, covariance), atol=1e-14)
    assert float(mixture.spread()) == pytest.approx(np.trace(C) / 3, abs=1e-14)
    shifted = law(active, patterns=PATTERNS + 1e6)  # a common offset costs no digits beyond those of the patterns
    assert float(shifted.spread()) == pytest.approx(float(mixture.spread()), rel=1e-8)


def test_frequencies_at_the_ends_and_their_bound():
    assert np.allclose(law(1).pattern_frequencies(), 0.25, rtol=1e-15)
    assert np.allclose(law(4).pattern_frequencies(), WEIGHTS, rtol=1e-15)
    for active in range(1, 5):
        frequencies, bound = np.asarray(law(active).pattern_frequencies()), claims.frequencies(law(active))
        assert frequencies.sum() == pytest.approx(1, rel=1e-14)
        assert np.all(bound <= frequencies * (1 + 1e-14))
        assert np.allclose(bound, frequencies, rtol=1e-14) == (active in (1, 4))
    one = diffusion.MultiTokenMixture([[1.0]], [1.0], active=1, noise=0.0)
    assert claims.frequencies(one).tolist() == [1.0]


def test_the_rarest_pattern_grows_rarer_with_more_active_ones():
    least = [float(law(active).pattern_frequencies().min()) for active in range(1, 5)]
    assert np.all(np.diff(least) < 0)


def test_many_patterns_are_sampled():
    """Beyond the limit of enumeration: equal weights have the frequency 1/M, to the error of so many draws."""
    M = 24
    assert len(multi_token.subsets(6, 3)) == 20
    rows = multi_token.subsets(M, 12)
    assert rows.shape == (multi_token.SUBSETS, M) and np.all(rows.sum(axis=1) == 12)
    mixture = diffusion.MultiTokenMixture(np.eye(M), np.full(M, 1 / M), active=12, noise=0.1)
    error = np.sqrt(0.25 / multi_token.SUBSETS) / 12
    assert np.abs(mixture.pattern_frequencies() - 1 / M).max() < 4.5 * error  # 24 frequencies
    assert 4 * error < 1 / 900


def test_orthogonal_patterns():
    patterns = diffusion.orthogonal_patterns(jax.random.key(0), 4, 6)
    assert np.allclose(patterns @ patterns.T, 6 * np.eye(4), atol=1e-13)
    for active in (1, 2, 4):
        equal = enumerated(active, lambda share: share @ share)
        assert float(law(active, patterns=patterns).spread()) * 6 / 4 == pytest.approx((1 - equal) * 6 / 4, abs=1e-14)
    with pytest.raises(ValueError, match="count = 7"):
        diffusion.orthogonal_patterns(jax.random.key(0), 7, 6)


def test_weights_and_noise_may_be_traced(dtype):
    patterns = jnp.asarray(PATTERNS, dtype)

    def facts(weights, noise):
        mixture = diffusion.MultiTokenMixture(patterns, weights, active=2, noise=noise)
        return mixture.pattern_frequencies(), mixture.sample(jax.random.key(0), tokens=3, batch=2)[0]

    weights = jnp.asarray(np.stack([WEIGHTS, WEIGHTS[::-1]]), dtype)
    frequencies, x0 = jax.jit(jax.vmap(facts))(weights, jnp.asarray([0.1, 0.2], dtype))
    assert frequencies.dtype == x0.dtype == dtype
    for k in range(2):
        alone = facts(weights[k], [0.1, 0.2][k])
        tolerance = 10 * float(jnp.finfo(dtype).eps)
        assert np.allclose(frequencies[k], alone[0], atol=tolerance) and np.allclose(
            x0[k], alone[1], atol=tolerance * 10
        )


@pytest.mark.parametrize(
    "changes, match",
    [
        ({"patterns": np.zeros(4)}, "patterns has the shape"),
        ({"patterns": np.full((4, 2), np.nan)}, r"patterns\[0, 0\] is not finite"),
        ({"weights": [0.5, 0.5]}, "weights has the shape"),
        ({"weights": [0.0, 0.2, 0.3, 0.5]}, r"weights\[0\] = 0.0"),
        ({"weights": [0.2, 0.2, 0.3, 0.5]}, "sum to 1.2"),
        ({"weights": [np.nan, 0.2, 0.3, 0.5]}, r"weights\[0\] = nan"),
        ({"active": 0}, "active = 0"),
        ({"active": 5}, "active = 5"),
        ({"active": True}, "active = True"),
        ({"noise": -0.1}, "noise = -0.1"),
        ({"noise": [0.1, 0.1]}, "noise has the shape"),
    ],
)
def test_bad_input_is_named(changes, match):
    good = {"patterns": PATTERNS, "weights": WEIGHTS, "active": 2, "noise": 0.3}
    with pytest.raises(ValueError, match=match):
        diffusion.MultiTokenMixture(**good | changes)


def test_bad_tokens_are_named():
    with pytest.raises(ValueError, match="tokens = 0"):
        law(2).sample(jax.random.key(0), tokens=0, batch=1)
