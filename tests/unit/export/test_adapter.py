"""Adapters of several stages as one, which PEFT reads and which is the merged model."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from peft import PeftModel

from adatta.core.errors import ExportError, ParityError
from adatta.export import parity
from adatta.export.formats.adapter import write
from adatta.export.formats.gguf_f16 import write as write_f16
from adatta.export.job import ExportJob
from adatta.export.parity import check_exports
from adatta.model.files import locate
from adatta.model.load import load_model, peft_without_noise
from tests.toys.exports import edit_json, make_job, write_chain

pytestmark = pytest.mark.torch


@pytest.fixture(scope="module")
def chain(toy_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> ExportJob:
    """A model that two adapters were merged into, one after the other, with what they were."""
    root = tmp_path_factory.mktemp("chain")
    merged, adapters = write_chain(root, toy_folder)
    return make_job(merged[-1], root, base=locate(str(toy_folder)), adapters=tuple(adapters))


def test_joined_adapter_is_the_merged_model_for_peft(chain: ExportJob) -> None:
    config, weights = write(chain)
    with peft_without_noise():
        model = PeftModel.from_pretrained(load_model(chain.base.folder), str(weights.parent)).eval()
    ids_1T = torch.randint(3, 400, (1, 40), generator=torch.Generator().manual_seed(2))
    with torch.inference_mode():
        found, expected = (each(ids_1T).logits for each in (model, load_model(chain.model_folder)))
        base = load_model(chain.base.folder)(ids_1T).logits
    torch.testing.assert_close(found, expected, atol=1e-4, rtol=0)
    assert (found - base).abs().max() > 0.1
    fields = json.loads(config.read_text())
    assert (fields["r"], fields["lora_alpha"]) == (6, 6)
    assert sorted(fields["target_modules"]) == ["down_proj", "q_proj", "up_proj", "v_proj"]
    assert fields["base_model_name_or_path"] == str(chain.base.folder)


def test_adapter_answers_as_the_merged_model(chain: ExportJob, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parity, "TEXTS", {"it": ["Il mare è calmo.", "La sera è dolce."]})
    files = {"gguf-f16": write_f16(chain), "adapter": write(chain)}
    both = check_exports(chain, files, limit=8, threads=1)
    assert list(both)[-1] == "gguf-f16"  # which rounds the model that others are compared with
    found = both["adapter"]
    assert found["not_held"] == []
    assert found["answers"]["same"] >= 19
    assert abs(found["bits_per_byte"]["it"]["change"]) < 1e-4


def test_a_stage_that_is_missing_is_seen(chain: ExportJob) -> None:
    from dataclasses import replace

    with pytest.raises(ParityError, match="adapter, prompt"):
        check_exports(chain, {"adapter": write(replace(chain, adapters=chain.adapters[:1]))}, limit=8)


def test_what_is_no_base_with_adapters_is_refused(chain: ExportJob, tmp_path: Path) -> None:
    from dataclasses import replace
    from shutil import copytree

    with pytest.raises(ExportError, match="isn't known as a base with adapters"):
        write(replace(chain, adapters=()))
    with pytest.raises(ExportError, match="holds all weights of a stage"):
        write(replace(chain, adapters=(tmp_path,)))
    dora = Path(copytree(chain.adapters[0], tmp_path / "dora"))
    edit_json(dora / "adapter_config.json", use_dora=True)
    with pytest.raises(ExportError, match="learnt more than low-rank updates"):
        write(replace(chain, adapters=(dora,)))
