"""Rows to token ids and loss masks: the one place, for training, evaluation, chat and serving."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any, Literal

from adatta.chat.encode import Encoded, Encoder, token_names
from adatta.chat.family import JOIN
from adatta.chat.parity import check_parity
from adatta.chat.template import Rendering, Template
from adatta.core.errors import ModelError, TemplateError
from adatta.core.fingerprint import content_id
from adatta.core.records import Conversation, Document, Message, Preference, TokenRow

Thoughts = Literal["drop", "keep"]
Answers = Literal["all", "last"]
_PROBE = (Message(role="user", content="Ciao"), Message(role="assistant", content="Salve"))
_SYSTEM = "{%- if messages[0]['role'] != 'system' %}{%- set messages = [FIELDS] + messages %}{%- endif %}\n"
_WITHOUT_THINKING = "{%- if enable_thinking is not defined %}{%- set enable_thinking = false %}{%- endif %}\n"


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
    but no conversations. `template_hash` covers template and system prompt. `straddled` takes the ids of
    rows in which a token lies on the border between an answer's header and the answer, until it is cleared.
    `family` is what chat/profiles say of the template; `added_tokens` are the texts of added tokens by id.
    `encode_text` is the encoder's, for plain text.
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
        self.encode_text = encoder.encode_text
        self.template = template
        self.system_prompt = system_prompt
        names = token_names(settings["tokenizer"])
        self._compiled = None if template is None else Template(template, names, encoder.typed)
        self.family = None if self._compiled is None else self._compiled.family
        self.added_tokens = {number: text for text, number in encoder.added_ids.items()}
        self.template_hash = content_id([template, system_prompt])
        self.prefix_id, self.end_id = encoder.find_borders(names, model=settings["model"])
        self.straddled: set[str] = set()
        probe = None
        if template is not None:
            probe = self._need_template().render(self._opened(_PROBE), generation_prompt=False)
            check_parity(encoder, self._need_template())
        ends = [self.end_id, settings["generation"].get("eos_token_id")]
        self.stop_ids = encoder.find_stops(probe, configured=ends)

    @classmethod
    def load(cls, folder: Path, system_prompt: str | None = None) -> Chat:
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
        if not (folder / "tokenizer.json").is_file():
            what = f"{folder} has no tokenizer.json; a model folder with a fast tokenizer is expected"
            raise ModelError(what)
        files = {"tokenizer": "tokenizer_config", "generation": "generation_config", "model": "config"}
        settings = {key: _read_json(folder / f"{name}.json") for key, name in files.items()}
        encoder = Encoder((folder / "tokenizer.json").read_text(encoding="utf-8"))
        template = _read_template(folder, settings["tokenizer"])
        return cls(encoder=encoder, settings=settings, template=template, system_prompt=system_prompt)

    def conversation(
        self, row: Conversation, thoughts: Thoughts = "drop", *, answers: Answers = "all"
    ) -> tuple[TokenRow, ...]:
        """Encode a conversation; each answer of the assistant is scored, with the token that ends its turn.

        Args:
            row: The conversation; its last message is the assistant's.
            thoughts: Whether thoughts are left out, so that the model answers as it does when asked without
                thinking, or kept and scored with the answers.
            answers: Whether all answers are scored, or the last one only.

        Returns:
            One branch; of a family that writes earlier answers in another way, one for each answer.

        Raises:
            TemplateError: The template can't be followed exactly for this row.
        """
        family, num = self._need_template().family, len(row.messages)
        ends = [num]
        if family.answers == "apart" and answers == "all":
            ends = [place for place in range(1, num + 1) if row.messages[place - 1].role == "assistant"]
        turns = [self._turns(family.kept(row.messages[:end], thoughts)) for end in ends]
        first = -1 if answers == "last" else 0
        return tuple(
            self._row(part, part.answers[first:], row.row_id, branch) for branch, part in enumerate(turns)
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
        return self._answer(row, row.chosen, branch=0), self._answer(row, row.rejected, branch=1)

    def document(self, row: Document, context: int, *, score_end: bool = True) -> tuple[TokenRow, ...]:
        """Encode a text as `[prefix] tokens [end]`, in windows of at most `context` tokens.

        Each later window begins with the token before it, unscored: every token is scored exactly once.

        Args:
            row: The text.
            context: Largest number of tokens of a window, at least 2.
            score_end: Whether the end token follows the text (scored). Without it nothing else changes.

        Returns:
            The windows, numbered by `branch`.

        Raises:
            TemplateError: The tokenizer has no token for a character.
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
            Ids that end with the header of the assistant's turn; a template with a switch for thinking is
            told not to think, and thoughts of earlier answers are left out.

        Raises:
            TemplateError: The template can't be followed exactly for these messages.
        """
        template = self._need_template()
        given = self._opened(template.family.kept(tuple(messages), "drop"))
        return self._encoder.encode_rendering(template.render(given, generation_prompt=True)).ids

    def continuation(self, context: str, text: str, *, row_id: str = "") -> TokenRow:
        """Encode plain text whose second part is scored: one joint encoding behind the prefix.

        Args:
            context: The unscored part; may be empty.
            text: The scored part: each token whose last byte belongs to it.
            row_id: Id of the question that this belongs to.

        Returns:
            One branch.

        Raises:
            TemplateError: The tokenizer has no token for a character.
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

    def exported_template(self) -> str:
        """Write the template that does by itself what this chat does with its system prompt.

        Returns:
            Jinja source to ship with the model.

        Raises:
            TemplateError: The model has no template.
        """
        template = self._need_template()
        source, close = template.text, json.dumps(template.family.close_thoughts)
        # A newline is eaten by the block before it, and what follows is rendered as at the start of a file.
        closing = f"{{%- if add_generation_prompt and not enable_thinking %}}{{{{- {close} }}}}{{%- endif %}}"
        if template.family.close_thoughts:
            source = source.removesuffix(closing) + closing
        elif "enable_thinking" in source:
            source = _WITHOUT_THINKING + source.replace(_WITHOUT_THINKING, "")
        if self.system_prompt is None:
            return source
        if template.family.system == "user":
            source = JOIN + source.replace(JOIN, "")
        fields = template.family.fields(Message(role="system", content=self.system_prompt))
        return _SYSTEM.replace("FIELDS", json.dumps(fields, ensure_ascii=False)) + source

    def _need_template(self) -> Template:
        if self._compiled is None:
            raise TemplateError(
                "the model has no chat template, which conversations and preferences need; "
                "use an instruction model, or text only"
            )
        return self._compiled

    def _opened(self, messages: tuple[Message, ...]) -> tuple[Message, ...]:
        """Put the system prompt before messages that have none of their own."""
        if not messages:
            raise TemplateError("a conversation without messages was given; at least one is expected")
        if self.system_prompt is not None and messages[0].role != "system":
            messages = (Message(role="system", content=self.system_prompt), *messages)
        return self._need_template().family.joined(messages)

    def _turns(self, messages: tuple[Message, ...], *, border_after_prompt: bool = False) -> _Turns:
        """Encode a conversation and find what the assistant writes in use: from prompt to end of turn.

        Raises:
            TemplateError: An answer stands in the conversation in another way than its prompt asks for it.
        """
        template, messages = self._need_template(), self._opened(messages)
        prompt, whole = template.render_answer(messages)
        encoded = self._encoder.encode_rendering(whole, len(prompt.text) if border_after_prompt else None)
        header = prompt.text[prompt.spans[-1].end :]
        spans = [list(group) for _, group in groupby(whole.spans, key=lambda span: span.index)]
        starts = [*(group[0].start for group in spans), len(whole.text)]
        ends = [0, *(group[-1].end for group in spans)]
        answers = []
        first = len(messages) - 1 if template.family.answers == "apart" else 0
        for number, group in enumerate(spans):
            if group[0].index < first or messages[group[0].index].role != "assistant":
                continue
            # Some templates put a space between the header and the answer: the model writes it.
            if not whole.text.startswith(header, ends[number], starts[number]):
                raise TemplateError(
                    "the chat template writes an earlier answer in another way than the prompt that asked "
                    "for it (it drops thoughts, say); describe the family in chat/profiles (answers: apart)"
                )
            end = self._end_of_turn(encoded, ends[number + 1], starts[number + 1])
            answers.append((ends[number] + len(header), end))
        return _Turns(prompt, encoded, tuple(answers))

    def _end_of_turn(self, encoded: Encoded, start: int, limit: int) -> int:
        """Return the character behind what ends a turn: the first added token from `start` on."""
        place = next(iter(encoded.added_from(start)), None)
        if place is None or encoded.last_char[place] >= limit or encoded.ids[place] not in self.stop_ids:
            raise TemplateError(
                "the chat template ends an answer without an added token that stops generation, so the "
                "model couldn't learn to stop; use a template with an end-of-turn token, or name one in "
                "chat/profiles"
            )
        return encoded.last_char[place] + 1

    def _row(self, turns: _Turns, answers: Sequence[tuple[int, int]], row_id: str, branch: int) -> TokenRow:
        """Weigh the ids of a conversation, and remember whether a token lies on an answer's border."""
        encoded = turns.encoded
        if any(start - 1 not in encoded.last_char for start, _ in answers):
            self.straddled.add(row_id)
        return TokenRow(ids=encoded.ids, weights=_weights(encoded, answers), row_id=row_id, branch=branch)

    def _answer(self, row: Preference, answer: Message, *, branch: int) -> TokenRow:
        messages = self._need_template().family.kept((*row.prompt, answer), "drop")
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
        return self._row(turns, turns.answers[-1:], row.row_id, branch)


def _weights(encoded: Encoded, spans: Iterable[tuple[int, int]]) -> tuple[float, ...]:
    """Give 1 to each token whose last byte lies in one of `spans` (characters, end exclusive), else 0."""
    scored = set().union(*(range(start, end) for start, end in spans))
    return tuple(1.0 if last in scored else 0.0 for last in encoded.last_char)


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
