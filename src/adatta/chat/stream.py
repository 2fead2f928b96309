"""Text from ids as they come, never half a character."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence

_BROKEN = "�"  # what half a character decodes to


def stream_text(ids: Iterable[int], decode: Callable[[Sequence[int]], str]) -> Iterator[str]:
    """Decode ids one by one.

    Args:
        ids: the answer's ids, as they come.
        decode: turns the ids so far into text.

    Yields:
        Text that no later id can change; joined, it is `decode` of all ids.
    """
    seen: list[int] = []
    shown = 0
    text = ""
    for token in ids:
        seen.append(token)
        text = decode(seen)
        whole = text.rstrip(_BROKEN)
        if len(whole) > shown:
            yield whole[shown:]
            shown = len(whole)
    if len(text) > shown:
        yield text[shown:]
