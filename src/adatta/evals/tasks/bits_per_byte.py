"""Bits per byte of plain text: the summed log-prob of whole documents over their UTF-8 bytes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from adatta.chat.render import Chat
from adatta.core.records import Document, Item, Origin, TokenRow
from adatta.data.overlap import ItemText
from adatta.evals import measures
from adatta.evals.suite import Branch, BranchTask, Metric, Outcome


class BitsPerByte(BranchTask):
    """Each document in windows, every token scored once; the end of the text isn't counted."""

    fields: ClassVar = {"text": str, "title": str, "register": str}
    metrics = (
        Metric(
            name="bits_per_byte", primary=True, unit="bits/byte", higher_is_better=False, kind="bits_per_byte"
        ),
    )

    def item_text(self, item: Item) -> ItemText:
        """Give the text."""
        return ItemText(question=item.fields["text"])

    def question(self, item: Item) -> Mapping[str, Any]:
        """Give the text."""
        return {"text": item.fields["text"]}

    def branches(self, item: Item, chat: Chat, *, context: int) -> Sequence[TokenRow]:
        """Give the document's windows."""
        origin = Origin(path=item.task, line=0)
        document = Document(text=item.fields["text"], row_id=item.item_id, origin=origin)
        return chat.document(document, context, score_end=False)

    def measure(self, item: Item, branches: Sequence[Branch]) -> Sequence[Outcome]:
        """Sum the windows.

        Raises:
            EvalError: The text is empty.
        """
        log_prob = sum(branch.log_prob for branch in branches)
        num_bytes = measures.count_bytes(item.fields["text"])
        return (
            Outcome(
                metric="bits_per_byte",
                score=measures.bits_per_byte(log_prob, num_bytes),
                log_prob=log_prob,
                num_tokens=sum(branch.num_tokens for branch in branches),
                num_bytes=num_bytes,
            ),
        )


TASK = BitsPerByte()
