"""The parity check passes for a right export and sees each kind of wrong one."""

from __future__ import annotations

import json
import math
import shutil
from functools import partial
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from adatta.core.errors import ParityError
from adatta.export import gguf_vocabulary, gguf_writer, parity
from adatta.export.formats import gguf_f16, gguf_q8_0
from adatta.export.parity import PROMPTS, TOLERANCE_NATS, check_parity
from adatta.model.engines.llamacpp import Candidate
from tests.toys.models import CHAT_TEMPLATE

pytestmark = pytest.mark.torch
check = partial(check_parity, threads=1)  # more only wait for each other on a toy


def export(folder: Path, out: Path, form=gguf_f16) -> Path:
    return form.write(folder, out, chat_template=CHAT_TEMPLATE, stop_ids=(0, 2), name="toy")[0]


@pytest.mark.parametrize("family", ["llama", "qwen2"])
def test_right_export_passes_with_its_figures(toy_folders, tmp_path: Path, family: str) -> None:
    folder = toy_folders[family, False]
    seen: list[int] = []
    result = check(folder, export(folder, tmp_path), limit=12, progress=seen.append)
    assert result["prompts"] == len(PROMPTS) == 20 == sum(seen)
    assert result["same_answers"] + len(result["ties"]) == 20
    assert 0 < result["median_difference_nats"] <= result["max_difference_nats"] <= TOLERANCE_NATS
    assert json.loads(json.dumps(result)) == result


def test_weights_of_another_model_are_seen(toy_folder: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(toy_folder, tmp_path / "other"))
    weights = load_file(folder / "model.safetensors")
    weights["model.layers.1.mlp.down_proj.weight"] *= 1.2
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ParityError, match=r"prompt '.+', new token \d+"):
        check(toy_folder, export(folder, tmp_path), limit=12)


def test_what_rounding_itself_does_is_no_error(toy_folder: Path, tmp_path: Path, monkeypatch) -> None:
    path = export(toy_folder, tmp_path)
    rounded = check(toy_folder, path, limit=12)["max_difference_nats"]
    monkeypatch.setattr(parity, "_round_matrices", lambda model: None)
    assert rounded < check(toy_folder, path, limit=12)["max_difference_nats"]


def test_rounding_leaves_what_the_file_holds_in_full() -> None:
    layer = torch.nn.Linear(1, 1)
    with torch.no_grad():
        layer.weight.fill_(0.1)
        layer.bias.fill_(0.1)
    parity._round_matrices(layer)
    assert layer.weight.item() == torch.tensor(0.1).half().item() != layer.bias.item()


def test_unpermuted_rotations_are_seen(
    toy_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gguf_writer, "_join_halves", lambda weight, heads: weight)
    with pytest.raises(ParityError, match="new token"):
        check(toy_folder, export(toy_folder, tmp_path), limit=12)


def test_wrong_pre_tokeniser_is_seen(
    toy_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = Path(shutil.copytree(toy_folder, tmp_path / "digits"))
    fields = json.loads((folder / "tokenizer.json").read_text())
    model = fields["model"]
    last = next(text for text, number in model["vocab"].items() if number == 399)
    del model["vocab"][last]
    # A merge of digits, which never happens where every digit is split first.
    model["vocab"]["18"] = 399
    model["merges"] = [merge for merge in model["merges"] if "".join(merge) != last] + [["1", "8"]]
    (folder / "tokenizer.json").write_text(json.dumps(fields))
    check(folder, export(folder, tmp_path), limit=1)
    monkeypatch.setattr(gguf_vocabulary, "pre_tokeniser_name", lambda fields: "gpt-2")
    with pytest.raises(ParityError, match="pre-tokeniser is not the right one"):
        check(folder, export(folder, tmp_path), limit=1)


def test_coarser_weights_are_seen(toy_folder: Path, tmp_path: Path) -> None:
    with pytest.raises(ParityError, match="new token"):
        check(toy_folder, export(toy_folder, tmp_path, gguf_q8_0), limit=12)


def compare(chances: list[float], *answers: tuple[int, float]) -> tuple[list[float], dict | None]:
    """Compare an answer, ids with log-probs, with a model that has the same `chances` at every step."""
    logp_SV = torch.tensor([chances] * len(answers), dtype=torch.float64).log()
    candidates = [Candidate(*answer) for answer in answers]
    tie = parity._find_tie("p", candidates, logp_SV)
    agreed = candidates[: tie["position"]] if tie else candidates
    return parity._compare_log_probs("p", agreed, logp_SV), tie


def test_first_difference_at_a_tie_ends_the_comparison() -> None:
    best, close = math.log(0.41), math.log(0.40)
    differences, tie = compare([0.41, 0.40, 0.19], (0, best + 0.01), (1, close), (2, -9.0))
    assert differences == pytest.approx([0.01])
    assert tie == {"prompt": "p", "position": 1, "gap_nats": pytest.approx(best - close)}


@pytest.mark.parametrize(
    ("chances", "answer"),
    [
        ([0.5, 0.4, 0.1], (1, math.log(0.4))),  # not a tie
        ([0.41, 0.40, 0.19], (2, math.log(0.19))),  # its two best are close, but the third was chosen
        ([0.5, 0.4, 0.1], (0, math.log(0.5) + 0.06)),
        ([0.5, 0.4, 0.1], (0, math.nan)),
        ([math.nan] * 3, (0, math.log(0.5))),
    ],
)
def test_what_is_not_within_the_tolerance_fails(chances: list[float], answer: tuple[int, float]) -> None:
    with pytest.raises(ParityError):
        compare(chances, answer)
