"""A model in use: how fast it classifies and answers, against the usual ways -> bench/results/use.json.

Each key is measured by a function of its own and written at once; those that aren't asked for stay as they
were. A key with faults ends the program with 1.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from bench.machine import describe_machine  # noqa: E402
from bench.use_classify import MODEL, measure_speed  # noqa: E402
from bench.use_decode import measure_decoding  # noqa: E402

FORMATS = ("gguf-f16", "gguf-q8_0", "gguf-q4_0", "gguf-q4_k_m")
MEASURES = {
    "parity": lambda options: {"parity": measure_parity(options.model)},
    "classify": lambda options: {"classify": measure_speed(options)},
    "decode": lambda options: measure_decoding(options.model, options.threads),
}
FAULTS = ("different_without_tie", "not_held")  # of a measure; must be 0 or empty


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


def measure_parity(model: str) -> dict[str, Any]:
    """Export a model and return what the export's own comparison says of its files."""
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "files"
        command = [str(Path(sys.executable).with_name("adatta")), "export", model, "--out", str(out)]
        done = subprocess.run([*command, *(f"--format={each}" for each in FORMATS)], check=False)
        if done.returncode not in (0, 3):  # 3: worse than the limits allow, as the figures say
            sys.exit(f"the export ended with {done.returncode}")
        return json.loads((out / "parity.json").read_text(encoding="utf-8"))


if __name__ == "__main__":
    main()
