"""The one n-gram matcher: near duplicates among rows, and evaluation items that stand in training rows."""

from __future__ import annotations

import re
import unicodedata
from array import array
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Literal, NamedTuple
from zlib import crc32

import numpy as np
from numpy.typing import NDArray

U64 = NDArray[np.uint64]
U32 = NDArray[np.uint32]

_WORD = re.compile(r"[^\W_]+")
_DROPPED = re.compile("[\u0300-\u036f\u00ad\u200b-\u200d\u2060\ufeff]+")
_SIGNS = "’‘“”«»–—"
_SPACES = bytes(code if chr(code).isalnum() or code > 127 else ord(" ") for code in range(256))
_FACTOR = np.uint64(0x9E3779B97F4A7C15)


def words(text: str) -> list[str]:
    """List the words of a text in the one form in which texts of any language are compared.

    Compatible characters are one (NFKD), case and accents are dropped, so that `perché`, `perchè` and
    `perche'` are the same word; every sign divides (`dell'acqua` is two words); digits are kept; soft hyphens
    and other invisible characters vanish.

    Args:
        text: Any text.

    Returns:
        The words in order.
    """
    return [word.decode("utf-8", "surrogatepass") for word in _split(text)]


def _split(text: str) -> list[bytes]:
    """List the words as UTF-8; what is ASCII once its accents are gone, nearly all, takes a shorter way."""
    if not text.isascii():
        text = _DROPPED.sub("", unicodedata.normalize("NFKD", text))
        for sign in _SIGNS:
            text = text.replace(sign, " ")
    text = text.casefold()
    if not text.isascii():
        text = " ".join(_WORD.findall(text))
    return text.encode("utf-8", "surrogatepass").translate(_SPACES).split()


def _hash_words(text: str) -> U64:
    """Hash each word, in every process alike."""
    listed = _split(text)
    return np.fromiter(map(crc32, listed), np.uint64, len(listed)) * _FACTOR


def _hash_runs(hashes: U64, width: int) -> list[U64]:
    """Hash the runs of 1, 2, ... `width` words (fewer in a short text); each array has one a first word."""
    runs = [hashes]
    for length in range(2, min(width, len(hashes)) + 1):
        runs.append(runs[-1][:-1] * _FACTOR + hashes[length - 1 :])
    return runs


SHINGLE_WORDS = 3
SHORT_ANSWER_WORDS = 8
NUM_MINIMA = 128
NUM_BANDS, BAND_MINIMA = 4, 3
TABLE_PLACES = 2**23
TABLE_ROWS = 2**20
MAX_DIFFERENT_SHARE = 0.1  # of one-bit minima: (1 - J) / 2 of them differ, J being the similarity
_CHUNK = 4096
_DRAW = np.random.default_rng(1)
_MULTIPLIERS = _DRAW.integers(2**31, size=(NUM_MINIMA, 1), dtype=np.uint32) * 2 + 1
_BAND_FACTORS = _DRAW.integers(2**63, size=BAND_MINIMA, dtype=np.uint64) * 2 + 1
_BIT_FACTOR, _TOP_BIT, _HALF = np.uint32(0x85EBCA6B), np.uint32(31), np.uint64(32)


