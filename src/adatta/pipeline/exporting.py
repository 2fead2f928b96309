"""Export a model that is named on the command line."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from adatta.core.errors import RecipeError
from adatta.core.registry import list_names, load_registry
from adatta.lang.profile import load_profile

if TYPE_CHECKING:
    from adatta.chat.render import Chat


def export_named_model(model: str, out: Path, *, formats: tuple[str, ...], language: str) -> None:
    """Write a model in one or more formats, with the profile's system prompt in its template.

    Args:
        model: any name of a model.
        out: the folder to write to; made when missing.
        formats: names of formats.
        language: tag of the profile.

    Raises:
        RecipeError: a format is unknown.
        ModelError: the model can't be found or used.
    """
    from adatta.chat.render import Chat
    from adatta.model.load import fetch

    names = list_names("adatta.export.formats")
    unknown = [name for name in formats if name not in names]
    if unknown:
        raise RecipeError(f"unknown format {', '.join(unknown)}; there are: {', '.join(names)}")
    files = fetch(model)
    prompt = load_profile(language).system_prompt
    chat = Chat.load(files.folder, system_prompt=None if files.kind == "run" else prompt)
    out.mkdir(parents=True, exist_ok=True)
    name = Path(model).name.removesuffix(".gguf") or "model"
    for _, written in write_formats(files.folder, out, formats=formats, chat=chat, name=name):
        for path in written:
            print(f"wrote {path}")


def write_formats(
    source: Path, out: Path, *, formats: Iterable[str], chat: Chat, name: str
) -> Iterator[tuple[str, list[Path]]]:
    """Write a model in several formats, and yield each with its files as they are written.

    Args:
        source: the model's folder.
        out: the folder to write to.
        formats: their names.
        chat: the model's renderer.
        name: the model's name.
    """
    known = load_registry("adatta.export.formats")
    template, stop_ids = chat.exported_template(), chat.stop_ids
    for wanted in formats:
        write = known[wanted.replace("-", "_")]
        yield wanted, write(source, out, chat_template=template, stop_ids=stop_ids, name=name)
