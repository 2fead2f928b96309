"""Rows to token ids and loss masks: the one place, for training, evaluation, chat and serving."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from adatta.chat.encode import Encoded, Encoder
from adatta.chat.parity import check_parity
from adatta.chat.template import Rendering, Span, Template
from adatta.core.errors import ModelError, TemplateError
from adatta.core.fingerprint import content_id
from adatta.core.records import Conversation, Document, Message, Preference, TokenRow

_END_OF_TEXT = ("<|endoftext|>", "<|end_of_text|>", "<eos>", "<｜end▁of▁sentence｜>", "</s>")
_PROBE = (Message(role="user", content="Ciao"), Message(role="assistant", content="Salve"))


@dataclass(frozen=True, slots=True)
class _Turns:
    """An encoded conversation, the prompt of its last answer, and the characters of the answers."""

    prompt: Rendering
    encoded: Encoded
    answers: tuple[tuple[int, int], ...]


class Chat:
    """A model's chat format: its tokenizer, its template and its special tokens.

    `prefix_id` stands before plain text, `end_id` after a whole document; a generated answer ends with one of
    `stop_ids`. `template` is the model's own; a model that has none (None) has documents and continuations,
    but no conversations. `template_hash` covers template and system prompt.
    """

    def __init__(
        self,
        *,
        encoder: Encoder,
        settings: Mapping[str, Mapping[str, Any]],
        template: str | None,
        system_prompt: str | None,
    ) -> None:
        """Put the parts together; `Chat.load` reads them from a folder.

        Args:
            encoder: The tokenizer.
            settings: Fields of `tokenizer`, `generation` and `model` configuration.
            template: Jinja source.
            system_prompt: What stands before conversations without a system message.

        Raises:
            TemplateError: The template can't be followed exactly, or special tokens are missing.
        """
        self._encoder = encoder
        self.template = template
        self.system_prompt = system_prompt
        names = _token_names(settings["tokenizer"])
        self._compiled = None if template is None else Template(template, names)
        self.template_hash = content_id([template, system_prompt])
        self.end_id = self._find_end(names, settings)
        begin = self._id_of(names.get("bos_token"), settings["model"].get("bos_token_id"))
        self.prefix_id = self.end_id if begin is None else begin
        self.stop_ids = self._find_stops(settings)
        if template is not None:
            check_parity(encoder, self._need_template())

    @classmethod
    def load(cls, folder: str | Path, system_prompt: str | None = None) -> Chat:
        """Read a model folder.

        Args:
            folder: Holds `tokenizer.json` and, where the model has them, `tokenizer_config.json`,
                `chat_template.jinja`, `generation_config.json` and `config.json`.
            system_prompt: What stands before conversations without a system message; None leaves them, and
                what the template itself does, alone.

        Returns:
            The chat format, checked against the tokenizer's own ids.

        Raises:
            ModelError: There is no `tokenizer.json`.
            TemplateError: The template can't be followed exactly, or special tokens are missing.
        """
        path = Path(folder)
        if not (path / "tokenizer.json").is_file():
            raise ModelError(
                f"{path} has no tokenizer.json; a model folder with a fast tokenizer is expected"
            )
        files = {"tokenizer": "tokenizer_config", "generation": "generation_config", "model": "config"}
        settings = {key: _read_json(path / f"{name}.json") for key, name in files.items()}
        encoder = Encoder((path / "tokenizer.json").read_text(encoding="utf-8"))
        template = _read_template(path, settings["tokenizer"])
        return cls(encoder=encoder, settings=settings, template=template, system_prompt=system_prompt)

    def conversation(self, row: Conversation) -> TokenRow:
        """Encode a conversation; each answer of the assistant is scored, with the token that ends its turn.

        Args:
            row: The conversation; its last message is the assistant's.

        Returns:
            One branch.

        Raises:
            TemplateError: The template can't be followed exactly for this row.
        """
        turns = self._turns(row.messages)
        return TokenRow(
            ids=turns.encoded.ids, weights=_weights(turns.encoded, turns.answers), row_id=row.row_id
        )

    def preference(self, row: Preference) -> tuple[TokenRow, TokenRow]:
        """Encode a preference; both answers go on from the prompt's own ids.

        Args:
            row: Prompt and answers.

        Returns:
            The branch of the chosen answer and that of the rejected one; only these answers are scored.

        Raises:
            TemplateError: The template can't be followed exactly for this row.
        """
        first, second = (
            self._answer(row, answer, branch) for branch, answer in enumerate((row.chosen, row.rejected))
        )
        return first, second

    def document(self, row: Document, context: int, *, score_end: bool = True) -> tuple[TokenRow, ...]:
        """Encode a text as `[prefix] tokens [end]`, in windows of at most `context` tokens.

        Each later window begins with the token before it, unscored: every token is scored exactly once.

        Args:
            row: The text.
            context: Largest number of tokens of a window, at least 2.
            score_end: Whether the end token follows the text (scored). Without it nothing else changes.

        Returns:
            The windows, numbered by `branch`.
        """
        end = (self.end_id,) if score_end else ()
        ids = (self.prefix_id, *self._encoder.encode_text(row.text).ids, *end)
        starts = range(0, max(1, len(ids) - 1), context - 1)
        windows = (ids[start : start + context] for start in starts)
        return tuple(
            TokenRow(ids=window, weights=(0.0, *[1.0] * (len(window) - 1)), row_id=row.row_id, branch=number)
            for number, window in enumerate(windows)
        )

    def prompt(self, messages: Sequence[Message]) -> tuple[int, ...]:
        """Encode what the model is given before it answers.

        Args:
            messages: The conversation so far, the user's message last.

        Returns:
            Ids that end with the header of the assistant's turn.

        Raises:
            TemplateError: The template can't be followed exactly for these messages.
        """
        return self._encoder.encode_rendering(self._render(messages, generation_prompt=True)).ids

    def continuation(self, context: str, text: str, *, row_id: str = "") -> TokenRow:
        """Encode plain text whose second part is scored: one joint encoding behind the prefix.

        Args:
            context: The unscored part; may be empty.
            text: The scored part: each token whose last byte belongs to it.
            row_id: Id of the question that this belongs to.

        Returns:
            One branch.
        """
        encoded = self._encoder.encode_text(context + text)
        weights = _weights(encoded, [(len(context), len(context) + len(text))])
        return TokenRow(ids=(self.prefix_id, *encoded.ids), weights=(0.0, *weights), row_id=row_id)

    def decode(self, ids: Iterable[int], *, keep_special: bool = False) -> str:
        """Turn ids into text.

        Args:
            ids: Token ids.
            keep_special: Whether special tokens stay visible.

        Returns:
            The text.
        """
        return str(self._encoder.tokenizer.decode(list(ids), skip_special_tokens=not keep_special))

    def exported_template(self, system_prompt: str | None = None) -> str:
        """Write the template that does by itself what this chat does with a system prompt.

        Args:
            system_prompt: Default: the one of this chat.

        Returns:
            Jinja source to ship with the model.

        Raises:
            TemplateError: The model has no template.
        """
        source = self._need_template().text
        prompt = self.system_prompt if system_prompt is None else system_prompt
        if prompt is None:
            return source
        message = f"{{'role': 'system', 'content': {json.dumps(prompt, ensure_ascii=False)}}}"
        # The newline is eaten by the block before it, and what follows is rendered as at the start of a file.
        return (
            "{%- if messages[0]['role'] != 'system' %}{%- set messages = ["
            + message
            + "] + messages %}{%- endif %}\n"
            + source
        )

    def _need_template(self) -> Template:
        if self._compiled is None:
            raise TemplateError(
                "the model has no chat template, which conversations and preferences need; "
                "use an instruction model, or text only"
            )
        return self._compiled

    def _render(self, messages: Sequence[Message], *, generation_prompt: bool) -> Rendering:
        template = self._need_template()
        if not messages:
            raise TemplateError("a conversation without messages was given; at least one is expected")
        if self.system_prompt is not None and messages[0].role != "system":
            messages = (Message(role="system", content=self.system_prompt), *messages)
        return template.render(messages, generation_prompt=generation_prompt)

    def _turns(self, messages: Sequence[Message], *, border_after_prompt: bool = False) -> _Turns:
        """Encode a conversation and find what the assistant writes in use: from prompt to end of turn.

        Raises:
            TemplateError: The whole conversation doesn't begin with the prompt of its last answer.
        """
        rendering = self._render(messages, generation_prompt=False)
        prompt = self._render(messages[:-1], generation_prompt=True)
        if not rendering.text.startswith(prompt.text):
            raise TemplateError(
                "the chat template writes a conversation in another way than the prompt of its last answer: "
                "training would show the model a text that it never sees in use; use another template"
            )
        encoded = self._encoder.encode_rendering(rendering, len(prompt.text) if border_after_prompt else None)
        header = prompt.text[prompt.spans[-1].end :]
        shift = len(rendering.spans) - len(messages)  # 1 where the system prompt stands in front
        borders = [*rendering.spans, Span(len(rendering.text), len(rendering.text), len(rendering.spans))]
        answers = []
        for before, span, after in zip(borders, borders[1:], borders[2:], strict=False):
            if messages[span.index - shift].role == "assistant":
                # Some templates put a space between the header and the answer: the model writes it.
                has_header = rendering.text.startswith(header, before.end, span.start)
                start = before.end + len(header) if has_header else span.start
                answers.append((start, _end_of_turn(encoded, span.end, after.start)))
        return _Turns(prompt, encoded, tuple(answers))

    def _answer(self, row: Preference, answer: Message, branch: int) -> TokenRow:
        messages = (*row.prompt, answer)
        turns = self._turns(messages)
        context = self._encoder.encode_rendering(turns.prompt).ids
        ids = turns.encoded.ids
        if ids[: len(context)] != context:
            # Encoded together, the answer's first characters melt into the prompt's last token.
            turns = self._turns(messages, border_after_prompt=True)
            joint, ids = ids, turns.encoded.ids
            same_text = self.decode(ids, keep_special=True) == self.decode(joint, keep_special=True)
            if ids[: len(context)] != context or not same_text:
                raise TemplateError(
                    f"the answer {answer.content[:40]!r} can't go on from its prompt's tokens; "
                    "take the whitespace off its start"
                )
        return TokenRow(
            ids=ids, weights=_weights(turns.encoded, turns.answers[-1:]), row_id=row.row_id, branch=branch
        )

    def _id_of(self, name: str | None, number: Any) -> int | None:
        """Return the id of a special token by its name, else the configuration's number."""
        found = None if name is None else self._encoder.tokenizer.token_to_id(name)
        if found is not None:
            return int(found)
        return next(iter(_numbers(number)), None)

    def _find_end(self, names: Mapping[str, str], settings: Mapping[str, Mapping[str, Any]]) -> int:
        added = self._encoder.added_ids
        known = next((added[name] for name in _END_OF_TEXT if name in added), None)
        found = (
            self._id_of(names.get("eos_token"), settings["model"].get("eos_token_id"))
            if known is None
            else known
        )
        if found is None:
            raise TemplateError(
                "the tokenizer has no end-of-text token; name one as eos_token in tokenizer_config.json"
            )
        return found

    def _find_stops(self, settings: Mapping[str, Mapping[str, Any]]) -> tuple[int, ...]:
        """Collect what ends an answer: end of turn, end of text, the generation config's list."""
        stops = {self.end_id, *_numbers(settings["generation"].get("eos_token_id"))}
        if self.template is not None:
            rendering = self._render(_PROBE, generation_prompt=False)
            encoded = self._encoder.encode_rendering(rendering)
            _end_of_turn(encoded, rendering.spans[-1].end, len(rendering.text))
            tail = _added_from(encoded, rendering.spans[-1].end)
            stops |= {encoded.ids[tail[0]], encoded.ids[tail[-1]]}
        return tuple(sorted(stops))


