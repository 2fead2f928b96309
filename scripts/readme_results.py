"""Put a run's results into README: the table between its two marks, and the report's pictures beside it.

Run after `make demo`: every figure of the table stands in runs/demo/report.json, none is typed.
"""

from __future__ import annotations

import json
import re
import shutil
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
PICTURES = ROOT / "docs" / "pictures"
SHOWN = {  # task and metric: how README calls it
    ("native", "bits_per_byte"): "native Italian text from outside, bits per byte",
    ("encyclopaedic", "bits_per_byte"): "encyclopaedic text from outside (machine translated), bits per byte",
    ("text_it", "bits_per_byte"): "own Italian text, bits per byte",
    ("text_en", "bits_per_byte"): "own English text, bits per byte",
    ("pairs_it", "accuracy"): "Italian minimal pairs, accuracy",
    ("questions_it", "accuracy"): "Italian questions, accuracy",
    ("questions_en", "accuracy"): "English questions, accuracy",
    ("preferences_it", "accuracy"): "held-out preferences, accuracy",
    ("prompts_it", "language_fidelity"): "answers in Italian",
    ("prompts_it", "stop_share"): "answers that end by themselves",
}
DRAWN = [("native", "bits_per_byte"), ("text_en", "bits_per_byte"), ("prompts_it", "language_fidelity")]
TABLE = re.compile(r"(?<=<!-- results -->\n).*?(?=<!-- end of results -->)", re.DOTALL)


def main() -> None:
    """Write the table and copy the pictures of a run, by default runs/demo."""
    run = ROOT / "runs" / (sys.argv[1] if len(sys.argv) > 1 else "demo")
    report = json.loads((run / "report.json").read_text(encoding="utf-8"))
    readme = ROOT / "README.md"
    text = readme.read_text(encoding="utf-8")
    if not TABLE.search(text):
        sys.exit("README.md has no marks to put the results between")
    (figures,) = run.glob(f"*-report-{report_mark(run)}/figures")
    names = [f"forest-{task}-{metric}.svg".replace("_", "-") for task, metric in DRAWN]
    if missing := [name for name in names if not (figures / name).exists()]:
        sys.exit(f"{figures} has no {', '.join(missing)}; README shows text from outside, too")
    PICTURES.mkdir(exist_ok=True)
    for name in names:
        shutil.copy(figures / name, PICTURES / name)
    readme.write_text(TABLE.sub(lambda _: "\n".join(table(report)) + "\n", text), encoding="utf-8")


def report_mark(run: Path) -> str:
    """Return the fingerprint of the run's newest report."""
    stages = json.loads((run / "current.json").read_text(encoding="utf-8"))["stages"]
    return str(stages[-1]["folder"]).rpartition("-")[2]


def table(report: dict[str, Any]) -> list[str]:
    """Write the shown figures as Markdown: each model, and the last one minus the base, paired."""
    entries = {(entry["task"], entry["metric"]): entry for entry in report["metrics"]}
    stages = [name for name in report["expected"]["evaluated"] if name != "base"]
    head = " | ".join(f"+{name}" for name in stages)
    lines = [
        f"| figure | n | base | {head} | difference, paired |",
        f"|---|--:|--:|{'--:|' * len(stages)}---|",
    ]
    for key in (key for key in SHOWN if key in entries):
        entry = entries[key]
        values = [entry["base"], *(entry["stages"][name] for name in stages)]
        is_relative = entry["unit"] == "bits/byte"
        cells = " | ".join(
            f"{each['value']:.3f}" if is_relative else f"{each['value']:.2f}" for each in values
        )
        lines.append(f"| {SHOWN[key]} | {entry['n']} | {cells} | {difference(entry, is_relative)} |")
    return lines


def difference(entry: dict[str, Any], is_relative: bool) -> str:
    """Write the difference with its interval, of bits per byte in per cent of the base."""
    scale, decimals = (100 / entry["base"]["value"], 1) if is_relative else (1.0, 2)
    value, *ends = (
        f"{scale * number:+.{decimals}f}"
        for number in (entry["difference"]["value"], *entry["difference"]["ci95"])
    )
    return f"{value}{'%' * is_relative} [{', '.join(ends)}]"


if __name__ == "__main__":
    main()
