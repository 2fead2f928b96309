"""Injection-safe encoding: added tokens come from the template's own text; which of them begin and end."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import repeat
from typing import Any

from tokenizers import Tokenizer

from adatta.chat.template import Rendering
from adatta.core.errors import TemplateError

_END_OF_TEXT = ("<|endoftext|>", "<|end_of_text|>", "<eos>", "<｜end▁of▁sentence｜>", "</s>")


@dataclass(frozen=True, slots=True)
class Encoded:
    """The ids of a text.

    `last_char` holds for each id the character in which its last byte lies (-1: it has no byte in the text).
    That is exact where a character is split over several tokens: each of them ends inside it. `added` says
    which ids are added tokens of the template.
    """

    ids: tuple[int, ...]
    last_char: tuple[int, ...]
    added: tuple[bool, ...]

    def added_from(self, start: int) -> list[int]:
        """Return the places of the added tokens that end behind character `start`."""
        places = enumerate(zip(self.added, self.last_char, strict=True))
        return [place for place, (added, last) in places if added and last >= start]


class Encoder:
    """A tokenizer in two parts: its added tokens, and a copy that knows none of them."""

    def __init__(self, tokenizer_json: str) -> None:
        """Take a tokenizer apart.

        Args:
            tokenizer_json: Content of a `tokenizer.json`; truncation, padding, post-processor are left out.

        Raises:
            TemplateError: Text alone could give a special token of this tokenizer.
        """
        fields = json.loads(tokenizer_json)
        # A post-processor adds begin-of-text and trims offsets; truncation would lose text silently.
        fields.update(truncation=None, padding=None, post_processor=None)
        self.tokenizer = Tokenizer.from_str(json.dumps(fields))
        self.added_ids: dict[str, int] = {token["content"]: token["id"] for token in fields["added_tokens"]}
        self._added_pattern = _added_pattern(fields["added_tokens"])
        texts = sorted((text for text in self.added_ids if text.strip()), key=len, reverse=True)
        self.typed = re.compile("|".join(map(re.escape, texts)) or r"(?!)")
        self._missing = _missing_bytes(fields)
        _forget_added(fields)
        first = json.dumps(fields)
        # Some tokenizers put a space before the first piece of a text only.
        later = first.replace('"prepend_scheme": "first"', '"prepend_scheme": "never"')
        self._first = Tokenizer.from_str(first)
        self._later = self._first if later == first else Tokenizer.from_str(later)

    def encode_rendering(self, rendering: Rendering, border: int | None = None) -> Encoded:
        """Encode a rendered conversation.

        The text is cut at every added token outside the contents; what stands between two cuts (contents with
        the plain text around them) is encoded by the copy without added tokens.

        Args:
            rendering: Text and content spans.
            border: A character at which to cut in any case.

        Returns:
            Ids over the whole text.

        Raises:
            TemplateError: The tokenizer has no token for a character.
        """
        cuts = list(self._find_added(rendering))
        if border is not None and all(not start <= border <= end for start, end, _ in cuts):
            cuts = sorted([*cuts, (border, border, -1)])
        return self._encode_between(rendering.text, cuts)

    def encode_text(self, text: str) -> Encoded:
        """Encode plain text: no added token can come of it.

        Raises:
            TemplateError: The tokenizer has no token for a character.
        """
        return self._encode_between(text, [])

    def find_borders(self, names: Mapping[str, str], *, model: Mapping[str, Any]) -> tuple[int, int]:
        """Return the ids that stand before a text and after it.

        The end is a token known by name, else what tokenizer or model call their end; where they name no
        beginning, it stands there, too.

        Args:
            names: What `token_names` gave.
            model: The model's configuration.

        Raises:
            TemplateError: There is no end.
        """
        known = next((self.added_ids[name] for name in _END_OF_TEXT if name in self.added_ids), None)
        end = self._id_of(names.get("eos_token"), model.get("eos_token_id")) if known is None else known
        if end is None:
            raise TemplateError(
                "the tokenizer has no end-of-text token; name one as eos_token in tokenizer_config.json"
            )
        begin = self._id_of(names.get("bos_token"), model.get("bos_token_id"))
        return end if begin is None else begin, end

    def find_stops(self, answered: Rendering | None, *, configured: Iterable[Any]) -> tuple[int, ...]:
        """Collect what ends an answer: end of turn, end of text, the generation config's list.

        Args:
            answered: A conversation that ends with an answer; None without a template.
            configured: Ids, lists of ids, or None, that end an answer in any case.

        Raises:
            TemplateError: Nothing ends the answer.
        """
        stops = {number for value in configured for number in _numbers(value)}
        if answered is not None:
            encoded = self.encode_rendering(answered)
            tail = encoded.added_from(answered.spans[-1].end)
            if not tail:
                raise TemplateError(
                    "the chat template ends the assistant's turn without an added token, so the model "
                    "couldn't learn to stop; use a template with an end-of-turn token, or name one in "
                    "chat/profiles"
                )
            stops |= {encoded.ids[tail[0]], encoded.ids[tail[-1]]}
        return tuple(sorted(stops))

    def _id_of(self, name: str | None, number: Any) -> int | None:
        """Return the id of a special token by its name, else the configuration's number."""
        found = None if name is None else self.tokenizer.token_to_id(name)
        return next(iter(_numbers(number)), None) if found is None else int(found)

    def _find_added(self, rendering: Rendering) -> Iterator[tuple[int, int, int]]:
        """Yield start, end and id of each added token in the template's own text."""
        starts = [0, *(span.end for span in rendering.spans)]
        ends = [*(span.start for span in rendering.spans), len(rendering.text)]
        for start, end in zip(starts, ends, strict=True):
            for match in self._added_pattern.finditer(rendering.text, start, end):
                yield match.start(), match.end(), self.added_ids[match[match.lastgroup or 0]]

    def _encode_between(self, text: str, cuts: Sequence[tuple[int, int, int]]) -> Encoded:
        if self._missing and (lost := self._missing.search(text.encode("utf-8"))):
            place = len(text.encode("utf-8")[: lost.start()].decode("utf-8", errors="ignore"))
            raise TemplateError(
                f"the tokenizer has no token for the character U+{ord(text[place]):04X} ({text[place]!r}) "
                "and would lose it silently; take it out of the text"
            )
        found: list[tuple[int, int, bool]] = []  # as the fields of Encoded
        position = 0
        for start, end, token in (*cuts, (len(text), len(text), -1)):
            if position < start:
                copy = self._later if position else self._first
                piece = copy.encode(text[position:start], add_special_tokens=False)
                last = [position + stop - 1 if stop > begin else -1 for begin, stop in piece.offsets]
                found += zip(piece.ids, last, repeat(False), strict=False)
            if token >= 0:
                found.append((token, end - 1, True))
            position = end
        return Encoded(*zip(*found, strict=True)) if found else Encoded((), (), ())


