"""Export a model that is named on the command line."""

from __future__ import annotations

from pathlib import Path

from adatta.core.errors import RecipeError
from adatta.core.registry import list_names, load_registry
from adatta.lang.profile import load_profile


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
    known = load_registry("adatta.export.formats")
    files = fetch(model)
    profile = load_profile(language)
    chat = Chat.load(files.folder, system_prompt=None if files.kind == "run" else profile.system_prompt)
    out.mkdir(parents=True, exist_ok=True)
    for name in formats:
        written = known[name.replace("-", "_")](
            files.folder,
            out,
            chat_template=chat.exported_template(),
            stop_ids=chat.stop_ids,
            name=Path(model).name.removesuffix(".gguf") or "model",
        )
        for path in written:
            print(f"wrote {path}")
