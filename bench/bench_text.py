"""Adapting to real text alone -> bench/results/text.json: the first 800 paragraphs, measured on the others.

`recipes/text.yaml` on SQuAD-it (machine translated; both parts come from the same articles), one epoch;
measured on the last 203 paragraphs, on what nobody here wrote or translated, the questions of ITALIC, and on
our own Italian and English texts.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "scripts")]

from outside_texts import SOURCES, native_texts, read_rows, write  # noqa: E402

from bench.machine import describe_machine  # noqa: E402

TRAINED = 800
GOAL = -25.0


def main() -> None:
    """Run the recipe and write its figures, changes of bits per byte in per cent of the base."""
    if not SOURCES.is_dir():
        sys.exit(f"nothing to adapt to: there is no {SOURCES}")
    paragraphs = [row["text"] for row in read_rows("squad_it.jsonl")]
    train = write("squad-train", paragraphs[:TRAINED])
    own = ROOT / "data" / "evaluation" / "test"
    texts = {
        "same_articles": {"path": str(write("squad-same_articles", paragraphs[TRAINED:]))},
        "native": {"path": str(write("squad-native", native_texts()))},
        "own": {"path": str(own / "text_it.jsonl")},
        "english": {"path": str(own / "text_en.jsonl"), "language": "en"},
    }
    sets = {
        "name": "squad",
        "precision": "fp32",
        "on_overlap": "report",  # paragraphs of one article may share a sentence
        "stages.adapt.data.0.path": str(train),
        "stages.evaluate.suites": "[]",
        "stages.evaluate.texts": json.dumps(texts),
    }
    command = [str(Path(sys.executable).with_name("adatta")), "run", "recipes/text.yaml"]
    command += [part for name, value in sets.items() for part in ("--set", f"{name}={value}")]
    if (code := subprocess.run(command, cwd=ROOT, check=False).returncode) not in (0, 3):  # 3: its export
        sys.exit(code)
    report = json.loads((ROOT / "runs" / "squad" / "report.json").read_text(encoding="utf-8"))
    figures = {}
    for entry in report["metrics"]:
        if entry["metric"] == "bits_per_byte":
            scale = 100 / entry["base"]["value"]
            figures[entry["task"]] = {
                "n": entry["n"],
                "base": entry["base"]["value"],
                "adapted": entry["adapted"]["value"],
                "change": scale * entry["difference"]["value"],
                "ci95": [scale * end for end in entry["difference"]["ci95"]],
            }
    result = {"goal": GOAL, "figures": figures, "cost": report["cost"], "machine": describe_machine(2)}
    path = ROOT / "bench" / "results" / "text.json"
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    print(json.dumps(figures, indent=1))


if __name__ == "__main__":
    main()
