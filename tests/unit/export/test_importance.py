"""What an importance matrix holds, and what quantising makes of it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from gguf import GGUFReader

from adatta.core.errors import ExportError
from adatta.core.records import Document, Origin
from adatta.export import importance
from adatta.export.importance import measure_importance
from adatta.model.load import load_model
from tests.toys.exports import make_job, write_toy
from tests.toys.models import SENTENCES

pytestmark = pytest.mark.torch


@pytest.fixture
def text(tmp_path: Path) -> Path:
    path = tmp_path / "testo.txt"
    path.write_text("\n\n".join(SENTENCES), encoding="utf-8")
    return path


def test_squares_are_those_of_what_flows_into_a_layer(toy_folder, tmp_path, text: Path, monkeypatch) -> None:
    """The first layers' input is the embedding behind a norm: computed here without any hook."""
    monkeypatch.setattr(importance, "WINDOW_TOKENS", 32)
    monkeypatch.setattr(importance, "MAX_WINDOWS", 3)
    chat = make_job(toy_folder, tmp_path).chat
    found = measure_importance(toy_folder, text, chat=chat)
    assert len(found) == 14  # 2 layers of 7, without the output
    document = Document(text=text.read_text(), row_id="", origin=Origin(path="", line=0))
    ids = [token for row in chat.document(document, 32)[:3] for token in row.ids]
    model = load_model(toy_folder, torch.float64)
    flow = model.model.layers[0].input_layernorm(model.model.embed_tokens(torch.tensor(ids)))
    expected = flow.square().mean(0).numpy()
    for part in "qkv":
        np.testing.assert_allclose(found[f"model.layers.0.self_attn.{part}_proj.weight"], expected, rtol=1e-4)
    assert found["model.layers.1.mlp.down_proj.weight"].shape == (64,)


def test_quantised_weights_change_and_others_do_not(toy_folder: Path, tmp_path: Path, text: Path) -> None:
    found = measure_importance(toy_folder, text, chat=make_job(toy_folder, tmp_path).chat)
    files = []
    for name, weights in (("plain", {}), ("weighed", found)):
        (tmp_path / name).mkdir()
        path = write_toy(toy_folder, tmp_path / name, "q4_0", importance=weights)
        files.append({tensor.name: np.array(tensor.data) for tensor in GGUFReader(path).tensors})
    plain, weighed = files
    changed = {name for name in plain if not np.array_equal(plain[name], weighed[name])}
    assert changed == {name for name in plain if name.startswith("blk.") and "norm" not in name}


@pytest.mark.parametrize(
    ("content", "message"), [(b" \n", "is empty"), (b"\xff\xfe", "can't be read as UTF-8")]
)
def test_a_text_that_is_none_is_refused(toy_folder, tmp_path, content: bytes, message: str) -> None:
    (tmp_path / "t.txt").write_bytes(content)
    with pytest.raises(ExportError, match=message):
        measure_importance(toy_folder, tmp_path / "t.txt", chat=make_job(toy_folder, tmp_path).chat)
