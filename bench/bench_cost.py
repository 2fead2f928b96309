"""What full, LoRA and QLoRA training cost on the same 20 steps, and reach -> bench/results/cost.json.

Each runs in a process of its own, in alternating rounds. Held-out loss is measured after every step of the
first round, outside the time; `loss_at_equal_time` is that after the last step which a method has ended when
the fastest one is through all its steps.
"""

from __future__ import annotations

import statistics
import sys
import tempfile
from itertools import accumulate
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from adatta.model.files import read_config  # noqa: E402
from adatta.model.memory import ModelShape  # noqa: E402
from bench.apart import run_apart  # noqa: E402
from bench.cases import ADAPTER, CaseMaker  # noqa: E402
from bench.machine import describe_machine  # noqa: E402
from bench.rounds import in_turn, make_parser, read_options, write_result  # noqa: E402

# Of adapters the demo's, of all weights the default of transformers' trainer; neither is tuned to this case.
RATES = {"full": 5e-5, "lora": 2e-3, "qlora": 2e-3}
STEPS, ROWS, HOLDOUT = 20, 40, 8
QUICK = (2, 4, 2)

Runs = dict[str, dict[str, Any]]


def main() -> None:
    """Measure and write bench/results/cost.json."""
    options = read_options(make_parser(__doc__, quick="one round of two steps"))
    steps, rows, holdout = QUICK if options.quick else (STEPS, ROWS, HOLDOUT)
    with tempfile.TemporaryDirectory() as folder:
        case = CaseMaker(Path(folder), quick=options.quick).demo("sft", rows, holdout)
        spec = {"who": "method", "steps": steps, "threads": options.threads}
        spec["case"] = str(case.save(Path(folder) / "case.json"))
        rounds = [run_round(spec, number) for number in range(options.rounds)]
        shape = ModelShape.of(read_config(Path(case.model_folder)))
    share = shape.adapter_parameters(ADAPTER) / shape.parameters
    equal = losses_at_equal_time(rounds[0])
    result = {
        "methods": {
            name: {
                "trainable_share": 1.0 if name == "full" else round(share, 4),
                "lr": rate,
                "base": rounds[0][name]["base"],
                "engine": rounds[0][name]["engine"],
                "peak_gb": round(statistics.median(runs[name]["peak_bytes"] for runs in rounds) / 1e9, 2),
                "tokens_per_s": round(statistics.median(_rate(runs[name]) for runs in rounds), 1),
                "loss_before": rounds[0][name]["holdout"][0],
                "loss_after": rounds[0][name]["holdout"][-1],
                **equal[name],
            }
            for name, rate in RATES.items()
        },
        "steps": steps,
        "holdout_rows": holdout,
        "machine": describe_machine(options.threads),
        "quick": options.quick,
        "rounds": rounds,
    }
    write_result("cost", result)
    print_table(result["methods"])


def run_round(spec: dict[str, Any], number: int) -> Runs:
    """Run each method once; every second round the other way about."""
    runs = {}
    for name in in_turn(RATES, number):
        chosen = {"method": name, "lr": RATES[name], "curve": number == 0}
        runs[name] = run_apart("train_once.py", {**spec, **chosen})
        print(
            f"round {number + 1} {name}: {_rate(runs[name]):.1f} tokens/s, "
            f"{runs[name]['peak_bytes'] / 1e9:.2f} GB, last loss {runs[name]['losses'][-1]:.4f}",
            flush=True,
        )
    return {name: runs[name] for name in RATES}


def losses_at_equal_time(runs: Runs) -> dict[str, dict[str, float]]:
    """Return each method's held-out loss when the fastest one is done, and after how many steps that is."""
    end = min(sum(run["step_s"]) for run in runs.values())
    found = {}
    for name, run in runs.items():
        done = sum(spent <= end * (1 + 1e-9) for spent in accumulate(run["step_s"]))
        found[name] = {"loss_at_equal_time": run["holdout"][done], "steps_at_equal_time": done}
    return found


def print_table(methods: dict[str, dict[str, Any]]) -> None:
    """Print the figures as a table in Markdown."""
    names = [name for name in next(iter(methods.values())) if name not in ("base", "engine")]
    print(f"| method | {' | '.join(name.replace('_', ' ') for name in names)} |")
    print("|---" * (len(names) + 1) + "|")
    for method, row in methods.items():
        print(f"| {method} ({row['base']}) | {' | '.join(f'{row[name]:.4g}' for name in names)} |")


def _rate(run: dict[str, Any]) -> float:
    return run["tokens"] / sum(run["step_s"])


if __name__ == "__main__":
    main()
