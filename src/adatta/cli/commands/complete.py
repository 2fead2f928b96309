"""`adatta complete`: continue a text as it is, without a chat template."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Annotated

from typer import Argument, Option

from adatta.cli.options import ModelName, take_options
from adatta.core.errors import Problem, RowError, UserError
from adatta.pipeline.loaded import LoadedModel
from adatta.pipeline.texts import read_texts


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """Arguments and options of the command."""

    model: ModelName
    prompt: Annotated[str | None, Argument(help="A text; without, --file or the input is read.")] = None
    file: Annotated[Path | None, Option(help="Continue the text in this file.")] = None
    jsonl: Annotated[bool, Option("--jsonl", help='Read {"prompt": "..."} lines, write JSON lines.')] = False
    n: Annotated[int, Option("--n", min=1, help="Number of continuations of each prompt.")] = 1
    max_new_tokens: Annotated[int, Option(min=1, help="Longest continuation, in tokens.")] = 256
    temperature: Annotated[float, Option(min=0.0, help="0 takes the most likely token.")] = 0.0
    engine: Annotated[str | None, Option(help="llamacpp, transformers or vllm.")] = None
    seed: Annotated[int, Option(help="Of the first continuation; each later one takes the next.")] = 0


def continue_texts(options: Options) -> None:
    """Continue a text, raw: no template, no system prompt; what follows appears as it is made."""
    if options.prompt is not None and options.file:
        raise UserError("a prompt and --file were given; expected one of them")
    if options.n > 1 and not options.temperature:
        raise UserError(f"--n {options.n} gives the same text each time; add --temperature, such as 0.8")
    prompts = [options.prompt or ""]
    if options.prompt is None:
        column = "prompt" if options.jsonl else "text"
        found = read_texts(options.file, column, jsonl=options.jsonl)[0]
        if options.jsonl and (empty := [place for place, text in found.items() if not text]):
            raise RowError([Problem(where=place, what="an empty prompt; fill it in") for place in empty])
        prompts = list(found.values()) if options.jsonl else ["\n".join(found.values())]
    limit, temperature = options.max_new_tokens, options.temperature
    with LoadedModel(options.model, engine=options.engine) as model:
        complete = partial(model.complete, max_new_tokens=limit, temperature=temperature)
        for prompt in prompts:
            if options.jsonl:
                made = complete(prompt, n=options.n, seed=options.seed)
                line = {"prompt": prompt, "completions": [each._asdict() for each in made]}
                print(json.dumps(line, ensure_ascii=False), flush=True)
                continue
            for seed in range(options.seed, options.seed + options.n):
                print(f"--- seed {seed}\n" * (options.n > 1), end="")
                complete(prompt, seed=seed, show=partial(print, end="", flush=True))
                print()


COMMAND = take_options(Options, continue_texts)
