"""Whole training stages on tiny models: equivalence, resume, reference, refusals."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from adatta.core.errors import CheckpointError, DataError, DivergedError, ExactnessError, TrainError
from adatta.core.events import read_metrics
from adatta.core.records import TokenRow
from adatta.core.settings import AdaptSettings, DpoSettings, SftSettings
from adatta.model import score as scoring
from adatta.model.attention import branches
from adatta.model.files import read_config
from adatta.model.memory import ModelShape
from adatta.model.precision import PRODUCT_FLOP, measure_products
from adatta.train import loop, stage
from adatta.train.stage import TrainJob, train_stage
from adatta.train.watch import FAR_NATS
from tests.toys.rows import conversations, preferences
from tests.unit.train.conftest import MEASURED

pytestmark = pytest.mark.torch

SETTINGS = {"sft": SftSettings, "dpo": DpoSettings, "adapt": AdaptSettings}


@pytest.fixture
def job(toy_folder, tmp_path):
    """Return a function that makes a small job; keywords change its settings."""

    def make(kind="sft", *, holdout=0, num=12, precision="fp32", name="out", **settings):
        groups = preferences(num + holdout) if kind == "dpo" else conversations(num + holdout)
        chosen = {
            "data": [{"path": "rows"}],
            "method": "lora",
            "adapter": {"rank": 4, "alpha": 8},
            "optimizer": {"lr": 5e-3},
            "batch": {"rows": 4, "forest_tokens": 120},
            "budget": {"steps": 5},
            **settings,
        }
        return TrainJob(
            kind=kind,
            settings=SETTINGS[kind].model_validate(chosen),
            model_folder=toy_folder,
            train=groups[holdout:],
            holdout=groups[:holdout],
            out_dir=tmp_path / name,
            seed=11,
            context=512,
            precision=precision,
        )

    return make


def losses(job):
    return [row["loss"] for row in read_metrics(job.out_dir / "metrics.jsonl") if "loss" in row]


def adapter(job):
    files = sorted((job.out_dir / "adapter").glob("*.safetensors"))
    return torch.cat([value.flatten() for path in files for _, value in sorted(load_file(path).items())])


@pytest.mark.parametrize(("precision", "tolerance"), [("fp64", 1e-10), ("fp32", 1e-5)])
@pytest.mark.parametrize("kind", ["sft", "dpo"])
def test_forests_of_any_size_give_the_same_training(job, wide_norms, kind, precision, tolerance):
    """1 x 8, 2 x 4 and 8 x 1: eight rows of unequal length in one forest, in some, and each in its own."""
    runs = []
    for forest_tokens in (10_000, 130, 1):
        batch = {"rows": 8, "forest_tokens": forest_tokens}
        one = job(kind, num=24, precision=precision, batch=batch, name=f"{forest_tokens}")
        train_stage(one)
        runs.append((losses(one), adapter(one)))
    assert len(runs[0][0]) == 5
    for other_losses, other_adapter in runs[1:]:
        assert other_losses == pytest.approx(runs[0][0], rel=tolerance)
        assert (other_adapter - runs[0][1]).norm() <= tolerance * runs[0][1].norm()


@pytest.mark.parametrize("engine", ["forest", "fused"])
@pytest.mark.parametrize("method", ["lora", "full"])
@pytest.mark.parametrize("kind", ["sft", "dpo", "adapt"])
def test_plain_trains_as_forest_and_fused_do(job, wide_norms, kind, method, engine):
    ours, plain = (
        replace(job(kind, precision="fp64", method=method, name=name), engine=name)
        for name in (engine, "plain")
    )
    assert train_stage(ours)["engine"] == engine
    assert train_stage(plain)["engine"] == "plain"
    assert losses(ours) == pytest.approx(losses(plain), rel=1e-10)
    assert (adapter(ours) - adapter(plain)).norm() <= 1e-9 * adapter(plain).norm()


def test_shared_prefixes_change_nothing(job, wide_norms):
    shared = job("dpo", precision="fp64", name="shared")
    apart = job("dpo", precision="fp64", name="apart", share_prefix=False)
    results = [train_stage(one) for one in (shared, apart)]
    assert results[0]["tokens"] < results[1]["tokens"]
    assert losses(shared) == pytest.approx(losses(apart), rel=1e-10)
    assert (adapter(shared) - adapter(apart)).norm() <= 1e-9 * adapter(apart).norm()


@pytest.mark.parametrize("more", [{}, {"dora": True}, {"also": ["embeddings", "norms"]}])
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("method", ["qlora", "lora", "full"])
def test_the_first_margin_of_dpo_is_exactly_zero(job, method, precision, more):
    one = job(
        "dpo",
        method=method,
        precision=precision,
        adapter={"rank": 4, "alpha": 8, **more},
        holdout=8,
        batch={"rows": 8, "forest_tokens": 90},
    )
    train_stage(one)
    first = read_metrics(one.out_dir / "metrics.jsonl")[:2]
    assert first[0]["holdout_margin"] == 0.0
    assert first[1]["margin"] == 0.0
    assert first[1]["loss"] == pytest.approx(0.6931471805599453, rel=1e-15)


def test_the_reference_is_kept_by_row_and_used_again(job, monkeypatch):
    one = job("dpo", holdout=4)
    train_stage(one)
    kept = json.loads((one.out_dir / "reference.json").read_text(encoding="utf-8"))
    ids = {(row_id, branch) for row_id, branch, _ in kept["sums"]}
    assert ids == {(row.row_id, row.branch) for group in (*one.train, *one.holdout) for row in group}
    monkeypatch.setattr(loop, "take_reference", None)
    again = train_stage(one)
    assert again["steps"] == 5


def test_a_reference_of_other_rows_is_taken_again(job):
    one = job("dpo")
    train_stage(one)
    source = json.loads((one.out_dir / "reference.json").read_text(encoding="utf-8"))["source"]
    other = replace(one, out_dir=one.out_dir.with_name("other"), train=one.train[1:])
    other.out_dir.mkdir()
    (other.out_dir / "reference.json").write_bytes((one.out_dir / "reference.json").read_bytes())
    train_stage(other)
    assert json.loads((other.out_dir / "reference.json").read_text(encoding="utf-8"))["source"] != source


@pytest.mark.parametrize("method", ["qlora", "lora", "full"])
@pytest.mark.parametrize("kind", SETTINGS)
def test_every_kind_learns_with_every_method(job, kind, method):
    lr = 1e-3 if method == "full" else 1e-2
    one = job(kind, method=method, optimizer={"lr": lr}, budget={"epochs": 4}, holdout=3)
    results = train_stage(one)
    found = losses(one)
    assert sum(found[-3:]) < sum(found[:3])
    assert results["first_loss"] == found[0]
    assert results["last_loss"] == found[-1]
    assert results["steps"] == len(found) == 12
    assert results["holdout"][0]["step"] == 0
    assert results["holdout"][-1]["step"] == 12
    assert results["tokens_per_s"] > 0


@pytest.mark.parametrize("more", [{"dora": True}, {"also": ["embeddings"]}, {"also": ["norms"]}])
def test_what_else_is_trained_moves(job, more):
    plain = job(name="plain")
    one = job(name="more", adapter={"rank": 4, "alpha": 8, **more})
    train_stage(plain)
    train_stage(one)
    assert losses(one)[0] == pytest.approx(losses(plain)[0], rel=1e-6)
    assert losses(one)[-1] < losses(plain)[-1]


@pytest.mark.parametrize("method", ["qlora", "full"])
@pytest.mark.parametrize("engine", ["forest", "fused"])
def test_little_memory_recomputes_layers_and_changes_nothing(job, monkeypatch, method, engine):
    lr = {"lr": 1e-3}
    ample, scarce = (
        replace(job(name=name, method=method, optimizer=lr), engine=engine) for name in ("ample", "scarce")
    )
    assert not train_stage(ample)["recomputed"]
    monkeypatch.setattr(stage, "free_bytes", lambda: 0)
    calls = []
    real = branches.Branches.attend
    monkeypatch.setattr(
        branches.Branches,
        "attend",
        lambda *arguments, **keywords: calls.append(1) or real(*arguments, **keywords),
    )
    assert train_stage(scarce)["recomputed"]
    assert len(calls) > 5 * 2 * 2  # five steps, two layers, forward and again
    assert losses(scarce) == losses(ample)


@pytest.mark.parametrize(("checkpointing", "free"), [("always", 1 << 40), ("never", 0)])
def test_layers_are_recomputed_as_the_recipe_says(job, monkeypatch, checkpointing, free):
    monkeypatch.setattr(stage, "free_bytes", lambda: free)
    plain = job(name="plain")
    one = job(name="other", batch={"rows": 4, "forest_tokens": 120, "checkpointing": checkpointing})
    train_stage(plain)
    assert train_stage(one)["recomputed"] == (checkpointing == "always")
    assert losses(one) == losses(plain)


def test_the_largest_forest_of_the_plan_is_tried_where_memory_may_be_short(job, monkeypatch):
    """With dropout: random numbers that the trial draws would show."""
    settings = {"adapter": {"rank": 4, "alpha": 8, "dropout": 0.3}}
    untried, tried = job(name="untried", **settings), job(name="tried", **settings)
    facts = train_stage(untried)["largest_forest"]
    order = stage.plan_order(untried.settings, untried.train, kind="sft", seed=untried.seed)
    forests = [
        batch.forest.num_tokens
        for step in order.steps
        for batch in order.packing.batches([order.rows[index] for index in step])
    ]
    assert facts["tokens"] == max(forests)
    assert not facts["tried"]
    monkeypatch.setattr(stage, "free_bytes", lambda: facts["predicted_bytes"] + 1)
    seen = []
    real = stage.score
    monkeypatch.setattr(stage, "score", lambda *a, **k: seen.append(a[1].num_tokens) or real(*a, **k))
    assert train_stage(tried)["largest_forest"] == {**facts, "tried": True}
    assert seen == [max(forests)]
    assert losses(tried) == losses(untried)
    assert torch.equal(adapter(tried), adapter(untried))


def test_a_forest_that_does_not_fit_ends_the_stage_before_its_first_step(job, monkeypatch):
    def exhausted(*arguments, **keywords):
        raise RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes.")

    monkeypatch.setattr(stage, "free_bytes", lambda: 0)
    monkeypatch.setattr(stage, "score", exhausted)
    one = job()
    with pytest.raises(TrainError, match=r"lower batch\.forest_tokens, or set batch\.checkpointing: always"):
        train_stage(one)
    assert not (one.out_dir / "metrics.jsonl").exists()


def test_another_mistake_in_the_trial_is_not_called_one_of_memory(job, monkeypatch):
    def broken(*arguments, **keywords):
        raise RuntimeError("shapes don't fit")

    monkeypatch.setattr(stage, "free_bytes", lambda: 0)
    monkeypatch.setattr(stage, "score", broken)
    with pytest.raises(RuntimeError, match="shapes"):
        train_stage(job())


def test_a_step_tells_speed_memory_and_its_share_of_the_roofline(job, toy_folder):
    one = job()
    train_stage(one)
    shape = ModelShape.of(read_config(toy_folder))
    rate = PRODUCT_FLOP / measure_products()["fp32"]
    for row in read_metrics(one.out_dir / "metrics.jsonl"):
        assert set(row) - {"step", "loss", "lr", "grad_norm", "tokens", "scored_tokens"} == set(MEASURED[:5])
        assert row["tokens_per_s"] > row["scored_tokens_per_s"] > 0
        products = 2 * 2 * (row["tokens"] * shape.linear_parameters + row["scored_tokens"] * 400 * 32)
        assert row["roofline_share"] == pytest.approx(products / row["time_s"] / rate, rel=0.05, abs=1e-4)
        assert row["peak_memory_bytes"] > 1 << 26


def test_a_fall_of_the_chosen_answers_is_told_once_and_survives_a_resume(job, monkeypatch, caplog):
    falling = {"optimizer": {"lr": 0.5}}
    whole = job("dpo", name="whole", **falling)
    warnings = train_stage(whole)["warnings"]
    rows = read_metrics(whole.out_dir / "metrics.jsonl")
    first = next(row for row in rows if row["gain_chosen_per_token"] <= -FAR_NATS)
    assert len(warnings) == 1
    assert f"at step {first['step']} the chosen answers are" in warnings[0]
    assert caplog.text.count("chosen answers are") == 1
    broken = replace(job("dpo", name="broken", **falling), checkpoint_s=0.0)
    interrupt(broken, monkeypatch, after=4)
    assert train_stage(broken)["warnings"] == warnings
    assert train_stage(job("dpo", name="calm"))["warnings"] == []


def test_the_same_job_gives_the_same_bits(job):
    first, second = job(name="first", method="qlora"), job(name="second", method="qlora")
    train_stage(first)
    train_stage(second)
    for file in ("adapter_model.safetensors", "adapter_config.json"):
        paths = [one.out_dir / "adapter" / file for one in (first, second)]
        assert paths[0].read_bytes() == paths[1].read_bytes()


def test_dropout_is_drawn_from_the_seed_and_survives_a_resume(job, monkeypatch):
    dropout = {"rank": 4, "alpha": 8, "dropout": 0.3}
    whole = job(name="whole", adapter=dropout)
    train_stage(whole)
    broken = replace(job(name="broken", adapter=dropout), checkpoint_s=0.0)
    interrupt(broken, monkeypatch, after=3)
    assert train_stage(broken)["steps"] == 5
    assert torch.equal(adapter(whole), adapter(broken))


def interrupt(job, monkeypatch, *, after):
    """Let a stage stop in the middle of a step, as a signal would."""
    real = scoring.score
    calls = []

    def counted(*arguments, **keywords):
        if torch.is_grad_enabled():
            steps = job.out_dir / "checkpoints" / f"step-{after:08d}"
            calls.append(steps)
            if steps.exists():
                raise KeyboardInterrupt
        return real(*arguments, **keywords)

    with monkeypatch.context() as patch:
        patch.setattr(loop, "score", counted)
        with pytest.raises(KeyboardInterrupt):
            train_stage(job)
    assert calls


@pytest.mark.parametrize("kind", ["sft", "dpo"])
def test_a_stopped_stage_goes_on_to_the_same_bits(job, monkeypatch, kind):
    more = {"rank": 4, "alpha": 8, "dora": True, "also": ["embeddings", "norms"]}
    whole = job(kind, name="whole", holdout=30, keep="best", adapter=more)
    expected = train_stage(whole)
    broken = replace(job(kind, name="broken", holdout=30, keep="best", adapter=more), checkpoint_s=0.0)
    interrupt(broken, monkeypatch, after=2)
    results = train_stage(broken)
    timed = {*MEASURED, "largest_forest"}
    assert {key: results[key] for key in results if key not in timed} == {
        key: expected[key] for key in expected if key not in timed
    }
    assert torch.equal(adapter(whole), adapter(broken))
    lines = [
        [
            {key: value for key, value in row.items() if key not in MEASURED}
            for row in read_metrics(one.out_dir / "metrics.jsonl")
        ]
        for one in (whole, broken)
    ]
    assert lines[0] == lines[1]


def test_a_killed_stage_goes_on(job, toy_folder):
    """`kill -9` between two steps, in a process of its own."""
    one = replace(job(budget={"steps": 40}), checkpoint_s=0.0)
    script = (
        "import sys, pickle\n"
        "import torch\n"
        "torch.set_num_threads(1)\n"
        "from adatta.train.stage import train_stage\n"
        "train_stage(pickle.load(sys.stdin.buffer))\n"
    )
    import pickle

    process = subprocess.Popen(
        [sys.executable, "-W", "ignore", "-c", script], stdin=subprocess.PIPE, stderr=subprocess.PIPE
    )
    assert process.stdin is not None
    process.stdin.write(pickle.dumps(one))
    process.stdin.close()
    checkpoints = one.out_dir / "checkpoints"
    while process.poll() is None:
        if any(int(path.name[5:13]) >= 3 for path in checkpoints.glob("step-????????")):
            os.kill(process.pid, signal.SIGKILL)
            break
    process.wait()
    assert process.stderr is not None
    process.stderr.close()
    assert process.returncode == -signal.SIGKILL
    done = len(losses(one))
    assert 3 <= done < 40
    assert train_stage(one)["steps"] == 40
    assert len(losses(one)) == 40


def test_a_checkpoint_of_other_settings_is_refused(job):
    one = job()
    train_stage(one)
    other = replace(one, seed=12)
    with pytest.raises(CheckpointError, match="belongs to another job"):
        train_stage(other)


def test_best_keeps_the_weights_with_the_lowest_held_out_loss(job):
    """Random preferences teach nothing about others: the longer they are learnt, the worse it gets."""
    one = job("dpo", holdout=30, keep="best", optimizer={"lr": 0.05}, budget={"steps": 12})
    results = train_stage(one)
    best = min(results["holdout"], key=lambda point: point["loss"])
    assert results["kept_step"] == best["step"] < 12
    last = replace(
        one, settings=one.settings.model_copy(update={"keep": "last"}), out_dir=one.out_dir / "last"
    )
    assert train_stage(last)["kept_step"] == 12
    assert not torch.equal(adapter(one), adapter(last))


def test_a_loss_that_is_no_number_ends_the_stage_with_its_step(job, monkeypatch):
    real = scoring.score
    steps = []

    def poisoned(*arguments, **keywords):
        logp_S = real(*arguments, **keywords)
        steps.append(0)
        return logp_S * float("nan") if torch.is_grad_enabled() and len(steps) > 4 else logp_S

    monkeypatch.setattr(loop, "score", poisoned)
    one = job(batch={"rows": 4, "forest_tokens": 10_000})
    with pytest.raises(DivergedError, match="step 5: the loss is nan"):
        train_stage(one)


def test_long_documents_are_windows_of_their_own(job):
    """The windows of one document need not stand in one forest or step."""
    windows = tuple(replace_row(group[0], branch) for branch, group in enumerate(conversations(12)))
    one = replace(job("adapt", batch={"rows": 4, "forest_tokens": 60}, budget={"epochs": 1}), train=[windows])
    assert train_stage(one)["steps"] == 3


def replace_row(row, branch):
    return TokenRow(ids=row.ids, weights=row.weights, row_id="document", branch=branch)


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"train": []}, DataError, "no training rows"),
        ({"context": 10}, DataError, "longer than the context of 10"),
        (
            {"train": [(TokenRow(ids=(5, 6, 7), weights=(1, 0, 0), row_id="empty"),)]},
            DataError,
            "no token to learn: empty",
        ),
    ],
)
def test_rows_that_can_not_be_trained_on_are_refused(job, change, error, message):
    with pytest.raises(error, match=message):
        train_stage(replace(job(), **change))


def test_a_preference_without_its_other_answer_is_refused(job):
    one = job("dpo")
    with pytest.raises(DataError, match="don't have 2 branches: pair-0"):
        train_stage(replace(one, train=[one.train[0][:1], *one.train[1:]]))


@pytest.fixture
def wrong_forest(monkeypatch):
    """Let the forest engine be wrong on this model."""
    real = scoring._ENGINES["forest"]

    def wrong(model, forest):
        found = real(model, forest)
        return found._replace(logp_S=found.logp_S * 1.01)

    monkeypatch.setitem(scoring._ENGINES, "forest", wrong)


@pytest.mark.usefixtures("wrong_forest")
def test_an_engine_that_is_not_exact_is_replaced_or_refused(job, caplog):
    assert train_stage(job(name="auto"))["engine"] == "plain"
    assert "plain is used" in caplog.text
    with pytest.raises(ExactnessError, match="engine forest can't be used: on this model it differs"):
        train_stage(replace(job(name="named"), engine="forest"))


def test_nothing_but_the_output_folder_is_written(job, toy_folder):
    before = {path: path.stat().st_mtime_ns for path in Path(toy_folder).iterdir()}
    one = job("dpo", holdout=4)
    train_stage(one)
    assert {path: path.stat().st_mtime_ns for path in Path(toy_folder).iterdir()} == before
    names = {path.name for path in one.out_dir.iterdir()}
    assert names == {"adapter", "checkpoints", "metrics.jsonl", "reference.json"}
