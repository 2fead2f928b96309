"""Intervals and tests for scores of items: one model, and two models on the same items."""

from __future__ import annotations

import math
from collections.abc import Hashable, Iterator, Sequence
from functools import lru_cache
from statistics import NormalDist
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from adatta.core.errors import EvalError

# G clusters (documents), R resamples

Floats = NDArray[np.float64]
Interval = tuple[float, float]

Z_95 = NormalDist().inv_cdf(0.975)
SERIES_LIMIT = 200  # degrees above which the expansion of t is right to 1e-8
EXACT_FLIPS = 14  # 2**14 sign vectors are more than the 9,999 random ones
BOOTSTRAP_RESAMPLES = 10_000
FLIP_RESAMPLES = 9_999
WIDEN_BELOW = 100  # documents
CHUNK = 500  # resamples at a time, which bounds memory


class Estimate(NamedTuple):
    """A value, its standard error and its 95% interval; None where one observation can't tell.

    `p` is there where what gives the interval also tests a difference.
    """

    value: float
    standard_error: float | None
    interval: Interval | None
    p: float | None = None


def t_quantile(probability: float, degrees: int) -> float:
    """Give the quantile of Student's t distribution.

    Args:
        probability: In (0, 1).
        degrees: Degrees of freedom, at least 1.

    Returns:
        The t below which a share `probability` lies.

    Raises:
        EvalError: No degree of freedom, or a probability outside (0, 1).

    Source: Abramowitz and Stegun 1964, 26.7.3 and 26.7.4 (exact series), 26.7.5 (expansion in 1/degrees).
    """
    if degrees < 1 or not 0.0 < probability < 1.0:
        raise EvalError(
            f"t quantile of {probability} with {degrees} degrees; give one in (0, 1) and at least 1"
        )
    if probability < 0.5:
        return -t_quantile(1.0 - probability, degrees)
    return _upper_t_quantile(probability, degrees)


