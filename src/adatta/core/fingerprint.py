"""Identity by content: canonical JSON, ids, fingerprints and file hashes."""

from __future__ import annotations

import hashlib
import json
import math
import os
import time
from collections.abc import Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from adatta.core.errors import ArtefactError
from adatta.core.runtime import cache_dir

_ID_HEX = 16
_FINGERPRINT_HEX = 12
_ENCODER = json.JSONEncoder(sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
_SMALL_FILE_BYTES = 1 << 20  # hashed in a millisecond: not worth a cache entry
_SETTLED_S = 2.0  # a file changed a moment ago may change again within one tick of its time stamp


def canonical_json(value: Any) -> str:
    """Return the one JSON text of `value`: keys sorted, no spaces, no escapes beyond JSON's own.

    Args:
        value: None, booleans, integers, finite floats, strings, lists, tuples and mappings with string keys.

    Raises:
        ArtefactError: for anything without a stable form (objects, sets, NaN, keys that aren't strings).
    """
    if _is_plain(value):
        text = _ENCODER.encode(value)
        with suppress(UnicodeEncodeError):
            text.encode("utf-8")
            return text
    _refuse_unstable(value, "value")
    return _ENCODER.encode(value)


def content_id(value: Any) -> str:
    """Return the id of a row or an item: the first 16 hex digits of the SHA-256 of its canonical JSON."""
    return _digest(value)[:_ID_HEX]


def list_id(values: Iterable[Any]) -> str:
    """Return the `content_id` of the list of some values, which are never all in memory."""
    digest, separator = hashlib.sha256(b"["), b""
    for value in values:
        digest.update(separator + canonical_json(value).encode("utf-8"))
        separator = b","
    digest.update(b"]")
    return digest.hexdigest()[:_ID_HEX]


def fingerprint(value: Any) -> str:
    """Return the 12 hex digits that name an artefact made from `value`."""
    return _digest(value)[:_FINGERPRINT_HEX]


def hash_file(path: str | Path) -> str:
    """Return the SHA-256 of a file in hex; of a large file it is kept under path, size, time and inode.

    Raises:
        ArtefactError: if the file can't be read.
    """
    path = Path(path)
    try:
        stat = path.stat()
        if stat.st_size < _SMALL_FILE_BYTES:
            return _hash_bytes(path)
        key = [str(path.resolve()), stat.st_size, stat.st_mtime_ns, stat.st_ino]
        cached = cache_dir() / "hashes" / content_id(key)
        if cached.exists():
            return cached.read_text(encoding="ascii")
        digest = _hash_bytes(path)
        if time.time() - stat.st_mtime > _SETTLED_S and path.stat().st_mtime_ns == stat.st_mtime_ns:
            _keep(cached, digest)
    except OSError as error:
        raise ArtefactError(
            f"{path} can't be read ({error.strerror}); check that it is there and readable"
        ) from error
    return digest


def hash_folder(path: Path, patterns: Iterable[str]) -> str:
    """Return the SHA-256 over names and contents of the files in a folder that match any of `patterns`.

    Raises:
        ArtefactError: if no file matches.
    """
    files = {file for pattern in patterns for file in path.glob(pattern) if file.is_file()}
    if not files:
        raise ArtefactError(f"{path} has no file that matches {', '.join(patterns)}; nothing to hash")
    return _digest({file.relative_to(path).as_posix(): hash_file(file) for file in files})


def _digest(value: Any) -> str:
    return hashlib.sha256(canonical_json(value).encode("utf-8")).hexdigest()


def _is_plain(value: Any) -> bool:
    """Say at a look that a value consists of objects, lists, texts and whole numbers."""
    kind = type(value)
    if kind is dict:
        return all(type(key) is str for key in value) and all(map(_is_plain, value.values()))
    return all(map(_is_plain, value)) if kind is list else kind in (str, int, bool)


def _refuse_unstable(value: Any, where: str) -> None:
    if isinstance(value, str):
        try:
            value.encode("utf-8")
        except UnicodeEncodeError as error:
            raise ArtefactError(f"{where} holds half a surrogate pair, which is no Unicode text") from error
    elif isinstance(value, float):
        if not math.isfinite(value):
            raise ArtefactError(f"{where} is {value}; only finite numbers have a stable form")
    elif isinstance(value, Mapping):
        for key, item in value.items():
            if not isinstance(key, str):
                raise ArtefactError(f"{where} has the key {key!r}; keys must be strings")
            _refuse_unstable(key, f"a key of {where}")
            _refuse_unstable(item, f"{where}.{key}")
    elif isinstance(value, list | tuple):
        for index, item in enumerate(value):
            _refuse_unstable(item, f"{where}.{index}")
    elif value is not None and not isinstance(value, int):
        raise ArtefactError(
            f"{where} is a {type(value).__name__}, which has no stable form; turn it into plain JSON values"
        )


def _hash_bytes(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _keep(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = path.with_name(f"{path.name}.{os.getpid()}.tmp")
    aside.write_text(text, encoding="ascii")
    aside.replace(path)
