"""Our ids against the tokenizer's own, on a harmless conversation."""

from __future__ import annotations

from adatta.chat.encode import Encoder
from adatta.chat.template import Template
from adatta.core.errors import TemplateError
from adatta.core.records import Message, shared_length

HARMLESS = (
    Message(
        role="user", content="Perché il 25% dei caffè costa 1,20 euro?\n\nElenca: a)  due motivi; b) un'idea."
    ),
    Message(role="assistant", content="Così è: l'affitto, e poi… «la qualità». 12345 città 😀"),
    Message(role="user", content="Grazie!"),
    Message(role="assistant", content="Prego."),
)


def check_parity(encoder: Encoder, template: Template) -> None:
    """Compare our ids with those that the unchanged tokenizer gives the rendered text.

    Raises:
        TemplateError: They differ, so this tokenizer does something that we don't.
    """
    rendering = template.render(HARMLESS, generation_prompt=False)
    ours = encoder.encode_rendering(rendering).ids
    theirs = tuple(encoder.tokenizer.encode(rendering.text, add_special_tokens=False).ids)
    if ours == theirs:
        return
    at = shared_length(ours, theirs)
    raise TemplateError(
        f"a harmless conversation gets other ids than the tokenizer's own, first at token {at}: "
        f"{ours[at : at + 5]}, the tokenizer says {theirs[at : at + 5]}; this tokenizer can't be used yet"
    )
