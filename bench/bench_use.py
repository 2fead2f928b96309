"""A model in use: how fast it classifies and answers, against the usual ways -> bench/results/use.json.

Each key is measured by a function of its own and written at once; those that aren't asked for stay as they
were. A key with faults ends the program with 1.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from bench.machine import describe_machine  # noqa: E402
from bench.use_classify import MODEL, measure_speed  # noqa: E402
from bench.use_decode import measure_decoding  # noqa: E402

MEASURES = {
    "classify": lambda options: {"classify": measure_speed(options)},
    "decode": lambda options: measure_decoding(options.model, options.threads),
}
FAULTS = ("different_without_tie",)  # counts of a measure that must be 0


def main() -> None:
    """Measure what is asked for and write the figures."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--keys", nargs="*", default=tuple(MEASURES), choices=tuple(MEASURES))
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--limit", type=int, help="most texts of a kind")
    parser.add_argument("--model", default=MODEL)
    options = parser.parse_args()
    path = ROOT / "bench" / "results" / "use.json"
    path.parent.mkdir(exist_ok=True)
    result = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    result["machine"] = describe_machine(options.threads)
    faults = []
    for key in options.keys:
        result |= (found := MEASURES[key](options))
        told = found[key]
        faults += [f"{key}: {name} is {told[name]}" for name in FAULTS if told.get(name)]
        print(json.dumps(found), flush=True)
        path.write_text(json.dumps(result, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    for fault in faults:
        print(fault)
    sys.exit(bool(faults))


if __name__ == "__main__":
    main()