@lru_cache(maxsize=256)
def _upper_t_quantile(probability: float, degrees: int) -> float:
    z = NormalDist().inv_cdf(probability)
    if degrees > SERIES_LIMIT:
        first = (z**3 + z) / 4
        second = (5 * z**5 + 16 * z**3 + 3 * z) / 96
        third = (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / 384
        return z + first / degrees + second / degrees**2 + third / degrees**3
    share, low, high = 2 * probability - 1, 0.0, 1.0
    while _t_within(high, degrees) < share:
        low, high = high, 2 * high
    for _ in range(100):
        middle = (low + high) / 2
        low, high = (middle, high) if _t_within(middle, degrees) < share else (low, middle)
    return (low + high) / 2


def _t_within(t: float, degrees: int) -> float:
    """Give the probability that |T| <= t."""
    angle = math.atan(t / math.sqrt(degrees))
    odd = degrees % 2
    term = math.sin(angle) * (math.cos(angle) if odd else 1.0)
    total = 0.0 if degrees == 1 else term
    for k in range(1 + odd, degrees - 1, 2):
        term *= k / (k + 1) * math.cos(angle) ** 2
        total += term
    return (angle + total) * 2 / math.pi if odd else total


def wilson(successes: float, n: int) -> Interval:
    """Give the 95% interval of a share.

    Ties make `successes` fractional; the interval is then too wide rather than too narrow, because no score
    in [0, 1] varies more than one that is 0 or 1.

    Args:
        successes: Sum of the items' scores, in [0, n].
        n: Number of items.

    Returns:
        Lower and upper bound, in [0, 1].

    Raises:
        EvalError: There are no items, or `successes` isn't in [0, n].

    Source: Wilson 1927.
    """
    if n < 1 or not 0 <= successes <= n:
        raise EvalError(f"share of {successes} in {n} items; expected at least one item and 0 to n successes")
    p = successes / n
    scale = 1 + Z_95**2 / n
    centre = (p + Z_95**2 / (2 * n)) / scale
    half = Z_95 * math.sqrt(p * (1 - p) / n + Z_95**2 / (4 * n**2)) / scale
    low = 0.0 if successes == 0 else max(0.0, centre - half)
    high = 1.0 if successes == n else min(1.0, centre + half)
    return low, high


def mean_estimate(values: Sequence[float], *, clusters: Sequence[Hashable] | None = None) -> Estimate:
    """Estimate a mean whose items may come in clusters (questions on one passage).

    Args:
        values: One score an item.
        clusters: One cluster an item; None means that each item stands alone.

    Returns:
        Mean, cluster-robust standard error and 95% interval, of Student's t with G - 1 degrees for G
        clusters; the last two are None with one cluster.

    Raises:
        EvalError: There are no values, or clusters don't fit to them.

    Source: arXiv:2411.00640, eq. 4. Differs: the finite correction G/(G-1), with which clusters of one item
        give the usual s/sqrt(n).
    """
    data_n = _checked(values)
    mean = float(data_n.mean())
    sums_G = _cluster_sums(data_n - mean, clusters)
    num_clusters = len(sums_G)
    if num_clusters < 2:
        return Estimate(mean, None, None)
    correction = num_clusters / (num_clusters - 1)
    error = math.sqrt(correction * float((sums_G**2).sum())) / len(data_n)
    half = error * t_quantile(0.975, num_clusters - 1)
    return Estimate(mean, error, (mean - half, mean + half))


def stratified_mean(values: Sequence[float], strata: Sequence[Hashable]) -> Estimate:
    """Estimate the plain mean of the strata's means, whatever their sizes; strata are fixed, not drawn.

    Args:
        values: One score an item, each by itself.
        strata: One stratum an item; of one with a single item the variance is that of the others, pooled.

    Returns:
        Mean, standard error and 95% interval; the last two are None where no stratum has two items.

    Raises:
        EvalError: There are no values, or strata don't fit to them.

    Source: Cochran 1977, eq. 5.7 (equal weights, no finite correction).
    """
    data_n = _checked(values)
    if len(strata) != len(data_n):
        raise EvalError(f"{len(data_n)} scores and {len(strata)} strata; give one a score")
    parts: dict[Hashable, list[float]] = {}
    for value, stratum in zip(data_n.tolist(), strata, strict=True):
        parts.setdefault(stratum, []).append(value)
    mean = float(np.mean([np.mean(part) for part in parts.values()]))
    spare = sum(len(part) - 1 for part in parts.values())
    if not spare:
        return Estimate(mean, None, None)
    pooled = sum(float(np.var(part)) * len(part) for part in parts.values()) / spare
    variances = [np.var(part, ddof=1) if len(part) > 1 else pooled for part in parts.values()]
    sizes = map(len, parts.values())
    error = math.sqrt(sum(v / n for v, n in zip(variances, sizes, strict=True))) / len(parts)
    return Estimate(mean, error, (mean - Z_95 * error, mean + Z_95 * error))


def paired_difference(
    base: Sequence[float], adapted: Sequence[float], *, clusters: Sequence[Hashable] | None = None
) -> Estimate:
    """Estimate the mean of adapted minus base over the same items.

    Args:
        base: One score an item.
        adapted: The other model's score of the same item, in the same order.
        clusters: As in `mean_estimate`.

    Returns:
        Mean difference, its standard error and 95% interval.

    Raises:
        EvalError: The two don't have the same number of items, or none.

    Source: arXiv:2411.00640, section 4 (paired standard error).
    """
    if len(base) != len(adapted):
        raise EvalError(f"{len(base)} scores of base and {len(adapted)} of adapted; pair them by item first")
    return mean_estimate(_checked(adapted) - _checked(base), clusters=clusters)  # type: ignore[arg-type]


def mcnemar(base_only: int, adapted_only: int) -> float:
    """Give the two-sided p-value of paired right-or-wrong answers.

    Args:
        base_only: Items that only the base got right.
        adapted_only: Items that only the adapted model got right.

    Returns:
        p in (0, 1]; 1 where no item differs.

    Raises:
        EvalError: A count is negative.

    Source: McNemar 1947, exact binomial form.
    """
    smaller, n = min(base_only, adapted_only), base_only + adapted_only
    if smaller < 0:
        raise EvalError(f"discordant counts {base_only} and {adapted_only}; counts can't be negative")
    ways = tail = 1
    for k in range(smaller):
        ways = ways * (n - k) // (k + 1)
        tail += ways
    return min(1.0, float(2 * tail / 2**n))


def sign_flip(differences: Sequence[float], *, clusters: Sequence[Hashable] | None = None) -> float:
    """Give the two-sided p-value of paired differences under exchange of the two models.

    Signs are flipped a cluster at a time; all sign vectors are counted when few clusters differ, else 9,999
    random ones, the same in each call.

    Args:
        differences: Adapted minus base, one an item.
        clusters: As in `mean_estimate`.

    Returns:
        p in (0, 1]; 1 where nothing differs.

    Raises:
        EvalError: There are no differences, or clusters don't fit to them.

    Source: Fisher 1935; (1 + count)/(1 + R) of Phipson and Smyth 2010 for random flips.
    """
    sums_G = _cluster_sums(_checked(differences), clusters)
    sums_G = sums_G[sums_G != 0.0]
    reached = abs(float(sums_G.sum())) - 1e-12 * float(np.abs(sums_G).sum())
    num_sums = len(sums_G)
    if num_sums <= EXACT_FLIPS:
        signs = 2 * ((np.arange(2**num_sums)[:, None] >> np.arange(num_sums)) & 1) - 1
        return float(np.mean(np.abs(signs @ sums_G) >= reached))
    rng = np.random.default_rng(0)
    count = 0
    for size in _chunks(FLIP_RESAMPLES):
        signs = 2 * rng.integers(0, 2, size=(size, num_sums)) - 1
        count += int((np.abs(signs @ sums_G) >= reached).sum())
    return (1 + count) / (1 + FLIP_RESAMPLES)


def holm(p_values: Sequence[float]) -> list[float]:
    """Adjust the p-values of one family of tests.

    Args:
        p_values: In any order.

    Returns:
        Adjusted p-values in the order given, at most 1.

    Source: Holm 1979.
    """
    adjusted = [0.0] * len(p_values)
    running = 0.0
    for rank, index in enumerate(sorted(range(len(p_values)), key=p_values.__getitem__)):
        running = max(running, min(1.0, (len(p_values) - rank) * p_values[index]))
        adjusted[index] = running
    return adjusted


def resample_ratios(numerators: Sequence[float], denominators: Sequence[float]) -> Floats:
    """Draw documents with replacement and give the ratio of sums of each draw.

    The draws depend on the number of documents only, so two calls on the same documents, for two models, see
    the same draws.

    Args:
        numerators: One a document.
        denominators: One a document, positive.

    Returns:
        [R] ratios, R = 10,000.

    Raises:
        EvalError: There are no documents, or a denominator isn't positive.

    Source: Efron and Tibshirani 1993, chapter 6.
    """
    numerator_G, denominator_G = _checked(numerators), _checked(denominators)
    if len(numerator_G) != len(denominator_G) or not bool((denominator_G > 0).all()):
        raise EvalError(
            f"{len(numerator_G)} numerators and {len(denominator_G)} denominators; "
            "a ratio of sums needs one positive denominator a document"
        )
    counted = draw_counts(len(numerator_G))
    return np.concatenate([(counts @ numerator_G) / (counts @ denominator_G) for counts in counted])


def draw_counts(num: int) -> Iterator[NDArray[np.int64]]:
    """Draw with replacement 10,000 times, in chunks: how often each of `num` is in a draw [chunk, num].

    Yields:
        The same counts for the same `num`.
    """
    rng = np.random.default_rng(0)
    for size in _chunks(BOOTSTRAP_RESAMPLES):
        yield rng.multinomial(num, np.full(num, 1.0 / num), size=size)


def ratio_estimate(numerators: Sequence[float], denominators: Sequence[float]) -> Estimate:
    """Estimate a ratio of sums over documents, such as bits per byte.

    The difference of two models on the same documents is the ratio of the differences of their numerators:
    both models then stand in the same resamples.

    Args:
        numerators: One a document.
        denominators: One a document, positive.

    Returns:
        Ratio of the sums, bootstrap standard error and 95% percentile interval, widened about the ratio
        under 100 documents by t(G-1)/1.96 * sqrt(G/(G-1)); the last two are None with one document.

    Raises:
        EvalError: There are no documents, or a denominator isn't positive.

    Source: Efron and Tibshirani 1993, chapter 13; widening: Hesterberg 2015 (arXiv:1411.5279), section 3.
    """
    ratios_R = resample_ratios(numerators, denominators)
    value = float(np.sum(numerators) / np.sum(denominators))
    num_documents = len(numerators)
    if num_documents < 2:
        return Estimate(value, None, None)
    low, high = np.percentile(ratios_R, [2.5, 97.5])
    widening = 1.0
    if num_documents < WIDEN_BELOW:
        degrees = num_documents - 1
        widening = t_quantile(0.975, degrees) / Z_95 * math.sqrt(num_documents / degrees)
    low, high = sorted(value + widening * (float(bound) - value) for bound in (low, high))
    return Estimate(value, widening * float(ratios_R.std(ddof=1)), (low, high))


def _checked(values: Sequence[float]) -> Floats:
    data = np.asarray(values, dtype=np.float64)
    if data.size == 0:
        raise EvalError("a mean over no items; an item is scored, unscored with a reason, or the run fails")
    if not bool(np.isfinite(data).all()):
        raise EvalError("a score is not a finite number; mark the item as failed instead")
    return data


def _cluster_sums(data_n: Floats, clusters: Sequence[Hashable] | None) -> Floats:
    if clusters is None:
        return data_n
    if len(clusters) != len(data_n):
        raise EvalError(f"{len(clusters)} clusters for {len(data_n)} items; expected one an item")
    numbers = {cluster: number for number, cluster in enumerate(dict.fromkeys(clusters))}
    index = [numbers[cluster] for cluster in clusters]
    return np.bincount(index, weights=data_n).astype(np.float64)


def _chunks(total: int) -> Iterator[int]:
    for start in range(0, total, CHUNK):
        yield min(CHUNK, total - start)
