"""What training is measured on: token rows of the project and of real text, settings, the adapter's start."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from adatta.chat.render import Chat
from adatta.core.fingerprint import content_id
from adatta.core.recipe import load_recipe
from adatta.core.records import Conversation, Message, Origin, TokenRow
from adatta.core.settings import (
    AdapterSettings,
    AdaptSettings,
    BatchSettings,
    BudgetSettings,
    DpoSettings,
    HoldoutSettings,
    OptimizerSettings,
    ScheduleSettings,
    SftSettings,
    TrainSettings,
)
from adatta.lang.profile import load_profile
from adatta.model.adapter import load_trainable, save_trained
from adatta.model.forest import count_tokens, drop_unread
from adatta.model.load import fetch
from adatta.pipeline.prepare import prepare_stage
from adatta.train.batches import Packing
from adatta.train.stage import TrainJob, plan_order

ROOT = Path(__file__).resolve().parents[1]
SQUAD = ROOT.parent / "shared" / "data" / "squad_it.jsonl"
SEED = 42
STEP_ROWS = 4
CONTEXT = 1024
ADAPTER = AdapterSettings(rank=16, alpha=32)
SETTINGS = {"sft": SftSettings, "dpo": DpoSettings, "adapt": AdaptSettings}

Group = tuple[TokenRow, ...]


@dataclass(frozen=True, kw_only=True)
class Case:
    """Rows to train on, others to warm up on, others to measure on; the model and its adapter's start."""

    kind: str
    warm: tuple[Group, ...]
    train: tuple[Group, ...]
    holdout: tuple[Group, ...]
    model_folder: str
    start: str

    def save(self, path: Path) -> Path:
        """Write the case for other processes."""
        path.write_text(json.dumps(asdict(self)), encoding="utf-8")
        return path

    @classmethod
    def load(cls, path: Path) -> Case:
        """Read what `save` wrote."""
        fields = json.loads(path.read_text(encoding="utf-8"))
        return cls(**fields | {name: _groups(fields[name]) for name in ("warm", "train", "holdout")})

    def describe(self) -> dict[str, int]:
        """Count what is trained on: `computed_tokens` by us, prefixes once a step, `padded_tokens` by TRL."""
        rows = [row for group in self.train for row in group]
        ordered = in_order(self, self.train)
        steps = [ordered[at : at + STEP_ROWS] for at in range(0, len(ordered), STEP_ROWS)]
        packing = Packing(forest_tokens=make_settings(self.kind).batch.forest_tokens, share_prefix=True)
        padded = sum(
            max(len(row.ids) for group in step for row in group) * sum(map(len, step)) for step in steps
        )
        return {
            "rows": len(self.train),
            "steps": len(steps),
            "tokens": sum(len(row.ids) for row in rows),
            "computed_tokens": sum(
                drop_unread(batch.forest)[0].num_tokens for step in steps for batch in packing.batches(step)
            ),
            "padded_tokens": padded,
            "scored_tokens": sum(weight > 0 for row in rows for weight in row.weights),
        }


def make_job(case: Case, rows: Sequence[Group], out_dir: Path, **changes: Any) -> TrainJob:
    """Return the job that trains on rows once, every setting as TRL has it too.

    Args:
        case: whose model it is.
        rows: what is trained on.
        out_dir: for what the stage leaves.
        **changes: of the job's fields; `settings` and `holdout` among them.
    """
    fields = {"settings": make_settings(case.kind), "holdout": ()} | changes
    return TrainJob(
        kind=case.kind,
        model_folder=Path(case.model_folder),
        train=rows,
        out_dir=out_dir,
        seed=SEED,
        context=CONTEXT,
        checkpoint_s=float("inf"),
        **fields,
    )


