"""What the demo's recipe reaches: three seeds, and TRL in the same time -> bench/results/results.json.

Each seed is `adatta run recipes/demo.yaml` with its own name, measured on the suite `offline` and, where they
are, on the texts from outside; of the later seeds the stages in between aren't measured. Preferences that
fail by being unsafe, biased or wrong are faced with the better of the two rules.
TRL gets the same rows, ids and masks in the same order of stages and the time of training of the first seed,
padded, with its defaults, our methods and learning rates.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))
os.environ.setdefault("HF_HUB_OFFLINE", "1")

from bench.machine import describe_machine  # noqa: E402

SEEDS = (42, 43, 44)
WEIGHED = ("unsafe", "biased", "wrong_fact")
RULES = ("control-longer", "control-language")
FEWER = "stages.evaluate.models=[base, dpo]"


def main() -> None:
    """Run the seeds and TRL, write the results and print them."""
    options = _read_options()
    result: dict[str, Any] = {"machine": describe_machine(options.threads), "seeds": {}}
    for seed in options.seeds:
        folder = run_seed(seed)
        result["seeds"][str(seed)] = {**read_figures(folder), "weighed": face_rules(folder)}
        if options.trl and seed == options.seeds[0]:
            from bench.equal_time import train_and_compare

            result["trl"] = train_and_compare(folder, list_overrides(seed))
            print(json.dumps(result["trl"], indent=1), flush=True)
    for line in table(result["seeds"]):
        print(line)
    path = ROOT / "bench" / "results" / "results.json"
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(result, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def read_texts() -> list[str]:
    """Return the option that has texts from outside measured; empty where there are none."""
    script = [sys.executable, str(ROOT / "scripts" / "outside_texts.py")]
    return subprocess.run(script, cwd=ROOT, capture_output=True, text=True, check=True).stdout.split()


def run_seed(seed: int) -> Path:
    """Run the demo with a seed, or read what was run, and return the run's folder."""
    command = [str(Path(sys.executable).with_name("adatta")), "run", "recipes/demo.yaml"]
    subprocess.run([*command, *(f"--set={each}" for each in list_overrides(seed))], cwd=ROOT, check=True)
    return ROOT / "runs" / name_run(seed)


def list_overrides(seed: int) -> list[str]:
    """Return the settings of a seed's run."""
    texts = [text.removeprefix("--set=") for text in read_texts()]
    fewer = [] if seed == SEEDS[0] else [FEWER]
    return [*texts, f"name={name_run(seed)}", f"seed={seed}", *fewer]


def name_run(seed: int) -> str:
    """Return the name of a seed's run."""
    return "demo" if seed == SEEDS[0] else f"demo-{seed}"


def read_figures(folder: Path) -> dict[str, Any]:
    """Return base, adapted and paired difference of every metric of a run's report, and its seconds."""
    report = json.loads((folder / "report.json").read_text(encoding="utf-8"))
    figures = {
        f"{entry['task']} {entry['metric']}": {
            key: entry[key] for key in ("n", "unit", "base", "adapted", "difference")
        }
        for entry in report["metrics"]
    }
    return {"figures": figures, "time_s": report["cost"]["time_s"]}


def face_rules(folder: Path) -> dict[str, Any]:
    """Compare the adapted model with the better rule on pairs that are unsafe, biased or wrong."""
    from adatta.evals.scores import read_scores
    from adatta.evals.statistics import paired_difference

    chain = json.loads((folder / "current.json").read_text(encoding="utf-8"))["stages"]
    (evaluation,) = (stage["folder"] for stage in chain if stage["name"] == "evaluate")
    last = [stage["name"] for stage in chain if stage["name"].split("-")[0] in ("sft", "dpo", "adapt")][-1]
    scores: dict[str, dict[str, float]] = {}
    for row in read_scores(folder / evaluation / "scores.parquet"):
        is_scored = (row.task, row.metric, row.status) == ("preferences_it", "accuracy", "scored")
        if is_scored and row.group in WEIGHED:
            scores.setdefault(row.stage, {})[row.item_id] = float(row.score)
    items = sorted(set.intersection(*map(set, scores.values())))
    rule = max(RULES, key=lambda name: sum(scores[name][item] for item in items))
    before, after = ([scores[name][item] for item in items] for name in (rule, last))
    found = paired_difference(before, after)
    accuracy = {
        name: round(sum(each[item] for item in items) / len(items), 3) for name, each in scores.items()
    }
    return {
        "n": len(items),
        "rule": rule,
        "accuracy": accuracy,
        "difference": found.value,
        "ci95": found.interval,
    }


def table(seeds: dict[str, Any]) -> list[str]:
    """Write the seeds side by side as Markdown: the adapted model, and its paired difference to the base."""
    names = list(next(iter(seeds.values()))["figures"])
    head = " | ".join(f"seed {seed}" for seed in seeds)
    lines = [f"| figure | n | base | {head} |", f"|---|--:|---|{'---|' * len(seeds)}"]
    for name in names:
        entries = [each["figures"][name] for each in seeds.values()]
        cells = [_cell(entry) for entry in entries]
        lines.append(
            f"| {name} | {entries[0]['n']} | {entries[0]['base']['value']:.3f} | {' | '.join(cells)} |"
        )
    weighed = [each["weighed"] for each in seeds.values()]
    cells = [f"{each['difference']:+.2f} {_interval(each['ci95'])}" for each in weighed]
    lines.append(
        f"| unsafe, biased, wrong: minus {weighed[0]['rule']} | {weighed[0]['n']} | | {' | '.join(cells)} |"
    )
    return lines


def _cell(entry: dict[str, Any]) -> str:
    """Write the adapted model's value and the difference to the base, of bits per byte in per cent of it."""
    is_relative = entry["unit"] == "bits/byte"
    scale = 100 / entry["base"]["value"] if is_relative else 1.0
    change = f"{scale * entry['difference']['value']:+.2f}{'%' * is_relative}"
    return f"{entry['adapted']['value']:.3f} ({change} {_interval(entry['difference']['ci95'], scale)})"


def _interval(ends: Sequence[float] | None, scale: float = 1.0) -> str:
    return f"[{scale * ends[0]:+.2f}, {scale * ends[1]:+.2f}]" if ends else "(no interval)"


def _read_options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, nargs="*", default=list(SEEDS))
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--no-trl", dest="trl", action="store_false")
    return parser.parse_args()


if __name__ == "__main__":
    main()
