"""Training against TRL, SFT and DPO, in alternating rounds -> bench/results/train.json.

Every run is a process of its own (bench/train_once.py): the same ids, order, adapter start, threads and
precision on both sides. Ratios are ours over theirs in scored tokens or pairs a second, the median over the
rounds, for engine `fused`; `forest` has the same figures under its own name. Where losses that must be equal
differ, the program ends. `--quick` makes one round of few short rows, to see that all works; `--profile`
prints what a step spends its time on.
"""

from __future__ import annotations

import argparse
import json
import math
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from adatta.model.files import read_config  # noqa: E402
from adatta.model.memory import ModelShape  # noqa: E402
from adatta.model.precision import measure_products  # noqa: E402
from bench.apart import run_apart  # noqa: E402
from bench.cases import ADAPTER, SQUAD, Case, CaseMaker  # noqa: E402
from bench.machine import count_flop, describe_machine, measure_best_product  # noqa: E402
from bench.profile_step import profile_cases  # noqa: E402
from bench.rounds import RESULTS, in_turn, make_parser, read_options, write_result  # noqa: E402

SFT_ROWS, DPO_ROWS, SQUAD_ROWS = 24, 16, 16  # about 6,900, 5,500 and 7,000 tokens: a round takes ten minutes
QUICK_ROWS = 8, 8, 4
PROFILE_ROWS = 4
EQUAL = 1e-4  # nats: largest difference of a step's loss in fp32
FAST_BF16 = 1.5  # bf16 is measured where its products are so many times as fast
PEERS = ("trl", "torch", "transformers", "peft", "accelerate")

OURS = {name: {"who": "ours", "engine": name} for name in ("fused", "forest")}
PADDED = {"padded": {"who": "trl"}}
PACKED = {"packed": {"who": "trl", "packing": True}}
NO_METRICS = {"packed_no_metrics": {"who": "trl", "packing": True, "metrics": False}}
PAIRS = {"each_step": {"who": "trl"}, "precomputed": {"who": "trl", "precompute": True}}
FUSED = {"fused": OURS["fused"]}
# Of each part: its case, its precision and what runs; what isn't in EVERY_ROUND runs in the first one only.
PARTS: dict[str, tuple[str, str, dict[str, dict[str, Any]]]] = {
    "sft": ("sft", "fp32", OURS | PADDED | PACKED | NO_METRICS),
    "dpo": ("dpo", "fp32", OURS | PAIRS),
    "squad": ("squad", "fp32", FUSED | PADDED | PACKED | NO_METRICS),
    "sft_bf16": ("sft", "bf16", FUSED | PADDED | PACKED | NO_METRICS),
    "dpo_bf16": ("dpo", "bf16", FUSED | PAIRS),
}
EVERY_ROUND = ("sft", "dpo")
ROUNDS_FILE = RESULTS / "train.rounds.json"

Round = dict[str, dict[str, dict[str, Any]]]  # results by part and variant


def main() -> None:
    """Measure and write bench/results/train.json."""
    options = _read_options()
    torch.set_num_threads(options.threads)
    with tempfile.TemporaryDirectory() as folder:
        maker = CaseMaker(Path(folder), quick=options.quick)
        sft, dpo, squad = QUICK_ROWS if options.quick else (SFT_ROWS, DPO_ROWS, SQUAD_ROWS)
        if options.profile:
            profile_cases({kind: maker.demo(kind, PROFILE_ROWS) for kind in ("sft", "dpo", "adapt")})
            return
        cases = {"sft": maker.demo("sft", sft), "dpo": maker.demo("dpo", dpo)}
        if SQUAD.exists():
            cases["squad"] = maker.squad(squad)
        else:
            print(f"real text is left out: {SQUAD.name} isn't beside the repository", flush=True)
        result = measure(cases, Path(folder), options)
    write_result("train", result)
    shown = {key: result[key] for key in ("sft", "dpo", "bf16", "memory", "roofline")}
    print(json.dumps(shown, indent=1))