class NearDuplicates:
    """Finds rows that nearly repeat an earlier one: Jaccard similarity of 3-word shingles about 0.8 or more.

    Keeps 16 bytes a row (one bit of each of 128 minima) and, for every 2**20 rows begun, a table of 32 MiB:
    four places of four bytes a row; the system gives its pages as they are first written. A later row may
    take an earlier one's place; one left of four is enough.

    Source: arXiv:0910.3349 (one-bit minima of two sets agree with probability (1 + J) / 2).
    """

    def __init__(self) -> None:
        self._bits = array("Q")
        self._tables: list[U32] = []

    def find(self, text: str, answer: str | None = None) -> int | None:
        """Look for an earlier row like this one; remember this one where there is none.

        Args:
            text: All texts of a row or, where `answer` is given, what was asked.
            answer: The answers. With it both parts must be similar, each by itself, and an answer under eight
                words makes a duplicate only where all words are the same: over one long passage, many
                questions have a short answer.

        Returns:
            The earlier row's number, from 0, in the order of all calls; None if no row is similar.
        """
        parts = [_hash_words(part) for part in (text, answer) if part is not None]
        shingles = [_hash_runs(part, SHINGLE_WORDS)[-1] for part in parts]
        minima = [_take_minima(part, NUM_MINIMA // len(parts)) for part in shingles]
        bands = np.minimum.reduce(minima)[: NUM_BANDS * BAND_MINIMA].reshape(NUM_BANDS, BAND_MINIMA)
        keys = bands.astype(np.uint64) @ _BAND_FACTORS
        if answer is not None and len(parts[1]) < SHORT_ANSWER_WORDS:
            keys ^= np.bitwise_xor.reduce(np.concatenate(shingles), keepdims=True) * _FACTOR
        places = (keys >> _HALF) % np.uint64(TABLE_PLACES)
        number = len(self._bits) // 2
        self._bits.extend(_take_bits(minima))
        for table in self._tables:
            for earlier in table[places].tolist():
                if earlier and self._is_similar(earlier - 1, number, is_split=answer is not None):
                    return int(earlier) - 1
        if number >= len(self._tables) * TABLE_ROWS:
            self._tables.append(np.zeros(TABLE_PLACES, dtype=np.uint32))
        self._tables[-1][places] = number + 1
        return None

    def _is_similar(self, first: int, second: int, *, is_split: bool) -> bool:
        """Compare two rows' bits; of rows in two parts, half the bits are the first part's."""
        left, right = (
            (self._bits[2 * first + half] ^ self._bits[2 * second + half]).bit_count() for half in (0, 1)
        )
        worst = max(left, right) if is_split else (left + right) / 2
        return worst <= MAX_DIFFERENT_SHARE * NUM_MINIMA / 2


def _take_minima(shingles: U64, num: int) -> U32:
    """Return the least value of the shingles under each of the first `num` permutations, `[num]`."""
    values = ((shingles ^ shingles >> _HALF) * _FACTOR >> _HALF).astype(np.uint32)
    least = np.full(num, 2**32 - 1, dtype=np.uint32)
    for start in range(0, len(values), _CHUNK):
        permuted = values[start : start + _CHUNK] * _MULTIPLIERS[:num]
        np.minimum(least, permuted.min(axis=1), out=least)
    return least


def _take_bits(minima: Sequence[U32]) -> list[int]:
    """Pack one bit of each minimum: of one part 128, of two 64 each."""
    bits = (np.concatenate(minima) * _BIT_FACTOR >> _TOP_BIT).astype(np.uint8)
    packed: list[int] = np.packbits(bits).view(np.uint64).tolist()
    return packed


LeakKind = Literal["exact", "strong", "passage", "weak"]
LEAK_KINDS: tuple[LeakKind, ...] = ("exact", "strong", "passage", "weak")
"""From the worst on: the whole question; 13 words of it in a row, or 70%; a passage alone; 8 to 12 words."""

WINDOW_WORDS = 8
STRONG_WORDS = 13
STRONG_SHARE = 0.7
FEWEST_WORDS = 4
MOST_ITEMS = 3
MOST_ROWS = 10
NUM_SHOWN_ROWS = 5


class ItemText(NamedTuple):
    """What of an evaluation item must not stand in training rows.

    `answer` is the right answer of a choice; `passage` is what the question is about, which many texts may
    quote without giving the answer away.
    """

    question: str
    answer: str = ""
    passage: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Leak:
    """An item that a source's rows hold: the worst match, and where (five of `num_rows` rows, its own first).

    `num_words` is the length of the longest match and `text` its words, `covered_share` the share of the
    item's words that stand in the row in runs of at least eight.
    """

    kind: LeakKind
    item: int
    num_words: int
    covered_share: float
    text: str
    source: str = ""
    rows: tuple[str, ...] = ()
    num_rows: int = 1


class _Target(NamedTuple):
    """A text that is looked for; `num_words` of `hashes` are the question, the rest is the answer."""

    item: int
    hashes: U64
    num_words: int
    answer: str
    is_passage: bool


class LeakFinder:
    """Finds evaluation items in rows that are shown to it one by one.

    The items' runs of eight words are indexed; an item with a question under eight words is looked for as a
    whole, and leaks where its answer stands in the same row; one under four words with its answer can't be
    judged. Runs in more than three items, and matches that are found in more than ten rows and cover less
    than 70% of the item, are turns of phrase.

    Source: arXiv:2005.14165 appendix C (n-grams, more than ten documents), arXiv:2411.03923 (longest match).
    Differs: runs of eight words, and the stop rule over items.
    """

    def __init__(self, items: Sequence[ItemText]) -> None:
        self._targets = list(_make_targets(items))
        self._hashes, self._target, self._start = _index(self._targets)
        self._widths = {min(WINDOW_WORDS, target.num_words) for target in self._targets}
        self._num_rows = np.zeros(len(self._hashes), dtype=np.int64)
        num_bits = max(12, (64 * len(self._hashes)).bit_length())
        self._shift = np.uint64(64 - num_bits)
        self._filter = np.zeros(2**num_bits, dtype=np.bool_)  # most runs of a row end here
        self._filter[self._hashes >> self._shift] = True
        self._found: dict[tuple[str, int], tuple[Leak, list[int]]] = {}

    def look(self, text: str, *, source: str, where: str) -> None:
        """Look at one row.

        Args:
            text: All its texts, a line break between them.
            source: What to count it under.
            where: Its place, `file:line`.
        """
        row = _hash_words(text)
        found: dict[int, list[tuple[int, int]]] = defaultdict(list)
        for number, entry, shift in self._find_entries(row):
            found[number].append((entry, shift))
        for number, hits in found.items():
            entries = [entry for entry, _ in hits]
            self._num_rows[entries] += 1
            leak = self._judge(self._targets[number], {shift for _, shift in hits}, row, text)
            self._keep((source, number), replace(leak, source=source, rows=(where,)), entries)

    def leaks(self) -> list[Leak]:
        """List what was found, for each item and source the worst match, the worst first."""
        kept = []
        for leak, entries in self._found.values():
            is_large = leak.kind == "exact" or leak.covered_share >= STRONG_SHARE
            is_rare = self._num_rows[entries].min() <= MOST_ROWS
            if is_large or (is_rare and (leak.kind != "passage" or leak.num_words >= STRONG_WORDS)):
                kept.append(leak)
        return sorted(kept, key=_badness, reverse=True)

    def _find_entries(self, row: U64) -> Iterator[tuple[int, int, int]]:
        """Yield target, entry and where the target would begin, for each run of a row in the index."""
        for width, runs in enumerate(_hash_runs(row, WINDOW_WORDS), start=1):
            places = np.flatnonzero(self._filter[runs >> self._shift]) if width in self._widths else runs[:0]
            if len(places):
                firsts = np.searchsorted(self._hashes, runs[places], side="left")
                counts = np.searchsorted(self._hashes, runs[places], side="right") - firsts
                entries = np.repeat(firsts + counts - counts.cumsum(), counts) + np.arange(counts.sum())
                shifts = np.repeat(places, counts) - self._start[entries]
                yield from zip(self._target[entries].tolist(), entries.tolist(), shifts.tolist(), strict=True)

    def _judge(self, target: _Target, shifts: set[int], row: U64, text: str) -> Leak:
        """Tell what a row holds of a target: `shifts` say where the target would begin in the row."""
        num, is_whole, longest, end = len(target.hashes), False, 0, 0
        is_covered = np.zeros(num, dtype=np.bool_)
        for shift in shifts:
            begin, stop = max(0, -shift), min(num, len(row) - shift)
            is_same = row[begin + shift : stop + shift] == target.hashes[begin:stop]
            edges = np.flatnonzero(np.diff(is_same, prepend=False, append=False)) + begin
            for first, last in edges.reshape(-1, 2).tolist():
                if last - first >= min(WINDOW_WORDS, target.num_words):
                    is_covered[first:last] = True
                    is_whole |= first == 0 and last >= target.num_words
                    longest, end = max((longest, end), (last - first, last + shift))
        listed, share = words(text), float(is_covered.mean())
        is_strong = longest >= STRONG_WORDS or share >= STRONG_SHARE
        kind: LeakKind = "exact" if is_whole else "strong" if is_strong else "weak"
        needs_answer = target.answer and target.num_words < WINDOW_WORDS
        if target.is_passage:
            kind = "passage"
        elif needs_answer and f" {target.answer} " not in f" {' '.join(listed)} ":
            kind = "weak"
        matched = " ".join(listed[end - longest : end])
        return Leak(kind=kind, item=target.item, num_words=longest, covered_share=share, text=matched)

    def _keep(self, key: tuple[str, int], leak: Leak, entries: list[int]) -> None:
        if key in self._found:
            other, others = self._found[key]
            if _badness(other) >= _badness(leak):
                leak, entries, other = other, others, leak
            rows = (*leak.rows, *other.rows)[:NUM_SHOWN_ROWS]
            leak = replace(leak, rows=rows, num_rows=leak.num_rows + other.num_rows)
        self._found[key] = leak, entries


def _badness(leak: Leak) -> tuple[int, int]:
    return -LEAK_KINDS.index(leak.kind), leak.num_words


def is_too_short(item: ItemText) -> bool:
    """Say whether an item can't be judged: it has no question, or under four words with its answer."""
    num_words = len(words(item.question))
    return num_words == 0 or num_words + len(words(item.answer)) < FEWEST_WORDS


def _make_targets(items: Sequence[ItemText]) -> Iterator[_Target]:
    """Make what is looked for; a passage that several items share is looked for once."""
    passages = set()
    for number, item in enumerate(items):
        question, answer = words(item.question), " ".join(words(item.answer))
        hashes = _hash_words(f"{item.question}\n{item.answer}")
        if not is_too_short(item):
            yield _Target(number, hashes, len(question), answer, is_passage=False)
        if item.passage not in passages and len(passage := _hash_words(item.passage)) >= WINDOW_WORDS:
            passages.add(item.passage)
            yield _Target(number, passage, len(passage), "", is_passage=True)


def _index(targets: Sequence[_Target]) -> tuple[U64, NDArray[np.int64], NDArray[np.int64]]:
    """Return the runs to look for: their hashes, sorted, their targets, where they begin in them."""
    # A question of fewer words is looked for as a whole, without its answer.
    parts = [t.hashes if t.num_words >= WINDOW_WORDS else t.hashes[: t.num_words] for t in targets]
    runs = [_hash_runs(part, WINDOW_WORDS)[-1] for part in parts]
    hashes = np.concatenate([np.empty(0, np.uint64), *runs])
    numbers = np.repeat(np.arange(len(runs)), [len(run) for run in runs])
    starts = np.concatenate([np.empty(0, np.int64), *(np.arange(len(run)) for run in runs)])
    distinct = np.unique(np.stack([hashes, numbers.astype(np.uint64)]), axis=1)[0]
    values, counts = np.unique(distinct, return_counts=True)
    is_kept = ~np.isin(hashes, values[counts > MOST_ITEMS])
    order = np.argsort(hashes[is_kept], kind="stable")
    return hashes[is_kept][order], numbers[is_kept][order], starts[is_kept][order]
