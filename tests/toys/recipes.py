"""A recipe of the whole chain on a toy model, with its data, for tests of the pipeline."""

from __future__ import annotations

import json
from pathlib import Path

from ruamel.yaml import YAML

from adatta.core.runtime import bundled_dir

TOPICS = ("il pane", "il mare", "la neve", "il vino", "la scuola", "il treno", "la luna", "il riso")


def write_toy_recipe(folder: Path, model: Path, *, num_rows: int = 24, steps: int = 2) -> Path:
    """Write rows of all three kinds and a recipe of all six kinds of stage.

    Args:
        folder: where recipe and data go.
        model: a toy model's folder.
        num_rows: rows of each kind.
        steps: optimizer steps of each training stage.

    Returns:
        The recipe's path.
    """
    folder.mkdir(parents=True, exist_ok=True)
    topics = [f"{TOPICS[number % len(TOPICS)]} numero {number}" for number in range(num_rows)]
    _write(folder / "sft.jsonl", [_conversation(topic) for topic in topics])
    _write(folder / "dpo.jsonl", [_preference(topic) for topic in topics])
    _write(
        folder / "text.jsonl", [{"text": f"Oggi parliamo di {topic}: è una cosa buona."} for topic in topics]
    )
    training = {
        "method": "lora",
        "adapter": {"rank": 4, "alpha": 8},
        "optimizer": {"lr": 1e-3},
        "batch": {"rows": 4},
        "budget": {"steps": steps},
    }
    recipe = {
        "name": "toy",
        "model": {"name": str(model)},
        "context": 512,
        "precision": "fp32",
        "stages": [
            {"sft": {"data": [{"path": "sft.jsonl"}], **training}},
            {"dpo": {"data": [{"path": "dpo.jsonl"}], **training}},
            {"adapt": {"data": [{"path": "text.jsonl"}], **training}},
            {"evaluate": {"suites": ["offline"], "max_new_tokens": 4}},
            {"export": {"formats": ["gguf-q8_0"]}},
            {"report": {}},
        ],
    }
    path = folder / "recipe.yaml"
    with path.open("w", encoding="utf-8") as file:
        YAML(typ="safe", pure=True).dump(recipe, file)
    return path


def write_small_suite(folder: Path, *, num_items: int = 8, num_chars: int = 160) -> None:
    """Write the first items of every evaluation file of the project, texts cut short.

    Args:
        folder: stands for the folder that holds `data/`.
        num_items: items of each file.
        num_chars: longest text.
    """
    source = bundled_dir() / "data" / "evaluation" / "test"
    target = folder / "data" / "evaluation" / "test"
    target.mkdir(parents=True)
    for path in sorted(source.glob("*.jsonl")):
        rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()[:num_items]]
        for row in rows:
            if "text" in row:
                row["text"] = row["text"][:num_chars].strip()
        _write(target / path.name, rows)


def _conversation(topic: str) -> dict[str, object]:
    question = {"role": "user", "content": f"Parlami di {topic}."}
    return {"messages": [question, {"role": "assistant", "content": f"Volentieri: {topic} è importante."}]}


def _preference(topic: str) -> dict[str, object]:
    prompt = [{"role": "user", "content": f"Che cosa pensi di {topic}?"}]
    chosen, rejected = f"Penso che {topic} sia utile.", f"Penso che {topic} è utile."
    return {
        "prompt": prompt,
        "chosen": {"role": "assistant", "content": chosen},
        "rejected": {"role": "assistant", "content": rejected},
    }


def _write(path: Path, rows: list[dict[str, object]]) -> None:
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
