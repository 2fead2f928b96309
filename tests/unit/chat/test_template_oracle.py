"""Our Jinja environment against that of transformers, on published templates and feature by feature."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from functools import cache
from pathlib import Path

import pytest
from transformers.utils.chat_template_utils import _compile_jinja_template

from adatta.chat.template import Template
from tests.unit.chat.families import LLAMA2, LLAMA3, MISTRAL
from tests.unit.chat.test_template import MESSAGES, TOKENS

pytestmark = pytest.mark.torch  # transformers imports it


def published() -> list[Path]:
    """Chat templates as published, which TRL carries."""
    spec = importlib.util.find_spec("trl")
    assert spec is not None
    assert spec.submodule_search_locations is not None
    folder = Path(spec.submodule_search_locations[0]) / "chat_templates"
    return sorted(path for path in folder.glob("*.jinja") if not path.stem.endswith("_training"))


def outcome(render: Callable[[], str]) -> str:
    try:
        return render()
    except Exception as error:  # noqa: BLE001 - any refusal counts
        return f"refused: {type(error).__name__ if isinstance(error, TypeError) else 'template'}"


@pytest.mark.parametrize("path", published(), ids=lambda path: path.stem)
def test_environment_renders_published_templates_as_transformers(path: Path) -> None:
    source = path.read_text(encoding="utf-8")
    rows = [{"role": message.role, "content": message.content.strip()} for message in MESSAGES]
    our_own, their_own = cache(lambda: Template(source, {})._compiled), cache(_compile_jinja_template)
    for generation_prompt in (False, True):
        given = {
            "messages": rows,
            "tools": None,
            "documents": None,
            "add_generation_prompt": generation_prompt,
        }
        ours = outcome(lambda given=given: our_own().render(**given, **TOKENS))
        theirs = outcome(lambda given=given: their_own(source).render(**given, **TOKENS))
        assert ours == theirs


FEATURES = {
    "blocks are trimmed": "  {% if true %}\n  a\n  {% endif %}\nb\n",
    "loop controls": "{% for i in range(9) %}{% if i == 1 %}{% continue %}{% endif %}"
    "{% if i > 3 %}{% break %}{% endif %}{{ i }}{% endfor %}",
    "tojson": "{{ {'b': 'è<>', 'a': [1, none]} | tojson }}{{ [1] | tojson(indent=2) }}",
    "generation tag": "{% set x = 1 %}{% generation %}{% set x = 2 %}{{ x }}{{ messages }}"
    "{% endgeneration %}{{ x }}",
    "namespace": "{% set n = namespace(a=1) %}{% set n.a = 2 %}{{ n.a }}",
    "namespace with underscore": "{% set n = namespace(_a=1) %}",
    "namespace set with underscore": "{% set n = namespace(a=1) %}{% set n.__class__ = 2 %}",
    "dict": "{{ dict(a=1) }}{{ dict.__class__ }}",
    "sandbox": "{{ ''.__class__.__mro__ }}",
    "immutable": "{{ messages.append(1) }}",
    "undefined": "{{ nothing }}|{{ strftime_now is defined }}|{{ raise_exception is defined }}",
    "raised": "{{ raise_exception('no') }}",
}


@pytest.mark.parametrize("feature", FEATURES)
def test_environment_equals_transformers_in(feature: str) -> None:
    source = FEATURES[feature]
    ours = outcome(lambda: Template(source, {})._compiled.render(messages=[1]))
    theirs = outcome(lambda: _compile_jinja_template(source).render(messages=[1]))
    assert ours == theirs


@pytest.mark.parametrize("source", [LLAMA3, LLAMA2, MISTRAL])
def test_render_equals_transformers_where_families_strip(source: str) -> None:
    rendering = Template(source, TOKENS).render(MESSAGES, generation_prompt=False)
    rows = [{"role": message.role, "content": message.content} for message in MESSAGES]
    assert rendering.text == _compile_jinja_template(source).render(messages=rows, **TOKENS)
