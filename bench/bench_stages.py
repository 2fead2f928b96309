"""The demo's training stages now and with the engine before -> bench/results/stages.json.

Both in processes of their own, alternating: `adatta run` of the demo's recipe without what follows training.
Compared are the seconds in the stages' records: loading, training, merging and the proof of the merge.
"""

from __future__ import annotations

import json
import os
import re
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from bench.machine import describe_machine  # noqa: E402
from bench.rounds import in_turn, make_parser, read_options, write_result  # noqa: E402

# The last commit of the engine before: every model through transformers' own modules, no fused blocks.
BEFORE = "d522000"
STAGES = ("adapt", "sft", "dpo")
GOAL = 1.2
TIMEOUT_S = 3600
RUN = "import sys; from adatta.cli.main import main; sys.exit(main())"

Stages = dict[str, dict[str, Any]]


def main() -> None:
    """Measure and write bench/results/stages.json."""
    options = read_options(make_parser(__doc__, quick="one round, two steps a stage"))
    rounds: list[dict[str, Stages]] = []
    with tempfile.TemporaryDirectory() as folder, check_out(BEFORE, Path(folder) / "before") as before:
        recipe = write_recipe(Path(folder) / "stages.yaml", quick=options.quick)
        for number in range(options.rounds):
            trees = {"now": ROOT, "before": before}
            told = {}
            for name in in_turn(trees, number):
                told[name] = run_stages(trees[name], recipe, options.threads)
                shown = {
                    stage: f"{each['time_s']:.0f} s, loss {each['loss']:.4f}"
                    for stage, each in told[name].items()
                }
                print(f"round {number + 1} {name}: {shown}", flush=True)
            rounds.append({name: told[name] for name in trees})
    result = {
        **{stage: ratio(rounds, (stage,)) for stage in STAGES},
        "together": ratio(rounds, STAGES),
        "goal": GOAL,
        "before": BEFORE,
        "machine": describe_machine(options.threads),
        "quick": options.quick,
        "rounds": rounds,
    }
    write_result("stages", result)
    print({name: result[name] for name in (*STAGES, "together")}, f"goal {GOAL}")


def run_stages(tree: Path, recipe: Path, threads: int) -> Stages:
    """Run the recipe with a tree's sources in a new home, and return what its records say of each stage."""
    with tempfile.TemporaryDirectory() as home:
        environment = os.environ | {
            "PYTHONPATH": str(tree / "src"),
            "ADATTA_HOME": home,
            "HF_HUB_OFFLINE": "1",
            "OMP_NUM_THREADS": str(threads),
        }
        command = [sys.executable, "-c", RUN, "run", str(recipe)]
        done = subprocess.run(
            command, env=environment, cwd=ROOT, capture_output=True, text=True, timeout=TIMEOUT_S, check=False
        )
        if done.returncode:
            sys.exit(f"adatta run of {tree} ended with {done.returncode}:\n{done.stderr[-3000:]}")
        records = [json.loads(path.read_text()) for path in sorted(Path(home).glob("runs/*/0*/record.json"))]
    return {
        stage: {
            "time_s": record["time_s"],
            "loss": record["results"]["last_loss"],
            "engine": record["results"]["engine"],
        }
        for stage, record in zip(STAGES, records, strict=True)
    }


def ratio(rounds: list[dict[str, Stages]], stages: tuple[str, ...]) -> float:
    """Return how many times as fast some stages together are now, the median over the rounds."""

    def seconds(told: Stages) -> float:
        return sum(told[stage]["time_s"] for stage in stages)

    return round(statistics.median(seconds(each["before"]) / seconds(each["now"]) for each in rounds), 2)


def write_recipe(path: Path, *, quick: bool) -> Path:
    """Write the demo's recipe up to its last training stage; a quick one makes two steps of each.

    The SFT term of DPO is left out, which the commit before doesn't know.
    """
    text, found, _ = (ROOT / "recipes" / "demo.yaml").read_text(encoding="utf-8").partition("  - evaluate:")
    if not found:
        sys.exit("recipes/demo.yaml has no evaluate stage behind which to cut it")
    text = re.sub(r" *sft_weight: .*\n", "", text)
    path.write_text(
        re.sub(r"budget: \{.*\}", "budget: {steps: 2}", text) if quick else text, encoding="utf-8"
    )
    return path


@contextmanager
def check_out(commit: str, folder: Path) -> Iterator[Path]:
    """Have the sources of a commit in a folder, while inside."""
    git = ["git", "-C", str(ROOT), "worktree"]
    subprocess.run([*git, "add", "--quiet", "--detach", str(folder), commit], check=True)
    try:
        yield folder
    finally:
        subprocess.run([*git, "remove", "--force", str(folder)], check=True)


if __name__ == "__main__":
    main()
