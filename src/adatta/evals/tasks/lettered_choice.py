"""Multiple choice by letter: the options stand in the prompt, each of them once at each letter."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

from adatta.chat.render import Chat
from adatta.core.records import Item, TokenRow
from adatta.evals import measures
from adatta.evals.suite import Branch, Metric, Outcome, Shown
from adatta.evals.tasks.multiple_choice import PROMPTS, Choice

RECALLS = {"recall_a": 0, "recall_b": 1, "recall_c": 2, "recall_d": 3}


class LetteredChoice(Choice):
    """Raw text, a question asked once for each rotation of its options, answered with the likeliest letter.

    `accuracy` is the mean over the rotations, so that a model which always says A gets 1/k; `consistency`
    whether the same option alone wins in all of them; `recall_a` the accuracy with the right option at A.

    Source: arXiv:2309.03882 (cyclic permutation of the options, balance of recalls).
    """

    metrics = tuple(
        Metric(name=name, primary=name == "accuracy") for name in ("accuracy", "consistency", *RECALLS)
    )

    def question(self, item: Item) -> Mapping[str, Any]:
        """Give a prompt a rotation: in the one of number n, option n stands at A."""
        question, options = item.fields["question"], item.fields["options"]
        prompts = []
        for shift in range(len(options)):
            listed = enumerate(options[shift:] + options[:shift])
            lines = [question, *(f"{_letter(place)}. {option}" for place, option in listed)]
            prompts.append(PROMPTS[item.language].format_map({"question": "\n".join(lines)}))
        return {"prompts": prompts}

    def show(self, item: Item) -> Shown:
        """Give the question, the options and the right one; a choice is how often each option won."""
        return super().show(item)._replace(read=partial(_count_winners, item.fields["options"]))

    def branches(self, item: Item, chat: Chat, *, context: int) -> Sequence[TokenRow]:
        """Give a row a rotation and letter; the letters of one share its prompt, all rows the question."""
        return tuple(
            chat.continuation(prompt, f" {_letter(place)}", row_id=item.item_id)
            for prompt in self.question(item)["prompts"]
            for place in range(len(item.fields["options"]))
        )

    def measure(self, item: Item, branches: Sequence[Branch]) -> Sequence[Outcome]:
        """Give 1 a rotation for the right letter, 1/k on a tie of k; the output names the letters that won.

        Raises:
            EvalError: A log-prob isn't finite.
        """
        num, answer = len(item.fields["options"]), item.fields["answer"]
        sums = [branch.log_prob for branch in branches]
        rotations = [sums[start : start + num] for start in range(0, num * num, num)]
        places = [(answer - shift) % num for shift in range(num)]
        credits = map(measures.credit, rotations, places)
        by_place = dict(zip(places, credits, strict=True))
        winners = [measures.best_options(values) for values in rotations]
        won = {(place + shift) % num for shift, found in enumerate(winners) for place in found}
        output = " ".join("".join(map(_letter, found)) for found in winners)
        probability = sum(map(measures.preferred_probability, rotations)) / num
        accuracy = Outcome(
            metric="accuracy", score=sum(by_place.values()) / num, output=output, probability=probability
        )
        consistency = Outcome(metric="consistency", score=float(len(won) == 1), output=output)
        recalls = (
            Outcome(metric=metric, score=by_place[place])
            if place < num
            else Outcome(metric=metric, reason="fewer options")
            for metric, place in RECALLS.items()
        )
        return (accuracy, consistency, *recalls)


def _count_winners(options: Sequence[str], output: str) -> str:
    """Say how often each option won, from the letters that won in each rotation."""
    rotations = enumerate(output.split())
    places = (ord(letter) - ord("A") + shift for shift, letters in rotations for letter in letters)
    won = Counter(options[place % len(options)] for place in places)
    return ", ".join(f"{option} ({times} of {len(options)})" for option, times in won.most_common())


def _letter(place: int) -> str:
    return chr(ord("A") + place)


TASK = LetteredChoice()
