"""One side of the evaluation benchmark on one case, in its own process: seconds, peak memory, results."""

from __future__ import annotations

import json
import logging
import sys
import time
from pathlib import Path
from typing import Any

import torch
from lm_eval.models.huggingface import HFLM

from adatta.evals.backend import ForestLM
from adatta.model.load import fetch

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from bench.apart import RESULT  # noqa: E402
from bench.eval_cases import Case, make_case, wrap  # noqa: E402
from bench.rounds import forget_peak, peak_bytes  # noqa: E402

WARM = {"loglikelihood": ("Prima", " dopo"), "generate_until": ("Uno", {"until": [], "max_gen_toks": 2})}


def main() -> None:
    """Do what the specification in a file says and print the result as the last line."""
    spec = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
    logging.disable(logging.WARNING)
    torch.set_num_threads(spec["threads"])
    folder = fetch(spec["model"]).folder
    if spec["side"] == "adatta":
        lm: Any = ForestLM(str(folder), dtype="float32", device="cpu")
    else:
        lm = HFLM(str(folder), dtype="float32", device="cpu", batch_size=spec["batch"])
    for kind, arguments in WARM.items():  # before the clock starts
        getattr(lm, kind)(wrap(kind, [arguments]))
    case = make_case(spec["case"], folder, limit=spec["limit"])
    loaded = forget_peak()
    start = time.perf_counter()
    results = ask(lm, case)
    seconds = time.perf_counter() - start
    result = {
        "seconds": seconds,
        "grown": peak_bytes() - loaded,
        "n": case.num_items,
        "options": case.options,
        "results": results,
        "prompts": [request.args[0] for request in case.requests.get("generate_until", ())],
        "stops": [
            "".join(request.args[1]["until"][:1]) for request in case.requests.get("generate_until", ())
        ],
        "scored": {kind: count_scored(lm, kind, each) for kind, each in case.requests.items()},
    }
    print(RESULT + json.dumps(result))


def ask(lm: Any, case: Case) -> dict[str, list[Any]]:
    """Ask all requests of a case, kind by kind, as the harness does."""
    return {kind: getattr(lm, kind)(requests) for kind, requests in case.requests.items() if requests}


def count_scored(lm: Any, kind: str, requests: list[Any]) -> list[int]:
    """Count the ids that each request scores, or the prompt of an answer has."""
    return [len(lm.tok_encode(request.args[-1 if kind == "loglikelihood" else 0])) for request in requests]


if __name__ == "__main__":
    main()