def measure(cases: dict[str, Case], folder: Path, options: argparse.Namespace) -> dict[str, Any]:
    """Run all rounds and return what they show."""
    shape = ModelShape.of(read_config(Path(cases["sft"].model_folder)))
    seconds = measure_products()
    bf16_gain = seconds["fp32"] / seconds["bf16"]
    parts = [
        name
        for name, (case, precision, _) in PARTS.items()
        if case in cases and (precision == "fp32" or bf16_gain >= FAST_BF16)
    ]
    paths = {name: case.save(folder / f"{name}.json") for name, case in cases.items()}
    rounds: list[Round] = json.loads(ROUNDS_FILE.read_text(encoding="utf-8")) if options.resume else []
    products = [measure_best_product(shape)]
    num_before, began = len(rounds), time.monotonic()
    while len(rounds) < options.rounds and _has_time(began, len(rounds) - num_before, options.minutes):
        products.append(measure_best_product(shape))
        chosen = [name for name in parts if not rounds or name in EVERY_ROUND]
        rounds.append(run_round(chosen, paths, len(rounds), options.threads))
        if not options.quick:
            ROUNDS_FILE.parent.mkdir(exist_ok=True)
            ROUNDS_FILE.write_text(json.dumps(rounds), encoding="utf-8")
    counts = {name: case.describe() for name, case in cases.items()}
    return {
        **compute_ratios(rounds),
        "bf16": compute_bf16(rounds[0], bf16_gain),
        "memory": {
            "sft_ratio": _median(rounds, "sft", lambda runs: _memory(runs, "padded")),
            "dpo_ratio": _median(rounds, "dpo", lambda runs: _memory(runs, "each_step")),
            "sft_ratio_packed": _median(rounds, "sft", lambda runs: _memory(runs, "packed")),
        },
        "roofline": compute_share(rounds, shape, counts, max(products)),
        "peer": {name: version(name) for name in PEERS},
        "machine": describe_machine(options.threads),
        "cases": counts,
        "quick": options.quick,
        "rounds": rounds,
    }


def run_round(parts: list[str], paths: dict[str, Path], number: int, threads: int) -> Round:
    """Run each variant of each part once; every second round the other way about."""
    found: Round = {}
    for part in parts:
        case, precision, variants = PARTS[part]
        runs = {}
        for name in in_turn(variants, number):
            spec = {**variants[name], "case": str(paths[case]), "precision": precision, "threads": threads}
            runs[name] = run_apart("train_once.py", spec)
            shown = " ".join(f"{loss:.6f}" for loss in runs[name]["losses"])
            print(
                f"round {number + 1} {part} {name}: {runs[name]['seconds']:.1f} s, "
                f"{runs[name]['peak_bytes'] / 1e9:.2f} GB, losses {shown}",
                flush=True,
            )
        if precision == "fp32":
            compare_losses(part, runs)
        found[part] = {name: runs[name] for name in variants}
    return found


def compare_losses(part: str, runs: dict[str, dict[str, Any]]) -> None:
    """End where two runs of the same steps have different losses; packed ones share the warm-up only."""
    expected = runs["each_step" if "each_step" in runs else "padded"]
    for name, run in runs.items():
        pairs = [(run["warm_loss"], expected["warm_loss"])]
        if not name.startswith("packed"):
            pairs += zip(run["losses"], expected["losses"], strict=True)
        # TRL logs a loss of DPO rounded to fp32, of SFT as it is; both are far finer than the limit.
        worst = max(abs(ours - theirs) for ours, theirs in pairs)
        if not worst <= EQUAL:
            sys.exit(f"{part} {name}: a loss differs by {worst:.2g} from TRL's, more than {EQUAL}: {pairs}")


def compute_ratios(rounds: list[Round]) -> dict[str, Any]:
    """Return the ratios of both engines against TRL, and of the real text where it was measured."""

    def of(part: str, ours: str) -> dict[str, float]:
        return _ratios(rounds, part, ours)

    found = {"sft": of("sft", "fused"), "dpo": of("dpo", "fused")}
    found["forest"] = {"sft": of("sft", "forest"), "dpo": of("dpo", "forest")}
    if "squad" in rounds[0]:
        found["squad"] = of("squad", "fused")
    return found