def make_settings(kind: str, **changes: Any) -> TrainSettings:
    """Return a stage's settings: LoRA of rank 16, a constant rate, one pass."""
    fields: dict[str, Any] = {
        "data": ({"path": "rows"},),
        "method": "lora",
        "adapter": ADAPTER,
        "optimizer": OptimizerSettings(lr=2e-4),
        "schedule": ScheduleSettings(name="constant", warmup_share=0.0),
        "batch": BatchSettings(rows=STEP_ROWS),
        "budget": BudgetSettings(epochs=1),
    }
    return SETTINGS[kind](**fields | changes)


class CaseMaker:
    """Makes cases of the embedded model with rows of the demo recipe; quick ones are of the shortest rows."""

    def __init__(self, folder: Path, *, quick: bool = False) -> None:
        self._folder, self._quick = folder, quick
        self._recipe = load_recipe(ROOT / "recipes" / "demo.yaml").recipe
        self._model_folder = fetch(self._recipe.model.name).folder
        prompt = load_profile(self._recipe.language).system_prompt
        self._chat = Chat.load(self._model_folder, system_prompt=prompt)

    def demo(self, kind: str, num_rows: int, num_holdout: int = 0) -> Case:
        """Return a case of the project's rows, drawn evenly from all in the order of their lengths."""
        stage = next(stage for stage in self._recipe.stages if stage.kind == kind)
        settings = stage.training.model_copy(update={"holdout": HoldoutSettings(share=0.0, min_rows=0)})
        rows = prepare_stage(replace(stage, settings=settings), self._recipe, self._chat).train
        return self._case(kind, rows, num_rows, num_holdout)

    def squad(self, num_rows: int) -> Case:
        """Return a case of real text: a paragraph with a question about it, and the answer."""
        rows = []
        for line in SQUAD.read_text(encoding="utf-8").splitlines():
            paragraph = json.loads(line)
            if not paragraph["questions"]:
                continue
            question = paragraph["questions"][0]
            asked = Message(role="user", content=f"{paragraph['text']}\n\n{question['question']}")
            answer = Message(role="assistant", content=question["answers"][0])
            origin = Origin(path=SQUAD.name, line=len(rows) + 1)
            talk = Conversation(messages=(asked, answer), row_id=content_id(question), origin=origin)
            rows.append(self._chat.conversation(talk))
        return self._case("sft", [group for group in rows if len(group[0].ids) <= CONTEXT], num_rows, 0)

    def _case(self, kind: str, rows: Sequence[Group], num_rows: int, num_holdout: int) -> Case:
        by_length = sorted(rows, key=lambda group: (count_tokens(group), group[0].row_id))
        warm, rest = by_length[:STEP_ROWS], by_length[STEP_ROWS:]  # the shortest warm up
        num = num_rows + num_holdout
        if num > len(rest):
            raise SystemExit(f"{kind}: {num} rows are needed and there are {len(rest)}; ask for fewer")
        chosen = rest[:num] if self._quick else [rest[at * len(rest) // num] for at in range(num)]
        chosen.sort(key=lambda group: content_id([SEED, group[0].row_id]))
        start = self._folder / f"start-{kind}"
        case = Case(
            kind=kind,
            warm=tuple(warm),
            train=tuple(chosen[num_holdout:]),
            holdout=tuple(chosen[:num_holdout]),
            model_folder=str(self._model_folder),
            start=str(start),
        )
        if not start.exists():
            save_trained(
                load_trainable(
                    self._model_folder, method="lora", settings=ADAPTER, precision="fp32", seed=SEED
                ),
                start,
            )
        return case


def in_order(case: Case, rows: Sequence[Group]) -> list[Group]:
    """Return rows in the order in which the job of `make_job` trains on them."""
    order = plan_order(make_settings(case.kind), rows, kind=case.kind, seed=SEED)
    return [rows[index] for step in order.steps for index in step]


def _groups(value: Any) -> tuple[Group, ...]:
    return tuple(
        tuple(TokenRow(**row | {"ids": tuple(row["ids"]), "weights": tuple(row["weights"])}) for row in group)
        for group in value
    )
