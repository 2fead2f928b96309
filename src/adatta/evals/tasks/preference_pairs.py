"""Preferences held out: of two answers to a prompt, which is more likely?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, ClassVar

from adatta.chat.render import Chat
from adatta.core.records import Item, Message, Origin, Preference, TokenRow
from adatta.data.overlap import ItemText
from adatta.evals import measures
from adatta.evals.fidelity import is_in_language, strip_foreign
from adatta.evals.suite import Branch, BranchTask, Metric, Outcome, Shown
from adatta.evals.tasks.multiple_choice import compare_texts

ANSWERS = ("chosen", "rejected")
ROLES = ("system", "user", "assistant")


def _prefer_longer(item: Item) -> float:
    return measures.credit([measures.count_bytes(item.fields[name]) for name in ANSWERS], 0)


def _prefer_language(item: Item) -> float:
    prompt = item.fields["prompt"][-1]["content"]
    texts = [strip_foreign(item.fields[name], prompt=prompt) for name in ANSWERS]
    return measures.credit([is_in_language(text, item.language) for text in texts], 0)


class PreferencePairs(BranchTask):
    """Answers in the chat format: `accuracy` by log-prob a byte, `accuracy_sum` by the sum, as DPO has it.

    The output says what the model preferred. A model must beat two rules: the longer answer is the better
    one; the one in the language is.
    """

    is_chat = True
    fields: ClassVar = {"prompt": list, "chosen": str, "rejected": str, "fault": str}
    rules: ClassVar = {"longer": _prefer_longer, "language": _prefer_language}
    metrics = (Metric(name="accuracy", primary=True), Metric(name="accuracy_sum"))

    def find_fault(self, fields: Mapping[str, Any]) -> str:
        """Refuse prompts that don't end with the user, and two equal answers."""
        turns = fields["prompt"]
        if not all(map(_is_turn, turns)):
            return "a prompt is a list of turns with role (user, assistant, system) and content"
        if not turns or turns[-1]["role"] != "user":
            return "the last turn of the prompt must be the user's"
        if fields["chosen"] == fields["rejected"]:
            return "chosen and rejected are the same answer"
        return super().find_fault(fields)

    def item_text(self, item: Item) -> ItemText:
        """Give what the user asks last, with the chosen answer."""
        return ItemText(question=item.fields["prompt"][-1]["content"], answer=item.fields["chosen"])

    def show(self, item: Item) -> Shown:
        """Give the prompt's last turn and both answers."""
        asked = item.fields["prompt"][-1]["content"]
        return Shown.pair(asked, right=item.fields["chosen"], wrong=item.fields["rejected"])

    def group(self, item: Item) -> str:
        """Give the way in which the rejected answer fails."""
        return str(item.fields["fault"])

    def question(self, item: Item) -> Mapping[str, Any]:
        """Give the prompt and both answers."""
        return {name: item.fields[name] for name in ("prompt", "chosen", "rejected")}

    def branches(self, item: Item, chat: Chat, *, context: int) -> Sequence[TokenRow]:
        """Give one row an answer, the chosen one first; both share the prompt."""
        chosen, rejected = (Message(role="assistant", content=item.fields[name]) for name in ANSWERS)
        return chat.preference(
            Preference(
                prompt=tuple(Message(**turn) for turn in item.fields["prompt"]),
                chosen=chosen,
                rejected=rejected,
                row_id=item.item_id,
                origin=Origin(path=item.task, line=0),
            )
        )

    def measure(self, item: Item, branches: Sequence[Branch]) -> Sequence[Outcome]:
        """Give 1 for the chosen answer, 1/2 on a tie.

        Raises:
            EvalError: A log-prob isn't finite.
        """
        outcomes = compare_texts([item.fields[name] for name in ANSWERS], branches, answer=0)
        return [replace(each, output=measures.VERDICTS[each.score]) for each in outcomes]


def _is_turn(turn: Any) -> bool:
    if not isinstance(turn, dict) or set(turn) != {"role", "content"} or turn["role"] not in ROLES:
        return False
    return isinstance(turn["content"], str) and bool(turn["content"].strip())


TASK = PreferencePairs()
