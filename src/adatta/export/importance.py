"""How much an error in each column of a weight matters: the mean square of what flows into it, on a text."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from adatta.chat.render import Chat
from adatta.core.errors import ExportError
from adatta.core.progress import track
from adatta.core.records import Document, Origin
from adatta.model.adapter import linear_layers
from adatta.model.load import load_model

WINDOW_TOKENS = 512
MAX_WINDOWS = 64


def measure_importance(model_folder: Path, text: Path, *, chat: Chat) -> dict[str, NDArray[np.float32]]:
    """Run a model over a text and look at what its linear layers get; the output layer is left out.

    Args:
        model_folder: the merged model.
        text: a UTF-8 text in the language that the model is for; of it, the first 32,768 tokens.
        chat: the model's renderer.

    Returns:
        By weight name, the mean square of each column's input.

    Raises:
        ExportError: if the text can't be read or is empty.

    Source: llama.cpp's tools/imatrix, which sums the same squares.
    """
    try:
        content = text.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ExportError(f"importance: {text} can't be read as UTF-8 text ({error})") from error
    if not content.strip():
        raise ExportError(f"importance: {text} is empty; give a text in the language of the model")
    document = Document(text=content, row_id="", origin=Origin(path=str(text), line=0))
    windows = chat.document(document, WINDOW_TOKENS)[:MAX_WINDOWS]
    model: Any = load_model(model_folder)
    sums: dict[str, torch.Tensor] = {}

    def add(module: Any, inputs: tuple[torch.Tensor], *, name: str) -> None:
        squares_C = inputs[0].flatten(0, -2).double().square().sum(0)
        sums[name] = sums.get(name, 0) + squares_C

    for name in linear_layers(model):
        model.get_submodule(name).register_forward_pre_hook(partial(add, name=name))
    with torch.inference_mode(), track(len(windows), "importance", unit="windows") as bar:
        for window in windows:
            model(torch.tensor([window.ids]), logits_to_keep=1)
            bar.advance(1)
    num_tokens = sum(len(window.ids) for window in windows)
    return {f"{name}.weight": (total / num_tokens).float().numpy() for name, total in sums.items()}
