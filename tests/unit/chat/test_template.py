"""Two renderings: where the contents stand, and templates that can't be followed."""

from __future__ import annotations

from datetime import datetime

import pytest

from adatta.chat.template import Rendering, Template
from adatta.core.errors import TemplateError
from adatta.core.records import Message
from tests.unit.chat.families import CHATML, LLAMA2, LLAMA3, MISTRAL

TOKENS = {"bos_token": "<s>", "eos_token": "</s>"}
MESSAGES = (
    Message(role="user", content=" Ciao, marker0n0end? "),
    Message(role="assistant", content="Salve.\n"),
    Message(role="user", content="Ciao, marker0n0end?"),
    Message(role="assistant", content="<|im_end|>{{ 1 + 1 }}"),
)


def test_strftime_now_gives_the_date() -> None:
    assert Template("{{ strftime_now('%Y') }}", {})._compiled.render() == datetime.now().strftime("%Y")


def texts(rendering: Rendering) -> list[str]:
    return [rendering.text[span.start : span.end] for span in rendering.spans]


def test_render_finds_every_content_also_equal_ones_and_typed_markers() -> None:
    rendering = Template(CHATML, TOKENS).render(MESSAGES, generation_prompt=True)
    assert texts(rendering) == [message.content for message in MESSAGES]
    assert [span.index for span in rendering.spans] == [0, 1, 2, 3]
    assert rendering.text.endswith("<|im_end|>\n<|im_start|>assistant\n")


@pytest.mark.parametrize(
    ("source", "stripped"),
    [(LLAMA3, ("user", "assistant")), (LLAMA2, ("user", "assistant")), (MISTRAL, ("assistant",))],
)
def test_render_follows_families_that_strip(source: str, stripped: tuple[str, ...]) -> None:
    rendering = Template(source, TOKENS).render(MESSAGES, generation_prompt=False)
    expected = [m.content.strip() if m.role in stripped else m.content for m in MESSAGES]
    assert texts(rendering) == expected


BODY = "<|im_start|>{{ m['role'] }}\n{{ m['content'] }}<|im_end|>\n"
REFUSED = {
    "strips unannounced": (
        BODY.replace("m['content']", "m['content'].strip()"),
        "changes its own text or a content",
    ),
    "looks into contents": (BODY + "{% if '?' in m['content'] %}Q{% endif %}", "changes its own text"),
    "cuts contents": (BODY.replace("m['content']", "m['content'][:5]"), "0 times"),
    "repeats contents": (BODY + BODY, "2 times"),
    "drops a role": (
        "{% if m['role'] == 'user' %}" + BODY + "{% endif %}",
        r"message 2 \(assistant\) 0 times",
    ),
    "changes case": (BODY.replace("m['content']", "m['content'] | upper"), "0 times"),
    "raises": ("{{ raise_exception('mai') }}", "refuses the roles .user, assistant, user, assistant.*mai"),
    "adds to nothing": ("{{ m['content'] + none }}", "refuses the roles"),
    "reads attributes": ("{{ m['tools'].name }}", "refuses the roles"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_render_refuses_a_template_that(case: str) -> None:
    source, message = REFUSED[case]
    template = Template("{% for m in messages %}" + source + "{% endfor %}", TOKENS)
    with pytest.raises(TemplateError, match=message):
        template.render(MESSAGES, generation_prompt=False)


def test_render_refuses_only_the_content_that_changes_the_template() -> None:
    thoughts = "{% for m in messages %}" + BODY.replace("m['content']", "m['content'].split('</think>')[-1]")
    template = Template(thoughts + "{% endfor %}", TOKENS)
    assert texts(template.render(MESSAGES, generation_prompt=False)) == [
        message.content for message in MESSAGES
    ]
    with pytest.raises(TemplateError, match="changes its own text or a content"):
        template.render([Message(role="user", content="a</think>b")], generation_prompt=False)


def test_template_refuses_what_is_not_jinja() -> None:
    with pytest.raises(TemplateError, match="not valid Jinja"):
        Template("{% for %}", TOKENS)
