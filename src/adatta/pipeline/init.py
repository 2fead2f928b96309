"""Make a folder with a commented recipe and example data, or a recipe for the user's own files."""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass
from pathlib import Path

from adatta.core.artefact import write_atomic
from adatta.core.errors import Problem, RecipeError
from adatta.core.runtime import bundled_dir

EXAMPLES = {"sft": "conversations.jsonl", "preferences": "preferences.jsonl", "text": "text"}

HEAD = """\
# Run me:  adatta run {recipe}      (the same command goes on after an interruption)
# Every name, its default and its meaning: docs/recipe.md
name: {name}                  # results go to runs/{name}
seed: 42
model: {{name: {base}}}
language: it                  # the profile: system prompt, identification
context: 1024                 # longest row in tokens; a longer one is an error, never cut
precision: auto               # fp32 | bf16 | auto (measured once, when the run is made)
stages:                       # any order, any number of times
"""

STAGES = {
    "sft": """\
  - sft:                      # learn from conversations; only the assistant's words are scored
      data: [{{path: {path}}}]
      method: qlora           # qlora | lora | full
      adapter: {{rank: 16, alpha: 8}}
      optimizer: {{lr: 2.0e-4}}
      batch: {{rows: 8}}
      budget: {{epochs: 1}}     # exactly one of tokens | steps | epochs
""",
    "preferences": """\
  - dpo:                      # prefer the chosen answer to the rejected one
      data: [{{path: {path}}}]
      optimizer: {{lr: 5.0e-5}}
      budget: {{epochs: 1}}
""",
    "text": """\
  - adapt:                    # go on reading Italian text
      data: [{{path: {path}}}]
      optimizer: {{lr: 2.0e-5}}
      budget: {{epochs: 1}}
""",
}

TAIL = """\
  - evaluate: {suites: [offline]}        # base against every stage, same items, with intervals
  - export: {formats: [gguf-q8_0]}
  - report: {}
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class InitFiles:
    """The user's own files; what is None is not trained on, unless all are: then the examples are copied."""

    sft: Path | None = None
    preferences: Path | None = None
    text: Path | None = None

    def given(self) -> dict[str, Path]:
        """Return the files that were named, by stage."""
        files = {"sft": self.sft, "preferences": self.preferences, "text": self.text}
        return {stage: path for stage, path in files.items() if path is not None}


def init_folder(folder: Path, *, base: str, files: InitFiles) -> None:
    """Write `folder/recipe.yaml` and, when no file of the user's is named, example data beside it.

    Args:
        folder: made when missing; an existing recipe in it is never overwritten.
        base: name of the model to start from.
        files: the user's own files.

    Raises:
        RecipeError: there is a recipe already, or a named file is missing.
    """
    recipe = folder / "recipe.yaml"
    given = files.given()
    problems = [
        Problem(
            where=str(path), what=f"no such file (given as --{stage})", hint="Give the path of a JSONL file."
        )
        for stage, path in given.items()
        if not path.exists()
    ]
    if recipe.exists():
        problems.append(
            Problem(
                where=str(recipe), what="there is a recipe already", hint="Name another folder, or remove it."
            )
        )
    if problems:
        raise RecipeError(problems)
    folder.mkdir(parents=True, exist_ok=True)
    paths = {stage: str(path.resolve()) for stage, path in given.items()}
    if not given:
        paths = {stage: f"data/{name}" for stage, name in EXAMPLES.items()}
        for name in EXAMPLES.values():
            _copy(bundled_dir() / "data" / name, folder / "data" / name)
    head = HEAD.format(recipe=recipe, name=_run_name(folder), base=json.dumps(base))
    stages = "".join(
        text.format(path=json.dumps(paths[stage])) for stage, text in STAGES.items() if stage in paths
    )
    write_atomic(recipe, head + stages + TAIL)
    print(f"wrote {recipe}\nnext:  adatta check {recipe}\nthen:  adatta run {recipe}")


def _run_name(folder: Path) -> str:
    name = "".join(char if char.isalnum() or char in "-_" else "-" for char in folder.resolve().name)
    return name.strip("-") or "mine"


def _copy(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    if source.is_dir():
        shutil.copytree(source, target, dirs_exist_ok=True)
    else:
        shutil.copyfile(source, target)
