"""`adatta export`: write a model as safetensors, adapter or GGUF."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from typer import Option

from adatta.cli.options import ModelName


def export(
    model: ModelName,
    out: Annotated[Path, Option(help="The folder to write to.", show_default=False, file_okay=False)],
    formats: Annotated[
        list[str] | None,
        Option("--format", help="safetensors, adapter, gguf-f16, gguf-q4_k_m, ...; may be repeated."),
    ] = None,
    language: Annotated[str, Option(help="Language profile, for the system prompt.")] = "it",
    importance: Annotated[
        Path | None,
        Option(help="A text: quantising spares what it makes large.", exists=True, dir_okay=False),
    ] = None,
) -> None:
    """Write a model for other programs: safetensors or GGUF, proved to answer as it does."""
    from adatta.pipeline.exporting import export_named_model

    export_named_model(
        model, out, formats=tuple(formats or ("gguf-q8_0",)), language=language, importance=importance
    )


COMMAND = export