def _added_from(encoded: Encoded, start: int) -> list[int]:
    """Return the places of the added tokens that end behind character `start`."""
    places = enumerate(zip(encoded.added, encoded.last_char, strict=True))
    return [place for place, (added, last) in places if added and last >= start]


def _end_of_turn(encoded: Encoded, start: int, limit: int) -> int:
    """Return the character behind the first added token from `start` on, which must come before `limit`."""
    ends = [encoded.last_char[place] + 1 for place in _added_from(encoded, start)]
    if not ends or ends[0] > limit:
        raise TemplateError(
            "the chat template ends the assistant's turn without an added token, so the model couldn't learn "
            "to stop; use a template with an end-of-turn token"
        )
    return ends[0]


def _weights(encoded: Encoded, spans: Iterable[tuple[int, int]]) -> tuple[float, ...]:
    """Give 1 to each token whose last byte lies in one of `spans` (characters, end exclusive), else 0."""
    scored = set().union(*(range(start, end) for start, end in spans))
    return tuple(1.0 if last in scored else 0.0 for last in encoded.last_char)


def _numbers(value: Any) -> list[int]:
    """Return the ids in a configuration's value: a number, a list of them, or nothing."""
    return [value] if isinstance(value, int) else list(value or ())


def _token_names(config: Mapping[str, Any]) -> dict[str, str]:
    """Return the special tokens that a tokenizer's configuration names, as `bos_token`, `eos_token`, ..."""
    given = {key: value for key, value in config.items() if key.endswith("_token")}
    texts = {key: value.get("content") if isinstance(value, dict) else value for key, value in given.items()}
    return {key: text for key, text in texts.items() if isinstance(text, str)}


def _read_json(path: Path) -> dict[str, Any]:
    return dict(json.loads(path.read_text(encoding="utf-8"))) if path.is_file() else {}


def _read_template(folder: Path, config: Mapping[str, Any]) -> str | None:
    file = folder / "chat_template.jinja"
    if file.is_file():
        return file.read_text(encoding="utf-8")
    given = config.get("chat_template")
    if isinstance(given, list):
        given = next((entry["template"] for entry in given if entry["name"] == "default"), None)
    return given
