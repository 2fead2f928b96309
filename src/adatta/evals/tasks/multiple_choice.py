"""Multiple choice as cloze: the option that the model finds most likely behind the question."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, ClassVar

from adatta.chat.render import Chat
from adatta.core.records import Item, TokenRow
from adatta.data.overlap import ItemText
from adatta.evals import measures
from adatta.evals.suite import Branch, BranchTask, Metric, Outcome, Shown

PROMPTS = {"it": "Domanda: {question}\nRisposta:", "en": "Question: {question}\nAnswer:"}


class Choice(BranchTask):
    """A question with its options, however they are asked."""

    fields: ClassVar = {"question": str, "options": list, "answer": int, "topic": str}

    def find_fault(self, fields: Mapping[str, Any]) -> str:
        """Refuse options that are no texts or equal, and answers that are none of them."""
        options = fields["options"]
        if not all(isinstance(option, str) and option.strip() == option != "" for option in options):
            return "options must be texts without spaces at their ends"
        if len(options) < 2 or len(set(options)) < len(options):
            return "expected at least two options, all different"
        if not 0 <= fields["answer"] < len(options):
            return f"answer {fields['answer']} isn't the index of an option (from 0)"
        return super().find_fault(fields)

    def item_text(self, item: Item) -> ItemText:
        """Give the question with its right answer."""
        return ItemText(
            question=item.fields["question"], answer=item.fields["options"][item.fields["answer"]]
        )

    def show(self, item: Item) -> Shown:
        """Give the question, the options and the right one."""
        return super().show(item)._replace(options=item.fields["options"])


class MultipleChoice(Choice):
    """Raw text, each option behind a space: `accuracy` by log-prob a byte, `accuracy_sum` by the sum."""

    metrics = (Metric(name="accuracy", primary=True), Metric(name="accuracy_sum"))

    def question(self, item: Item) -> Mapping[str, Any]:
        """Give the prompt and the options."""
        prompt = PROMPTS[item.language].format_map({"question": item.fields["question"]})
        return {"prompt": prompt, "options": item.fields["options"]}

    def branches(self, item: Item, chat: Chat, *, context: int) -> Sequence[TokenRow]:
        """Give one row an option; all share the question."""
        asked, row_id = self.question(item), item.item_id
        prompt, options = asked["prompt"], asked["options"]
        return tuple(chat.continuation(prompt, f" {option}", row_id=row_id) for option in options)

    def measure(self, item: Item, branches: Sequence[Branch]) -> Sequence[Outcome]:
        """Give 1 for the right option, 1/k on a tie of k; sums are log-probs, so they give the probability.

        Raises:
            EvalError: A log-prob isn't finite.
        """
        by_byte, by_sum = compare_texts(item.fields["options"], branches, answer=item.fields["answer"])
        probability = measures.preferred_probability([branch.log_prob for branch in branches])
        return by_byte, replace(by_sum, probability=probability)


def compare_texts(texts: Sequence[str], branches: Sequence[Branch], *, answer: int) -> list[Outcome]:
    """Give `accuracy`, by log-prob a byte, and `accuracy_sum`, by the sum; the output is the likeliest text.

    Args:
        texts: What each branch scored.
        branches: One a text.
        answer: Which of them is right.

    Raises:
        EvalError: A log-prob isn't finite.
    """
    sums = [branch.log_prob for branch in branches]
    num_bytes = [measures.count_bytes(text) for text in texts]
    by_byte = [total / count for total, count in zip(sums, num_bytes, strict=True)]
    return [
        Outcome(
            metric=metric,
            score=measures.credit(values, answer),
            log_prob=sums[answer],
            num_tokens=branches[answer].num_tokens,
            num_bytes=num_bytes[answer],
            output=" | ".join(texts[index] for index in measures.best_options(values)),
        )
        for metric, values in (("accuracy", by_byte), ("accuracy_sum", sums))
    ]


TASK = MultipleChoice()
