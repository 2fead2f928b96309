"""Write how long the demo took: runs/demo and the steps of .ci/run -> bench/results/demo.json."""

from __future__ import annotations

import json
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


def main() -> None:
    """Read the demo's records and, where it is named, the file with a step and its seconds a line."""
    run = ROOT / "runs" / "demo"
    stages = {}
    for stage in json.loads((run / "current.json").read_text(encoding="utf-8"))["stages"]:
        record = json.loads((run / stage["folder"] / "record.json").read_text(encoding="utf-8"))
        speeds = {key: value for key, value in record["results"].items() if key.endswith("_per_s")}
        peak = round(record["peak_memory_bytes"] / 2**30, 2)
        stages[stage["name"]] = {"seconds": record["time_s"], "peak_memory_gib": peak, **speeds}
    result = {"machine": record["runtime"], "stages": stages}
    if len(sys.argv) > 1:
        lines = Path(sys.argv[1]).read_text(encoding="utf-8").splitlines()
        result["steps_s"] = {step: int(seconds) for step, seconds in (line.split("\t") for line in lines)}
        result["total_s"] = sum(result["steps_s"].values())
    text = json.dumps(result, indent=2) + "\n"
    path = ROOT / "bench" / "results" / "demo.json"
    path.parent.mkdir(exist_ok=True)
    path.write_text(text, encoding="utf-8")
    print(text)


if __name__ == "__main__":
    main()
