"""Measures of one item, and figures made from two of them; numbers in, numbers out."""

from __future__ import annotations

import math
import unicodedata
from collections.abc import Mapping, Sequence

from adatta.core.errors import EvalError

VERDICTS: Mapping[float | None, str] = {1.0: "right", 0.5: "tie", 0.0: "wrong"}  # of two texts, by credit
NUM_BINS = 10
NATS_PER_BIT = math.log(2)
TIE_TOLERANCE = 1e-9  # relative: two sums of the same float32 numbers in another order don't make a winner


def count_bytes(text: str) -> int:
    """Count the UTF-8 bytes of a text in the composed form (NFC), whatever form it came in."""
    return len(unicodedata.normalize("NFC", text).encode("utf-8"))


def bits_per_byte(log_prob_nats: float, num_bytes: int) -> float:
    """Give the bits that a model needs for one byte of text.

    Args:
        log_prob_nats: Summed log-prob of the text.
        num_bytes: Its UTF-8 bytes, at least 1.

    Returns:
        Bits per byte; with sums over documents it is the pooled figure.

    Raises:
        EvalError: There are no bytes.

    Source: arXiv:2101.00027, section 3.1, with log-prob instead of loss a token.
    """
    if num_bytes < 1:
        raise EvalError(f"bits per byte of {num_bytes} bytes; expected a text that isn't empty")
    return -log_prob_nats / (NATS_PER_BIT * num_bytes)


def best_options(values: Sequence[float]) -> tuple[int, ...]:
    """Give the indices of the highest values: more than one on a tie.

    Raises:
        EvalError: There are no options, or a value isn't a finite number.
    """
    if not values or not all(math.isfinite(value) for value in values):
        raise EvalError(f"values of the options {list(values)}; expected finite numbers, at least one")
    best = max(values)
    return tuple(i for i, value in enumerate(values) if math.isclose(value, best, rel_tol=TIE_TOLERANCE))


def credit(values: Sequence[float], answer: int) -> float:
    """Give 1 when the answer's value is the highest, 1/k when it ties with k - 1 others, else 0.

    Raises:
        EvalError: There are no options, a value isn't finite, or there is no option `answer`.
    """
    if not 0 <= answer < len(values):
        raise EvalError(f"answer {answer} of {len(values)} options; expected an index of one of them")
    winners = best_options(values)
    return 1.0 / len(winners) if answer in winners else 0.0


def preferred_probability(log_probs: Sequence[float]) -> float:
    """Give the softmax probability of the option with the highest log-prob, among the options.

    Args:
        log_probs: Of every option, in nats, finite.

    Source: own; after arXiv:2207.05221, which calibrates over options.
    """
    best = max(log_probs)
    return 1 / sum(math.exp(log_prob - best) for log_prob in log_probs)


def calibration_error(probabilities: Sequence[float], scores: Sequence[float]) -> float:
    """Give the expected calibration error: how far confidence and accuracy are apart, over 10 bins.

    Args:
        probabilities: What the model gave to the option that it preferred, one an item, in [0, 1].
        scores: Whether that was right, a tie in part, one an item, in [0, 1].

    Returns:
        In [0, 1]. Few items make it too high: with 100 of them, a perfect model has about 0.08.

    Raises:
        EvalError: There are no items, or the two don't fit together.

    Source: arXiv:1706.04599, eq. 3, bins of equal width.
    """
    if not probabilities or len(probabilities) != len(scores):
        raise EvalError(
            f"{len(probabilities)} probabilities and {len(scores)} scores; expected one of each an item"
        )
    gaps = [0.0] * (NUM_BINS + 1)
    for probability, score in zip(probabilities, scores, strict=True):
        gaps[math.ceil(probability * NUM_BINS - TIE_TOLERANCE)] += score - probability
    return sum(map(abs, gaps)) / len(scores)


def relative_loss(base: float, adapted: float, chance: float) -> float:
    """Give the share of what the base knew above chance that adaptation lost; negative where it gained.

    Raises:
        EvalError: The base isn't above chance, so there is nothing to lose.

    Source: own.
    """
    if base <= chance:
        raise EvalError(
            f"the base has {base} and chance is {chance}; a loss relative to nothing says nothing"
        )
    return (base - adapted) / (base - chance)
