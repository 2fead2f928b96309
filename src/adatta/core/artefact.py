"""Artefacts on disk: made aside, flushed, record last. The only module that writes them."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from adatta.core.errors import ArtefactError, DriftError, IncompleteError
from adatta.core.fingerprint import hash_file
from adatta.core.runtime import home_dir

SCHEMA = 1
_RECORD = "record.json"
_REMOVED = "removed.json"
_CURRENT = "current.json"
_MODEL = "model"
_CHECKPOINTS = "checkpoints"
_UNRECORDED = (_CHECKPOINTS, _RECORD, _REMOVED)


@dataclass(frozen=True, slots=True)
class Artefact:
    """A complete folder of a stage and its record."""

    folder: Path
    record: Mapping[str, Any]

    @property
    def has_model(self) -> bool:
        """Whether a merged model is there, and not removed to save room or just being made again."""
        return (self.folder / _MODEL).is_dir() and not (self.folder / _REMOVED).exists()


def run_dir(name: str) -> Path:
    """Return the folder of the run called `name`; not created."""
    return home_dir() / "runs" / name


def write_atomic(path: Path, data: bytes | str) -> None:
    """Write a file aside, flush it to disk and rename it: `path` has its old content or all of the new."""
    aside = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    aside.write_bytes(data.encode("utf-8") if isinstance(data, str) else data)
    sync(aside)
    aside.replace(path)
    sync(path.parent)


def write_json(path: Path, value: Any) -> None:
    """Write JSON atomically, keys in the order given.

    Raises:
        ArtefactError: for what JSON can't hold, NaN among it.
    """
    try:
        text = json.dumps(value, indent=1, ensure_ascii=False, allow_nan=False)
    except (TypeError, ValueError) as error:
        raise ArtefactError(
            f"{path} can't be written as JSON: {error}; give finite numbers and text"
        ) from error
    write_atomic(path, text + "\n")


@contextmanager
def folder_aside(folder: Path) -> Iterator[Path]:
    """Give an empty folder to fill, which takes the place of `folder` when what is done inside is done.

    All in it is flushed to disk before. If the work fails there is no `folder`, and the next try begins anew.
    """
    aside = folder.with_name(f"{folder.name}.tmp")
    for left_over in (aside, folder):
        shutil.rmtree(left_over, ignore_errors=True)
    aside.mkdir(parents=True)
    try:
        yield aside
    except BaseException:
        shutil.rmtree(aside, ignore_errors=True)
        raise
    for path in [*aside.rglob("*"), aside]:
        sync(path)
    aside.rename(folder)
    sync(folder.parent)


def begin(run_dir: Path, *, number: int, kind: str, fingerprint: str, anew: bool = False) -> Path:
    """Return the folder to make an artefact in: the incomplete one of this fingerprint, else a new one.

    Args:
        run_dir: the run's folder.
        number: position of the stage in the chain, from 1; names a new folder.
        kind: kind of stage.
        fingerprint: what decides the artefact.
        anew: take the record of a complete one away and go on with what is kept in its folder.

    Raises:
        ArtefactError: if it is complete already; nothing is overwritten.
    """
    if made := find_complete(run_dir, kind=kind, fingerprint=fingerprint):
        if anew:
            (made.folder / _RECORD).unlink()
            return made.folder
        raise ArtefactError(f"{made.folder} is complete; reuse it, nothing is overwritten")
    folder = next(iter(_folders(run_dir, kind, fingerprint)), run_dir / f"{number:02d}-{kind}-{fingerprint}")
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def find_complete(run_dir: Path, *, kind: str, fingerprint: str) -> Artefact | None:
    """Return the complete artefact of this kind and fingerprint, wherever in the chain it was made."""
    for folder in _folders(run_dir, kind, fingerprint):
        if (folder / _RECORD).exists():
            return read_artefact(folder)
    return None


def complete(folder: Path, record: Mapping[str, Any]) -> Artefact:
    """Hash and flush the files of a folder, then write its record, which makes it complete.

    Checkpoints are removed then: nothing goes on from them any more.

    Args:
        folder: what `begin` gave.
        record: all but `schema` and `files`; `kind` and `fingerprint` must be those of the folder.

    Raises:
        ArtefactError: if the record is of another folder, or the folder is complete already.
    """
    if not folder.name.endswith(f"-{record.get('kind')}-{record.get('fingerprint')}"):
        raise ArtefactError(
            f"the record of {record.get('kind')} {record.get('fingerprint')} isn't for {folder}"
        )
    if (folder / _RECORD).exists():
        raise ArtefactError(f"{folder} is complete; nothing is overwritten")
    for path in list(folder.rglob(".*.[0-9]*.tmp")):  # left aside by a stage that was stopped
        path.unlink()
    files = [path for path in folder.rglob("*") if path.is_file()]
    paths = sorted(path for path in files if path.relative_to(folder).parts[0] not in _UNRECORDED)
    for path in [*paths, *{path.parent for path in paths}]:
        sync(path)
    hashes = {path.relative_to(folder).as_posix(): hash_file(path) for path in paths}
    full = {"schema": SCHEMA, **record, "files": hashes}
    write_json(folder / _RECORD, full)
    shutil.rmtree(folder / _CHECKPOINTS, ignore_errors=True)
    return Artefact(folder, full)


def read_artefact(folder: Path) -> Artefact:
    """Return a complete artefact; its files are not looked at (`verify` does).

    Raises:
        IncompleteError: if there is no record.
        DriftError: if the record can't be read.
    """
    missing = f"{folder} has no {_RECORD}: its stage did not end; run its recipe again"
    advice = "move the folder away to make it again"
    return Artefact(folder, _read(folder / _RECORD, "files", kind=dict, missing=missing, advice=advice))


def verify(folder: Path) -> Artefact:
    """Return a complete artefact whose files are those of its record.

    A merged model that `remove_model` took away is excused.

    Raises:
        IncompleteError: if there is no record.
        DriftError: naming every recorded file that is missing or changed.
    """
    artefact = read_artefact(folder)
    passed_over = f"{_MODEL}/" if (artefact.folder / _REMOVED).exists() else "/"  # no name begins with /
    _compare(artefact, [name for name in artefact.record["files"] if not name.startswith(passed_over)])
    return artefact


def remove_model(artefact: Artefact, reason: str) -> None:
    """Remove the merged model of an artefact; its hashes stay in the record, the reason in removed.json."""
    write_json(artefact.folder / _REMOVED, {"schema": SCHEMA, _MODEL: reason})
    if (artefact.folder / _MODEL).exists():
        shutil.rmtree(artefact.folder / _MODEL)


def restore_model(artefact: Artefact) -> None:
    """Take back `remove_model`, once the merged model has been made again.

    Raises:
        DriftError: if it is not, bit for bit, the one of the record.
    """
    _compare(artefact, [name for name in artefact.record["files"] if name.startswith(f"{_MODEL}/")])
    (artefact.folder / _REMOVED).unlink(missing_ok=True)


def set_current(run_dir: Path, content: Mapping[str, Any]) -> None:
    """Write current.json: what the run's name means.

    Args:
        run_dir: the run's folder.
        content: `stages`, the chain in order, each with the `folder` of its complete artefact; and what
            else a reader of the run wants to know.

    Raises:
        IncompleteError: if one of the stages is not complete.
    """
    for stage in content["stages"]:
        read_artefact(run_dir / stage["folder"])
    write_json(run_dir / _CURRENT, {"schema": SCHEMA, **content})


def read_current(run_dir: Path) -> dict[str, Any]:
    """Return what `set_current` wrote last.

    Raises:
        IncompleteError: if no chain of the run is complete yet.
        DriftError: if the file can't be read.
    """
    missing = f"{run_dir} has no complete chain yet ({_CURRENT}); run its recipe first"
    advice = "run the recipe again to write it"
    return _read(run_dir / _CURRENT, "stages", kind=list, missing=missing, advice=advice)


def _read(path: Path, needed: str, *, kind: type, missing: str, advice: str) -> dict[str, Any]:
    try:
        content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        if content["schema"] != SCHEMA:
            raise ValueError(f"schema {content['schema']}, expected {SCHEMA}")
        if not isinstance(content[needed], kind):
            raise ValueError(f"{needed} is no {kind.__name__}")
    except FileNotFoundError as error:
        raise IncompleteError(missing) from error
    except (ValueError, KeyError, TypeError) as error:
        raise DriftError(f"{path} can't be used ({error}); {advice}") from error
    return content


def _compare(artefact: Artefact, names: Sequence[str]) -> None:
    wrong = []
    for name in names:
        path = artefact.folder / name
        if not path.is_file():
            wrong.append(f"{name} is missing")
        elif hash_file(path) != artefact.record["files"][name]:
            wrong.append(f"{name} changed")
    if wrong:
        raise DriftError(
            f"{artefact.folder} differs from its record: {'; '.join(wrong)}; move it away to make it again"
        )


def _folders(run_dir: Path, kind: str, fingerprint: str) -> list[Path]:
    return sorted(run_dir.glob(f"[0-9][0-9]*-{kind}-{fingerprint}"))


def sync(path: Path) -> None:
    """Flush a file, or the names in a folder, to disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
