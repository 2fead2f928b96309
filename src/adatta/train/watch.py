"""What is told of a step beside its loss: speed, share of the roofline, memory, a fall of what is chosen."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch

from adatta.core.runtime import peak_memory_bytes
from adatta.model.memory import ModelShape, train_flop
from adatta.model.precision import PRODUCT_FLOP, measure_products

FAR_NATS = 0.5  # a token: a chosen answer of 50 tokens is then e^25 times less likely than before training


@dataclass(frozen=True, slots=True, kw_only=True)
class Meter:
    """Says how fast a step was, for a model's shape; `flop_per_s` is what the machine's products reach."""

    shape: ModelShape
    method: str
    flop_per_s: float | None

    @classmethod
    def of(cls, shape: ModelShape, *, method: str, precision: str) -> Meter:
        """Measure the machine, once in a process.

        Args:
            shape: of the model.
            method: of the stage.
            precision: `fp32` or `bf16`; of another one the machine's rate isn't known.
        """
        seconds = measure_products().get(precision)
        return cls(shape=shape, method=method, flop_per_s=PRODUCT_FLOP / seconds if seconds else None)

    def figures(self, *, tokens: int, scored: int, seconds: float) -> dict[str, float]:
        """Return the measured figures of a step.

        Args:
            tokens: that were computed.
            scored: of them, for each row.
            seconds: the step took.
        """
        seconds = max(seconds, 1e-9)
        figures: dict[str, float] = {
            "time_s": round(seconds, 4),
            "tokens_per_s": round(tokens / seconds, 1),
            "scored_tokens_per_s": round(scored / seconds, 1),
            "peak_memory_bytes": peak_memory_bytes(),
        }
        if self.flop_per_s:
            flop = train_flop(self.shape, method=self.method, tokens=tokens, scored=scored)
            figures["roofline_share"] = round(flop / seconds / self.flop_per_s, 4)
        if torch.cuda.is_available():
            figures["device_memory_bytes"] = torch.cuda.max_memory_allocated()
        return figures


def describe_fall(figures: Mapping[str, float], *, step: int) -> str | None:
    """Say that the chosen answers became far less likely than under the reference; None where they didn't.

    Args:
        figures: of a step.
        step: its number.

    Source: arXiv:2410.08847 names the effect; own: the threshold.
    """
    gain = figures.get("gain_chosen_per_token", 0.0)
    if gain > -FAR_NATS:
        return None
    return (
        f"at step {step} the chosen answers are {-gain:.2f} nats a token less likely than under the input "
        f"model (told from {FAR_NATS} on): lower optimizer.lr, raise beta, or set sft_weight above 0"
    )
