"""How often a 95% interval holds the truth, in simulations of 4,000 repetitions a cell."""

from __future__ import annotations

import json
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import numpy as np
import pytest

from adatta.evals import statistics
from adatta.evals.statistics import Interval, mean_estimate, paired_difference, wilson

REPETITIONS = 4000
ALLOWED = (0.93, 0.97)
OUTSIDE: dict[str, float] = {  # told in docs/limits.md, and in reports with so few items
    "Wilson, n 30, p 0.1": 0.972,
    "Wilson, n 30, p 0.9": 0.972,
}
DOCUMENTS = json.loads((Path(__file__).parent / "documents.json").read_text(encoding="utf-8"))


def share_holding(truth: float, intervals: Iterator[Interval]) -> float:
    return float(np.mean([low <= truth <= high for low, high in intervals]))


def check(share: float, cell: str) -> None:
    print(f"{cell}: {share:.4f}")
    low, high = ALLOWED
    if cell in OUTSIDE:
        assert share == pytest.approx(OUTSIDE[cell], abs=0.005), f"{cell}: {share:.4f}"
    else:
        assert low <= share <= high, f"{cell}: {share:.4f} of the intervals hold the truth"


@pytest.mark.parametrize("p", [0.1, 0.5, 0.9])
@pytest.mark.parametrize("n", [30, 100, 1000])
def test_wilson(n, p):
    counts = np.random.default_rng(n).binomial(n, p, size=REPETITIONS)
    check(share_holding(p, (wilson(int(count), n) for count in counts)), f"Wilson, n {n}, p {p}")


@pytest.mark.parametrize("discordance", [0.05, 0.2])
@pytest.mark.parametrize("n", [100, 500])
def test_paired_difference(n, discordance):
    rise, fall = 0.7 * discordance, 0.3 * discordance  # the adapted model is better
    draws = np.random.default_rng(n).multinomial(n, [rise, fall, 1 - rise - fall], size=REPETITIONS)

    @cache
    def interval(num_risen: int, num_fallen: int) -> Interval:
        same = n - num_risen - num_fallen
        base = [0.0] * num_risen + [1.0] * num_fallen + [1.0] * same
        adapted = [1.0] * num_risen + [0.0] * num_fallen + [1.0] * same
        return paired_difference(base, adapted).interval

    intervals = (interval(int(risen), int(fallen)) for risen, fallen, _ in draws)
    check(share_holding(rise - fall, intervals), f"paired, n {n}, discordance {discordance}")


@pytest.mark.parametrize("num_clusters", [20, 100])
def test_clusters_of_unequal_size(num_clusters):
    rng = np.random.default_rng(num_clusters)

    def intervals() -> Iterator[Interval]:
        for _ in range(REPETITIONS):
            sizes = rng.integers(1, 7, size=num_clusters)
            cluster_n = np.repeat(np.arange(num_clusters), sizes)
            right_n = rng.random(len(cluster_n)) < np.repeat(rng.beta(2, 2, size=num_clusters), sizes)
            yield mean_estimate(right_n.astype(float), clusters=cluster_n.tolist()).interval

    check(share_holding(0.5, intervals()), f"{num_clusters} clusters")


@pytest.mark.parametrize("name", sorted(DOCUMENTS))
@pytest.mark.parametrize("n", [25, 60])
def test_bits_per_byte_of_real_documents(n, name, monkeypatch):
    # The draws are the same each time, so that they need to be made once only.
    drawn_once = [counts.astype(float) for counts in statistics.draw_counts(n)]
    monkeypatch.setattr(statistics, "draw_counts", lambda num: drawn_once)
    bits_G, bytes_G = (np.array(DOCUMENTS[name][key], dtype=float) for key in ("bits", "bytes"))
    rng = np.random.default_rng(n)

    def intervals() -> Iterator[Interval]:
        for _ in range(REPETITIONS):
            drawn = rng.integers(0, len(bits_G), size=n)
            yield statistics.ratio_estimate(bits_G[drawn], bytes_G[drawn]).interval

    check(share_holding(bits_G.sum() / bytes_G.sum(), intervals()), f"bits per byte, {name}, n {n}")
