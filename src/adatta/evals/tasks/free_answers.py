"""Free answers: whether the model answers in the language asked for, and ends by itself."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from adatta.core.records import Item
from adatta.data.overlap import ItemText
from adatta.evals import measures
from adatta.evals.fidelity import is_in_language
from adatta.evals.suite import Answer, AnswerTask, Metric, Outcome


class FreeAnswers(AnswerTask):
    """Greedy answers to one user message each."""

    fields: ClassVar = {"prompt": str, "topic": str}
    metrics = (
        Metric(name="language_fidelity", unit="share", higher_is_better=True, primary=True, kind="share"),
        Metric(name="stop_share", unit="share", higher_is_better=True, primary=False, kind="share"),
    )

    def item_text(self, item: Item) -> ItemText:
        """Give the prompt."""
        return ItemText(question=item.fields["prompt"])

    def prompt(self, item: Item) -> str:
        """Give the user's message."""
        return str(item.fields["prompt"])

    def measure(self, item: Item, answer: Answer) -> Sequence[Outcome]:
        """Judge language and end; an empty answer isn't in the language."""
        scores = (
            ("language_fidelity", is_in_language(answer.text, item.language)),
            ("stop_share", answer.is_stopped),
        )
        return tuple(
            Outcome(
                metric=metric,
                score=float(score),
                num_tokens=answer.num_tokens,
                num_bytes=measures.count_bytes(answer.text),
                output=answer.text,
            )
            for metric, score in scores
        )


TASK = FreeAnswers()