def token_names(config: Mapping[str, Any]) -> dict[str, str]:
    """Return the special tokens that a tokenizer's configuration names, as `bos_token`, `eos_token`, ..."""
    given = {key: value for key, value in config.items() if key.endswith("_token")}
    texts = {key: value.get("content") if isinstance(value, dict) else value for key, value in given.items()}
    return {key: text for key, text in texts.items() if isinstance(text, str)}


def _numbers(value: Any) -> list[int]:
    """Return the ids in a configuration's value: a number, a list of them, or nothing."""
    return [value] if isinstance(value, int) else list(value or ())


def _missing_bytes(fields: Mapping[str, Any]) -> re.Pattern[bytes] | None:
    """Build the pattern of the bytes that a byte-level vocabulary lacks: its model drops them silently."""
    model = fields["model"]
    is_byte_level = model["type"] == "BPE" and "ByteLevel" in json.dumps(fields["pre_tokenizer"])
    if not is_byte_level or model.get("unk_token"):
        return None
    own = [*range(33, 127), *range(161, 173), *range(174, 256)]  # bytes that stand for themselves
    others = [byte for byte in range(256) if byte not in own]
    names = {byte: chr(byte) for byte in own} | {byte: chr(256 + place) for place, byte in enumerate(others)}
    in_text = (*range(0xC0), *range(0xC2, 0xF5))  # what UTF-8 can have
    missing = bytes(byte for byte in in_text if names[byte] not in model["vocab"])
    return re.compile(b"[" + re.escape(missing) + b"]") if missing else None


def _added_pattern(added_tokens: Iterable[dict[str, Any]]) -> re.Pattern[str]:
    """Build the pattern that finds added tokens as `tokenizers` does: leftmost, longest, with their flags."""
    parts = []
    for number, token in enumerate(sorted(added_tokens, key=lambda token: -len(token["content"]))):
        body = f"(?P<t{number}>{re.escape(token['content'])})"
        if token.get("single_word"):
            body = rf"(?<!\w){body}(?!\w)"
        before = r"\s*" if token.get("lstrip") else ""
        after = r"\s*" if token.get("rstrip") else ""
        parts.append(before + body + after)
    return re.compile("|".join(parts) or r"(?!)")


def _forget_added(fields: dict[str, Any]) -> None:
    """Remove the added tokens from a tokenizer's fields, also where its model's vocabulary holds them.

    Raises:
        TemplateError: The merges of the vocabulary make a special token out of plain text.
    """
    model, added = fields["model"], fields["added_tokens"]
    fields["added_tokens"] = []
    if model["type"] == "Unigram":
        for number in {token["id"] for token in added} & set(range(len(model["vocab"]))):
            # The number of a piece is its place: it stays, under a name that no text holds.
            model["vocab"][number] = [f"\0{number}\0", model["vocab"][number][1]]
        return
    known = set(model["vocab"]) - {model.get("unk_token")}
    held = [token for token in added if token["content"] in known]
    if not held:
        return
    merges = [merge.split(" ") if isinstance(merge, str) else merge for merge in model.get("merges", [])]
    needed = {part for merge in merges for part in (*merge, "".join(merge))}
    for token in held:
        if token["content"] not in needed:
            del model["vocab"][token["content"]]
        elif token["special"]:
            raise TemplateError(
                f"the tokenizer's merges make the special token {token['content']!r} out of plain text, so "
                "that a user could type it; use a tokenizer whose special tokens stand outside its merges"
            )
