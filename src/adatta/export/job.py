"""What every export format is given."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from adatta.chat.render import Chat
from adatta.model.files import ModelFiles


@dataclass(frozen=True, slots=True, kw_only=True)
class ExportJob:
    """A model to write, and where.

    `model_folder` is the merged model, `chat` its renderer, whose template and stop ids are shipped, `name`
    what the files are called. `importance` holds for weights [columns] how much an error in each column
    matters. `adapters` were merged one after the other into `base`; there are none where the model isn't
    known to be made like that.
    """

    model_folder: Path
    out_dir: Path
    name: str
    chat: Chat
    importance: Mapping[str, NDArray[np.float32]] = field(default_factory=dict)
    base: ModelFiles | None = None
    adapters: tuple[Path, ...] = ()
