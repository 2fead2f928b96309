"""Wrongly decoded characters and marks of templates are found; real text in any language is left alone."""

from __future__ import annotations

import csv
import gettext
import json
from collections.abc import Iterator
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from adatta.data.text_checks import find_text_mistake

ROOT = Path(__file__).parents[3]
SHARED = ROOT.parent / "shared" / "data"
CATALOGUES = Path("/usr/share/locale")
LANGUAGES = ("it", "fr", "pt", "pt_BR", "es", "ca", "ro", "sv", "de", "vi")


def reason(text: str) -> str:
    mistake = find_text_mistake(text, "text")
    return mistake.reason if mistake else ""


def misread(text: str, encoding: str) -> str:
    """Read UTF-8 as another encoding; bytes that it doesn't have become control characters."""
    chars = []
    for byte in text.encode("utf-8"):
        try:
            chars.append(bytes([byte]).decode(encoding))
        except UnicodeDecodeError:
            chars.append(chr(byte))
    return "".join(chars)


def texts_in(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict | list):
        for part in value.values() if isinstance(value, dict) else value:
            yield from texts_in(part)


@pytest.mark.parametrize("encoding", ["cp1252", "latin-1"])
@pytest.mark.parametrize(
    "text",
    [
        "perché no",
        "È così",
        "la città di Forlì",
        "più caffè",
        "l’acqua",
        "10 €",
        "un cœur",
        "30 °C",
        "ação",
        "😀",
    ],
)
def test_text_read_in_the_wrong_encoding_is_found(text: str, encoding: str) -> None:
    assert reason(misread(text, encoding)) == "mojibake"
    assert reason(text) == ""


@pytest.mark.parametrize(
    "text", ["la citt\u00c3 di Roma", "perch√©", "perch├®", "perch\ufffd", "Ã¨ vero", "PERCHÃ‰", "ï»¿Ciao"]
)
def test_other_damage_is_found(text: str) -> None:
    assert reason(text) == "mojibake"


@pytest.mark.parametrize(
    "text",
    [
        *("AMANHû, disse", "«MAÇû", "a palavra “MAÇÔ", "IRMÃ…", "MAÇÃ – fruta", "manhã…»", "NÃO", "NGÔ"),
        *(
            "“Å”",
            "5 Å²",
            "1,5 Å±0,1",
            "på Å",
            "Ângström",
            "Â : une lettre",
            "PÂTE",
            "là»",
            "2√π e x√2",
            "├── src",
        ),
        "`perchÃ©` nasce da una lettura sbagliata",
        "```\n<|im_start|>user\n```",
        *(
            "<s>vecchio</s> nuovo",
            "x <|> y",
            "a <| f |> b",
            "### Instruction manual",
            "[INSTALL]",
            "il tag <s>",
        ),
    ],
)
def test_real_text_is_left_alone(text: str) -> None:
    assert reason(text) == ""


@pytest.mark.parametrize(
    ("text", "mark"),
    [
        ("Ciao<|im_end|>", "<|im_end|>"),
        ("<|start_header_id|>user", "<|start_header_id|>"),
        ("<｜end▁of▁sentence｜>", "<｜end▁of▁sentence｜>"),
        ("[INST] Ciao [/INST]", "[INST]"),
        ("<<SYS>>\nSii breve", "<<SYS>>"),
        ("<start_of_turn>model", "<start_of_turn>"),
        ("<bos>Ciao", "<bos>"),
        ("A domani.<eos>", "<eos>"),
        ("Sotto.\n### Response:\nCiao", "### Response:"),
        ("### Istruzione:\nSaluta", "### Istruzione:"),
        ("Ciao.</s>", "</s>"),
        ("<s>Ciao.", "<s>"),
    ],
)
def test_mark_of_a_template_is_found_and_the_way_to_keep_it_told(text: str, mark: str) -> None:
    mistake = find_text_mistake(text, "messages.2.content")
    assert mistake is not None
    assert (mistake.reason, mistake.field) == ("template_leftover", "messages.2.content")
    assert repr(mark) in mistake.what
    assert "`backticks`" in mistake.hint
    assert reason(f"Si scrive `{mark}` e basta.") == ""


def test_marks_of_published_templates_are_found() -> None:
    trl = find_spec("trl")  # importing it takes 15 s
    if trl is None or trl.origin is None:
        pytest.skip("trl, whose wheel carries templates, is not installed")
    files = sorted(Path(trl.origin).parent.joinpath("chat_templates").glob("*.jinja"))
    assert files
    for file in files:
        text = file.read_text(encoding="utf-8")
        for mark in ("<|im_start|>", "<|im_end|>", "<|eot_id|>", "<|assistant|>", "<end_of_turn>", "[/INST]"):
            assert mark not in text or reason(f"Ciao{mark}") == "template_leftover"


def test_projects_own_rows_are_left_alone() -> None:
    texts = [
        text
        for file in sorted((ROOT / "data").rglob("*.jsonl"))
        for line in file.read_text(encoding="utf-8").splitlines()
        for text in texts_in(json.loads(line))
    ]
    assert len(texts) > 1000
    assert [text for text in texts if reason(text)] == []


def test_public_italian_text_is_left_alone() -> None:
    if not SHARED.is_dir():
        pytest.skip(f"{SHARED} is not there")
    texts = []
    for file in sorted(SHARED.glob("*.jsonl")):
        lines = file.read_text(encoding="utf-8").split("\n")
        texts += [t for line in lines if line for t in texts_in(json.loads(line))]
    for file, delimiter in (("hatecheck_it_sample.csv", ","), ("honest_it_template.tsv", "\t")):
        with (SHARED / file).open(encoding="utf-8", newline="") as table:
            texts += [cell for row in csv.reader(table, delimiter=delimiter) for cell in row]
    assert len(texts) > 10_000
    assert [text for text in texts if reason(text)] == []


def messages(language: str) -> list[str]:
    """Translations of the programs that are installed here, without those that are damaged themselves."""
    found: set[str] = set()
    for file in sorted((CATALOGUES / language / "LC_MESSAGES").glob("*.mo"))[:40]:
        with file.open("rb") as lines, suppress(UnicodeDecodeError):  # a few aren't what they say
            catalogue = gettext.GNUTranslations(lines)._catalog  # no other way to list them
            found |= {text for key, text in catalogue.items() if key and isinstance(text, str)}
    return sorted(text for text in found if "\ufffd" not in text)[::8]


@pytest.mark.parametrize("language", LANGUAGES)
def test_translations_are_left_alone_and_found_when_misread(language: str) -> None:
    texts = messages(language)
    if len(texts) < 200:
        pytest.skip(f"only {len(texts)} translations into {language} are installed")
    assert [text for text in texts if reason(text)] == []
    accented = [text for text in texts if not text.isascii() and len(text) > 30]
    found = sum(reason(misread(text, "cp1252")) == "mojibake" for text in accented)
    assert found >= 0.75 * len(accented)  # no alarm without two clear bytes: « » alone and ș aren't
