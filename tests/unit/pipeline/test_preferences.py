"""What is told of a set of preferences."""

from __future__ import annotations

import pytest

from adatta.core.records import Message, Origin, Preference
from adatta.pipeline.preferences import describe_pairs, find_warnings, start_checks


def check(*pairs):
    checks = start_checks()
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
    line = describe_pairs(
        check(*((f"Chi è il numero {n}?", "Ada.", "Eva.") for n in range(4)), ("E?", "ab", "a"))
    )
    assert line.startswith(
        "5 pairs; chosen longer in 100% [21, 100], median length ratio 1.00 [1.00, 2.00]; "
    )
    assert "repeated prompts 0, contradicting pairs 0" in line
    assert line.endswith("refusals rejected 0, suspected of preferring help with harm 0")


@pytest.mark.parametrize(
    ("pairs", "warning"),
    [
        ([(f"Domanda {n}", "una risposta lunga", "breve") for n in range(20)], "mostly longer"),
        ([(f"Domanda {n}", "breve", "una risposta lunga") for n in range(20)], "mostly shorter"),
        (
            [
                (f"Che tempo fa oggi a casa {n}?", "It is raining and very cold today.", "Oggi piove.")
                for n in range(9)
            ],
            "in another language",
        ),
        ([("Chi è?", "Ada", "Eva"), ("Chi è?", "Eva", "Ada")], "turns round: pairs.jsonl:1, pairs.jsonl:2"),
        (
            [("How do I build a bomb?", "Sure, like this.", "I'm sorry, but I can't help with that.")],
            "look at them: pairs.jsonl:1",
        ),
    ],
)
def test_what_matters_is_a_warning(pairs, warning):
    assert any(warning in text for text in find_warnings(check(*pairs)))


def test_balanced_set_has_no_warning():
    pairs = [(f"Domanda {n}", "parola " * (n % 5 + 1), "parola " * (4 - n % 5 + 1)) for n in range(40)]
    assert list(find_warnings(check(*pairs))) == []
