"""What a text by itself shows to be wrong: characters decoded wrongly, marks of a chat template.

A text that speaks about such things writes them as code, in `backticks`: code is not looked at.
"""

from __future__ import annotations

import re

from adatta.data.turns import Mistake

_CODE = re.compile(r"(`{3,}|~{3,})[\s\S]*?(?:\1|\Z)|(`+)[^`\n]+\2")
_KEEP = "; to keep a text that speaks about it, write it as code, in `backticks`"

_MARK = re.compile(
    r"<[|｜](?!>)[^\W\d][\w▁]{1,40}[|｜]>"  # <|im_start|>, <|eot_id|>, <|START_OF_TURN_TOKEN|>, <｜User｜>
    r"|\[/?INST\]|<</?SYS>>|<(?:start|end)_of_turn>|<[be]os>"
    r"|^### (?:Instruction|Response|Human|Assistant|Istruzione|Risposta):",
    re.MULTILINE,
)
_LONE_MARK = re.compile(r"\A\s*<s>|</s>\s*\Z")  # a pair of them is struck-out text in HTML

# UTF-8 read as Windows-1252 or Latin-1: the second byte of two is one of these. Quotes, dashes and exponents
# may also stand behind a real capital letter (AMANHÃ», 5 Å²), so they need a small letter before or behind.
_SECOND = "\x80-\x9f€‚ƒ„†‡ˆ‰Š‹ŒŽ˜™š›œžŸ¡¢£¤¥¦§¨©ª¬\xad®¯°±´µ¶¸º¼½¾¿"
_SIGNS = "‘’“”•–—…«»·²³¹\xa0"
_WRONG = re.compile(
    rf"(?<![^\x00-\x7f])(?:[ÂÃ][{_SECOND}])+(?![^\x00-\x7f])"
    rf"|(?<=[a-z])(?:[ÂÃÄÅ][{_SECOND}{_SIGNS}])+(?![^\x00-\x7f])"
    rf"|(?<![^\x00-\x7f])(?:[ÂÃÄÅ][{_SECOND}{_SIGNS}])+(?=[a-z])"
    r"|(?<=[a-z])Ã(?![^\W_])"  # citt\xe0: the second byte is a no-break space, which often becomes a space
    r"|â[€‚„†ˆ\x80-\x9f]|ï»¿|ï¿½|ðŸ|ð\x9f"
    r"|(?<=[a-z])(?:√[†©®¨≤]|├[¿®á▓╣¼])"  # read as Mac Roman, as code page 850
    r"|\ufffd"
)
_HINTS_OF_WRONG = "ÃÂÅÄâïð√├\ufffd"


def find_text_mistake(text: str, field: str) -> Mistake | None:
    """Look for what no text of a row should hold.

    Args:
        text: A content.
        field: Its place in the row.

    Returns:
        The first mistake.
    """
    # Most texts have no sign of it, and to look for one takes a tenth of a microsecond.
    may_be_marked = "<" in text or "### " in text or "INST]" in text
    may_be_wrong = not text.isascii() and any(hint in text for hint in _HINTS_OF_WRONG)
    if not may_be_marked and not may_be_wrong:
        return None
    prose = _CODE.sub(" ", text) if "`" in text or "~~~" in text else text
    if may_be_wrong and (found := _WRONG.search(prose)):
        start = max(found.start() - 12, 0)
        what = f"wrongly decoded characters: {prose[start : found.end() + 4]!r}"
        return Mistake(what, "save the source as UTF-8 and read it as UTF-8" + _KEEP, "mojibake", field)
    found = _MARK.search(prose)
    if not found and ("<s>" in prose) != ("</s>" in prose):
        found = _LONE_MARK.search(prose)
    if found:
        mark = found[0].strip()
        hint = f"take {mark!r} out: the model's own template is put in later" + _KEEP
        return Mistake(f"a template's mark in the text: {mark!r}", hint, "template_leftover", field)
    return None
