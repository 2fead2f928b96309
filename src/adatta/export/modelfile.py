"""Ollama's model file: the GGUF file, its template in Go's language, what stops an answer, the context."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from gguf import GGUFReader

from adatta.chat.encode import token_names
from adatta.chat.template import Template
from adatta.core.errors import TemplateError
from adatta.core.records import Message
from adatta.export.job import ExportJob
from adatta.export.turns import ANSWER, QUESTION

MAX_CONTEXT = 8192
"""Ollama reserves memory for the whole context; more than this is the user's decision."""
NO_TEMPLATE = "# No TEMPLATE: the model's own can't be said in Go's language; Ollama reads the GGUF file's.\n"
_SYSTEM = Message(role="system", content="Rispondi.")


@dataclass(frozen=True, slots=True, kw_only=True)
class Pieces:
    """What a chat template writes around the contents.

    `first` stands before the first user's message; with a system message, `system` stands before and
    `asked` behind it. `answer` leads to an answer that is there, `user` from it to the next message, `last`
    to the answer that is asked for.
    """

    first: str
    system: str | None
    asked: str
    answer: str
    user: str
    last: str

    def render(self, messages: Sequence[Message]) -> str:
        """Render what Ollama would; `go` says the same in its language."""
        has_system = self.system is not None and messages[0].role == "system"
        text = f"{self.system}{messages[0].content}{self.asked}" if has_system else self.first
        for message in messages[has_system:]:
            is_user = message.role == "user"
            text += message.content if is_user else f"{self.answer}{message.content}{self.user}"
        return text + self.last

    def without(self, begin: str) -> Pieces:
        """Return the same without begin-of-text at the front."""
        system = None if self.system is None else self.system.removeprefix(begin)
        return replace(self, first=self.first.removeprefix(begin), system=system)

    def go(self) -> str:
        """Write the template in Go's language."""
        start = self.first
        if self.system is not None:
            start = f"{{{{ if .System }}}}{self.system}{{{{ .System }}}}{self.asked}{{{{ else }}}}{start}"
            start += "{{ end }}"
        user, answer = "{{ .Content }}", f"{self.answer}{{{{ .Content }}}}{self.user}"
        turn = (
            f'{{{{ if eq .Role "user" }}}}{user}{{{{ else if eq .Role "assistant" }}}}{answer}{{{{ end }}}}'
        )
        return f"{start}{{{{ range .Messages }}}}{turn}{{{{ end }}}}{self.last}"


def find_pieces(template: Template) -> Pieces | None:
    """Take a template apart by rendering probes, and put it together again for others.

    Args:
        template: as it is exported, with the system prompt that is its default.

    Returns:
        None where the pieces don't give what the template renders, or Go would read them as code.
    """

    def outside(*messages: Message) -> list[str]:
        rendering = template.render(messages, generation_prompt=True)
        starts = [0, *(span.end for span in rendering.spans)]
        ends = [*(span.start for span in rendering.spans), len(rendering.text)]
        return [rendering.text[start:end] for start, end in zip(starts, ends, strict=True)]

    try:
        first, answer, user, last = outside(QUESTION, ANSWER, QUESTION)
        turns = [QUESTION, ANSWER] * 2 + [QUESTION]
        probes = [turns[:1], turns[:3], turns]
    except (TemplateError, ValueError):
        return None
    try:
        system, asked, _ = outside(_SYSTEM, QUESTION)
        probes += [[_SYSTEM, *probe] for probe in probes]
    except (TemplateError, ValueError):  # some know no system message
        system, asked = None, ""
    pieces = Pieces(first=first, system=system, asked=asked, answer=answer, user=user, last=last)
    expected = (template.render(probe, generation_prompt=True).text for probe in probes)
    is_same = all(pieces.render(probe) == text for probe, text in zip(probes, expected, strict=True))
    is_plain = not any(mark in pieces.render(probes[-1]) for mark in ("{{", '"""'))
    return pieces if is_same and is_plain else None


def write_modelfile(job: ExportJob, gguf_path: Path) -> Path:
    """Write `Modelfile-<mixture>` beside a GGUF file.

    Args:
        job: what was exported.
        gguf_path: the file, called `<name>-<mixture>.gguf`.

    Returns:
        The model file.

    Source: Ollama's docs/modelfile.md. Begin-of-text is left out of the template where the GGUF file says
        that it comes first: Ollama writes it then.
    """
    fields = GGUFReader(gguf_path).fields
    context = fields[f"{fields['general.architecture'].contents()}.context_length"].contents()
    lines = f"FROM ./{gguf_path.name}\n"
    if job.chat.template is not None:
        names = token_names(json.loads((job.model_folder / "tokenizer_config.json").read_text("utf-8")))
        pieces = find_pieces(Template(job.chat.exported_template(), names))
        begin = names.get("bos_token", "") if fields["tokenizer.ggml.add_bos_token"].contents() else ""
        lines += f'TEMPLATE """{pieces.without(begin).go()}"""\n' if pieces else NO_TEMPLATE
    stops = (job.chat.decode([token], keep_special=True) for token in job.chat.stop_ids)
    lines += "".join(f"PARAMETER stop {json.dumps(stop, ensure_ascii=False)}\n" for stop in stops)
    lines += f"PARAMETER num_ctx {min(context, MAX_CONTEXT)}\n"
    target = gguf_path.with_name(f"Modelfile-{gguf_path.stem.removeprefix(f'{job.name}-')}")
    target.write_text(lines, encoding="utf-8")
    return target
