"""Minimal pairs: of two sentences that differ in one point of grammar, which is more likely?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from adatta.chat.render import Chat
from adatta.core.records import Item, TokenRow
from adatta.data.overlap import ItemText
from adatta.evals import measures
from adatta.evals.suite import Branch, BranchTask, Metric, Outcome, Shown


class MinimalPairs(BranchTask):
    """Whole sentences by summed log-prob; the output says what the model preferred."""

    fields: ClassVar = {"right": str, "wrong": str, "phenomenon": str}
    metrics = (Metric(name="accuracy", primary=True),)

    def find_fault(self, fields: Mapping[str, Any]) -> str:
        """Refuse two equal sentences."""
        if fields["right"] == fields["wrong"]:
            return "right and wrong are the same sentence"
        return super().find_fault(fields)

    def item_text(self, item: Item) -> ItemText:
        """Give the right sentence."""
        return ItemText(question=item.fields["right"])

    def show(self, item: Item) -> Shown:
        """Give both sentences."""
        return Shown.pair("", right=item.fields["right"], wrong=item.fields["wrong"])

    def group(self, item: Item) -> str:
        """Give the phenomenon."""
        return str(item.fields["phenomenon"])

    def question(self, item: Item) -> Mapping[str, Any]:
        """Give both sentences."""
        return {"right": item.fields["right"], "wrong": item.fields["wrong"]}

    def branches(self, item: Item, chat: Chat, *, context: int) -> Sequence[TokenRow]:
        """Give one row a sentence, the right one first."""
        return tuple(
            chat.continuation("", item.fields[name], row_id=item.item_id) for name in ("right", "wrong")
        )

    def measure(self, item: Item, branches: Sequence[Branch]) -> Sequence[Outcome]:
        """Give 1 for the right sentence, 1/2 on a tie.

        Raises:
            EvalError: A log-prob isn't finite.
        """
        score = measures.credit([branch.log_prob for branch in branches], 0)
        return (
            Outcome(
                metric="accuracy",
                score=score,
                log_prob=branches[0].log_prob,
                num_tokens=branches[0].num_tokens,
                num_bytes=measures.count_bytes(item.fields["right"]),
                output=measures.VERDICTS[score],
            ),
        )


TASK = MinimalPairs()
