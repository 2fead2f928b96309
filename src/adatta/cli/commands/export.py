"""`adatta export`: write a model as safetensors or GGUF."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def export(
    model: Annotated[
        str, typer.Argument(help="A model: run, folder, Hub id, GGUF, package:NAME/FILE.", show_default=False)
    ],
    out: Annotated[Path, typer.Option(help="The folder to write to.", show_default=False)],
    formats: Annotated[
        list[str] | None,
        typer.Option("--format", help="safetensors, gguf-f16 or gguf-q8_0; may be repeated."),
    ] = None,
    language: Annotated[str, typer.Option(help="Language profile, for the system prompt.")] = "it",
) -> None:
    """Write a model for other programs: safetensors or GGUF, with its template and stop ids."""
    from adatta.pipeline.exporting import export_named_model

    export_named_model(model, out, formats=tuple(formats or ("gguf-q8_0",)), language=language)


COMMAND = export
