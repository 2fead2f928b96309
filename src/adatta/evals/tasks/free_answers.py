"""Free answers: whether the model answers in the language asked for, and ends by itself."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from adatta.core.records import Item
from adatta.data.overlap import ItemText
from adatta.evals import measures
from adatta.evals.fidelity import judge_language, judge_lines
from adatta.evals.suite import Answer, AnswerTask, Metric, Outcome

NO_LINE = "no line of 5 words"


class FreeAnswers(AnswerTask):
    """Greedy answers to one user message each.

    An answer whose language can't be told fails in `language_fidelity`, the lower figure, and is left out of
    `language_fidelity_sure`. `line_accuracy` is the share of an answer's lines in the language,
    `language_by_line` whether all of them are.
    """

    fields: ClassVar = {"prompt": str, "topic": str}
    metrics = (
        Metric(name="language_fidelity", primary=True),
        Metric(name="language_fidelity_sure"),
        Metric(name="line_accuracy"),
        Metric(name="language_by_line"),
        Metric(name="stop_share"),
    )

    def item_text(self, item: Item) -> ItemText:
        """Give the prompt."""
        return ItemText(question=item.fields["prompt"])

    def prompt(self, item: Item) -> str:
        """Give the user's message."""
        return str(item.fields["prompt"])

    def measure(self, item: Item, answer: Answer) -> Sequence[Outcome]:
        """Judge language and end; an empty answer isn't in the language."""
        prompt = self.prompt(item)
        verdict = judge_language(answer.text, item.language, prompt=prompt)
        lines = judge_lines(answer.text, item.language, prompt=prompt)
        found: dict[str, float | str] = {
            "language_fidelity": float(verdict == "right"),
            "language_fidelity_sure": float(verdict == "right") if verdict in ("right", "wrong") else verdict,
            "line_accuracy": sum(lines) / len(lines) if lines else NO_LINE,
            "language_by_line": float(all(lines)) if lines else NO_LINE,
            "stop_share": float(answer.is_stopped),
        }
        return tuple(
            Outcome(
                metric=metric,
                score=None if isinstance(value, str) else value,
                reason=value if isinstance(value, str) else None,
                num_tokens=answer.num_tokens,
                num_bytes=measures.count_bytes(answer.text),
                output=answer.text,
            )
            for metric, value in found.items()
        )


TASK = FreeAnswers()
