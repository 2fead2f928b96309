"""Checkpoints: exact, atomic, refused where they don't belong."""

from __future__ import annotations

import copy

import pytest
import torch
from bitsandbytes.optim import AdamW8bit
from torch import nn

from adatta.core.errors import CheckpointError
from adatta.train import checkpoint
from adatta.train.checkpoint import Checkpoints, Progress

pytestmark = pytest.mark.torch


def adamw(parameters):
    return torch.optim.AdamW(parameters, lr=0.1, fused=True)


def adamw_8bit(parameters):
    """The paged optimizer's own state, without the paging that needs a GPU."""
    return AdamW8bit(parameters, lr=0.1)


def new_work(make=adamw):
    torch.manual_seed(1)
    model = nn.Sequential(nn.Linear(3, 4096), nn.Linear(4096, 2))
    return dict(model.named_parameters()), make(model.parameters()), model


def learn(model, optimizer, steps):
    for _ in range(steps):
        model(torch.randn(5, 3)).pow(2).sum().backward()
        optimizer.step()
        optimizer.zero_grad()


def checkpoints(folder, parameters, optimizer, job="job"):
    return Checkpoints(folder=folder, job=job, parameters=parameters, optimizer=optimizer)


def save(folder, parameters, optimizer, *, step, best=None):
    progress = Progress(step=step, tokens=7, holdout=[{"step": 0, "loss": 1.25}])
    checkpoints(folder, parameters, optimizer).save(progress, best)


def test_half_a_checkpoint_of_a_killed_process_makes_room_for_the_next(tmp_path, monkeypatch):
    parameters, optimizer, _ = new_work(adamw)
    half = tmp_path / "step-00000002.tmp"
    half.mkdir()
    rooms = []
    monkeypatch.setattr(checkpoint, "write_tensors", lambda path, tensors: rooms.append(not half.exists()))
    save(tmp_path, parameters, optimizer, step=3)
    assert rooms
    assert all(rooms)


@pytest.mark.parametrize("make", [adamw, adamw_8bit])
def test_going_on_from_a_checkpoint_is_bit_for_bit_the_uninterrupted_run(tmp_path, make):
    parameters, optimizer, model = new_work(make)
    learn(model, optimizer, 3)
    kinds = {
        value.dtype for value in optimizer.state[parameters["0.weight"]].values() if hasattr(value, "dtype")
    }
    assert (torch.uint8 in kinds) == (make is adamw_8bit)
    save(tmp_path, parameters, optimizer, step=3)
    learn(model, optimizer, 4)
    expected = copy.deepcopy(model.state_dict())
    parameters, optimizer, model = new_work(make)
    found = checkpoints(tmp_path, parameters, optimizer).load()
    assert found is not None
    assert found[0] == Progress(step=3, tokens=7, holdout=[{"step": 0, "loss": 1.25}])
    learn(model, optimizer, 4)
    for name, value in model.state_dict().items():
        assert torch.equal(value, expected[name])


def test_the_best_weights_come_back(tmp_path):
    parameters, optimizer, model = new_work()
    learn(model, optimizer, 1)
    best = {name: value.detach() + 1 for name, value in parameters.items()}
    save(tmp_path, parameters, optimizer, step=1, best=best)
    found = checkpoints(tmp_path, parameters, optimizer).load()
    assert found is not None
    assert found[1] is not None
    assert all(torch.equal(found[1][name], value) for name, value in best.items())


def test_only_the_last_checkpoint_stays_and_half_a_one_is_not_seen(tmp_path):
    parameters, optimizer, model = new_work()
    learn(model, optimizer, 1)
    save(tmp_path, parameters, optimizer, step=1)
    save(tmp_path, parameters, optimizer, step=2)
    assert [path.name for path in tmp_path.iterdir()] == ["step-00000002"]
    (tmp_path / "step-00000003.tmp").mkdir()
    found = checkpoints(tmp_path, parameters, optimizer).load()
    assert found is not None
    assert found[0].step == 2


def test_there_is_nothing_to_load_at_the_start(tmp_path):
    parameters, optimizer, _ = new_work()
    assert checkpoints(tmp_path / "none", parameters, optimizer).load() is None


def test_a_checkpoint_of_another_job_is_refused(tmp_path):
    parameters, optimizer, model = new_work()
    learn(model, optimizer, 1)
    save(tmp_path, parameters, optimizer, step=1)
    with pytest.raises(CheckpointError, match="belongs to another job"):
        checkpoints(tmp_path, parameters, optimizer, job="other").load()


@pytest.mark.parametrize("file", ["weights.safetensors", "optimizer.safetensors", "state.json"])
def test_a_broken_checkpoint_is_named(tmp_path, file):
    parameters, optimizer, model = new_work()
    learn(model, optimizer, 1)
    save(tmp_path, parameters, optimizer, step=1)
    (tmp_path / "step-00000001" / file).write_bytes(b"{")
    with pytest.raises(CheckpointError, match="step-00000001 can't be read"):
        checkpoints(tmp_path, parameters, optimizer).load()


def test_no_pickle_is_written(tmp_path):
    parameters, optimizer, model = new_work()
    learn(model, optimizer, 1)
    save(tmp_path, parameters, optimizer, step=1, best={})
    assert {path.suffix for path in tmp_path.rglob("*") if path.is_file()} == {".safetensors", ".json"}