def compute_bf16(first: Round, gain: float) -> dict[str, Any]:
    """Return the ratios in bf16, over our own fp32 too, and how far its losses are from those in fp32."""
    if "sft_bf16" not in first:
        reason = f"bf16 products are {gain:.1f} times as fast as fp32 ones, less than {FAST_BF16}"
        return {"measured": False, "reason": reason}
    found: dict[str, Any] = {
        "measured": True,
        "products_gain": round(gain, 2),
        "over_fp32": {},
        "distance": {},
    }
    for part, theirs in (("sft", "padded"), ("dpo", "each_step")):
        narrow, wide = first[f"{part}_bf16"], first[part]
        found[part] = _ratios([first], f"{part}_bf16", "fused")
        found["over_fp32"][part] = round(wide["fused"]["seconds"] / narrow["fused"]["seconds"], 2)
        found["distance"][part] = {
            "ours": _distance(narrow["fused"], wide["fused"]),
            "trl": _distance(narrow[theirs], wide[theirs]),
        }
    found["distance"]["dpo_start"] = abs(first["dpo_bf16"]["fused"]["losses"][0] - math.log(2))
    return found


def compute_share(
    rounds: list[Round], shape: ModelShape, counts: dict[str, dict[str, int]], best: float
) -> dict[str, float]:
    """Return the share of the best measured product that each stage's arithmetic reaches."""
    share = {}
    for kind in ("sft", "dpo"):
        flop = count_flop(
            shape,
            adapter=ADAPTER,
            tokens=counts[kind]["computed_tokens"],
            scored=counts[kind]["scored_tokens"],
            reference=kind == "dpo",
        )
        share[kind] = _median(
            rounds, kind, lambda runs, flop=flop: flop / runs["fused"]["seconds"] / best / 1e9
        )
    return {"share": share["sft"], "dpo_share": share["dpo"], "gflops": round(best, 1)}


def _ratios(rounds: list[Round], part: str, ours: str) -> dict[str, float]:
    if "each_step" in rounds[0][part]:
        return {
            "ratio": _median(rounds, part, lambda runs: _faster(runs, ours, ("each_step",))),
            "ratio_precomputed": _median(rounds, part, lambda runs: _faster(runs, ours, ("precomputed",))),
        }
    packed = ("packed", "packed_no_metrics")
    return {
        "ratio_padded": _median(rounds, part, lambda runs: _faster(runs, ours, ("padded",))),
        "ratio_packed": _median(rounds, part, lambda runs: _faster(runs, ours, ("packed",))),
        "ratio_best": _median(rounds, part, lambda runs: _faster(runs, ours, ("padded", *packed))),
    }


def _faster(runs: dict[str, dict[str, Any]], ours: str, theirs: tuple[str, ...]) -> float:
    """Return how many times as fast we are as the fastest of some; the work is the same, so seconds tell."""
    return min(runs[name]["seconds"] for name in theirs) / runs[ours]["seconds"]


def _memory(runs: dict[str, dict[str, Any]], theirs: str) -> float:
    return runs["fused"]["peak_bytes"] / runs[theirs]["peak_bytes"]


def _distance(narrow: dict[str, Any], wide: dict[str, Any]) -> dict[str, float]:
    apart = [abs(one - other) for one, other in zip(narrow["losses"], wide["losses"], strict=True)]
    return {"max": round(max(apart), 5), "mean": round(statistics.mean(apart), 5)}


def _median(rounds: list[Round], part: str, figure: Callable[[dict[str, dict[str, Any]]], float]) -> float:
    return round(statistics.median(figure(each[part]) for each in rounds if part in each), 3)


def _has_time(began: float, done: int, minutes: float) -> bool:
    """Say whether one more round, as long as those before, ends in time; the first one always begins."""
    spent = time.monotonic() - began
    return not done or spent * (done + 1) / done <= 60 * minutes


def _read_options() -> argparse.Namespace:
    parser = make_parser(__doc__, quick="one round of few short rows")
    parser.add_argument(
        "--resume",
        action="store_true",
        help="go on after the rounds of the last call, which must have had the same machine and options",
    )
    parser.add_argument("--minutes", type=float, default=45, help="begin no round that would end later")
    parser.add_argument(
        "--profile", action="store_true", help="print the largest costs of a step of each kind"
    )
    return read_options(parser)


if __name__ == "__main__":
    main()
