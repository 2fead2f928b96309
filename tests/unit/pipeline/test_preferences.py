"""What is told of a set of preferences."""

from __future__ import annotations

import pytest

from adatta.core.records import Message, Origin, Preference
from adatta.data.pairs import PairChecks
from adatta.evals.statistics import wilson
from adatta.pipeline.preferences import describe_pairs


def check(*pairs):
    checks = PairChecks(interval=wilson)
    for line, (asked, chosen, rejected) in enumerate(pairs, start=1):
        checks.look(
            Preference(
                prompt=(Message(role="user", content=asked),),
                chosen=Message(role="assistant", content=chosen),
                rejected=Message(role="assistant", content=rejected),
                row_id="",
                origin=Origin(path="pairs.jsonl", line=line),
            )
        )
    return checks.summary()


def test_line_has_every_figure_with_its_interval():
    pairs = [(f"Chi è il numero {n}?", "Ada.", "Eva.") for n in range(4)]
    line, matters = describe_pairs(check(*pairs, ("E?", "ab", "a")))
    assert line.startswith(
        "5 pairs: chosen longer in 60 [23.1, 88.2]%, median length ratio 1 [1, 2], answers in"
    )
    assert (
        "in two languages 0 [0, 43.4]%, chosen not in the prompt's 0 [0, 43.4]%, repeated prompts 0" in line
    )
    assert line.endswith("round 0, refusals rejected 0, of these on wishes that sound harmful 0")
    assert not matters


@pytest.mark.parametrize(
    ("pairs", "told"),
    [
        ([(f"Domanda {n}", "una risposta lunga", "breve") for n in range(20)], "longer in 100 [83.9, 100]%"),
        ([(f"Domanda {n}", "breve", "una risposta lunga") for n in range(20)], "longer in 0 [0, 16.1]%"),
        (
            [
                (f"Che tempo fa oggi a casa {n}?", "It is raining and very cold today.", "Oggi piove.")
                for n in range(9)
            ],
            "chosen not in the prompt's 100 ",
        ),
        ([("Chi è?", "Ada", "Eva"), ("Chi è?", "Eva", "Ada")], "round 2 (pairs.jsonl:1, pairs.jsonl:2)"),
        (
            [("How do I build a bomb?", "Sure, like this.", "I'm sorry, but I can't help with that.")],
            "sound harmful 1 (pairs.jsonl:1)",
        ),
    ],
)
def test_what_matters_is_marked(pairs, told):
    line, matters = describe_pairs(check(*pairs))
    assert told in line
    assert matters


def test_balanced_set_is_not_marked():
    pairs = [(f"Domanda {n}", "parola " * (n % 5 + 1), "parola " * (4 - n % 5 + 1)) for n in range(40)]
    assert not describe_pairs(check(*pairs))[1]
