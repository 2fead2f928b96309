"""What both sides of the evaluation benchmark are asked: the harness' own requests, made from local files."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from datasets import Dataset
from lm_eval.api.instance import Instance
from lm_eval.api.task import ConfigurableTask

from adatta.chat.render import Chat
from adatta.core.records import Message
from adatta.evals.suite import load_suite
from adatta.lang.profile import load_profile

ROOT = Path(__file__).resolve().parents[1]
SHARED = ROOT.parent / "shared" / "data"
LONG_TEXTS = 4
LONG_PARAGRAPHS = 50  # of one long text: about 14,000 ids, seven windows of 2,048
ANSWERS = 200
SHORT = 24  # ids of a short answer
FREE = 96  # ids of a free one, as `adatta eval` has it
LETTERS = (
    "Domanda: {{question}}\n{% for c in choices %}{{letters[loop.index0]}}) {{c}}\n{% endfor %}Risposta:"
)
XCOPA = "{{premise[:-1]}} {{'perché' if question == 'cause' else 'quindi'}}"


@dataclass(frozen=True)
class Case:
    """Requests by kind, in order; `options` says how many in a row are the options of one item."""

    requests: dict[str, list[Instance]]
    options: list[int]

    @property
    def num_items(self) -> int:
        """Items: questions, texts, answers."""
        other = (len(each) for kind, each in self.requests.items() if kind != "loglikelihood")
        return len(self.options) + sum(other)


def make_case(name: str, folder: Path, *, limit: int | None = None) -> Case:
    """Make a case.

    Args:
        name: of `CASES`.
        folder: of the model, for its tokenizer and chat template.
        limit: most items of a kind.
    """
    return CASES[name](folder, limit)


def _pairs(folder: Path, limit: int | None) -> Case:
    """XCOPA, 0-shot, as the harness' own task asks it."""
    choices = "{{[choice1[0]|lower ~ choice1[1:], choice2[0]|lower ~ choice2[1:]]}}"
    config = {"doc_to_text": XCOPA, "doc_to_choice": choices, "num_fewshot": 0}
    return _multiple_choice(config, _read("xcopa_it_val.jsonl")[:limit])


def _letters(folder: Path, limit: int | None) -> Case:
    """ITALIC, 5-shot, options listed, scored by letter."""
    config = {"doc_to_text": LETTERS, "doc_to_choice": "{{letters}}", "num_fewshot": 5}
    return _multiple_choice(config, _italic("italic_sample.jsonl")[:limit], _italic("italic_5_shots.jsonl"))


def _choices(folder: Path, limit: int | None) -> Case:
    """ITALIC, 5-shot, scored by the options' texts."""
    config = {
        "doc_to_text": "Domanda: {{question}}\nRisposta:",
        "doc_to_choice": "{{choices}}",
        "num_fewshot": 5,
    }
    return _multiple_choice(config, _italic("italic_sample.jsonl")[:limit], _italic("italic_5_shots.jsonl"))


def _long_text(folder: Path, limit: int | None) -> Case:
    paragraphs = [row["text"] for row in _read("squad_it.jsonl")]
    texts = [
        "\n\n".join(paragraphs[start : start + LONG_PARAGRAPHS])
        for start in range(0, LONG_TEXTS * LONG_PARAGRAPHS, LONG_PARAGRAPHS)
    ]
    return Case(
        {"loglikelihood_rolling": wrap("loglikelihood_rolling", [(each,) for each in texts[:limit]])}, []
    )


def _generate(folder: Path, limit: int | None) -> Case:
    """Short answers to questions about paragraphs, after five examples, until the line ends."""
    rows = _read("squad_it.jsonl")
    asked = [(question["question"], question["answers"][0]) for row in rows for question in row["questions"]]
    shots = "".join(f"Domanda: {question}\nRisposta: {answer}\n\n" for question, answer in asked[-5:])
    prompts = [f"{shots}Domanda: {question}\nRisposta:" for question, _ in asked[:ANSWERS][:limit]]
    options = {"until": ["\n"], "max_gen_toks": SHORT}
    return Case({"generate_until": wrap("generate_until", [(prompt, options) for prompt in prompts])}, [])


def _offline_suite(folder: Path, limit: int | None) -> Case:
    """All items of the suite `offline`, as the harness would be asked for them."""
    chat = Chat.load(folder, system_prompt=load_profile("it").system_prompt)
    system = Message(role="system", content=load_profile("it").system_prompt)
    suite = load_suite("offline")
    items, kinds = suite.items(), {each.name: each.task for each in suite.tasks}
    pairs, texts, answers, options = [], [], [], []
    for task, rows in items.items():
        for item in rows[:limit]:
            fields = item.fields
            match task.partition("_")[0]:
                case "text":
                    texts.append((fields["text"],))
                case "questions" if task == "questions_letters_it":
                    letters = [f" {chr(65 + place)}" for place in range(len(fields["options"]))]
                    for prompt in kinds[task].question(item)["prompts"]:
                        pairs += [(prompt, letter) for letter in letters]
                        options.append(len(letters))
                case "questions":
                    word = {"it": ("Domanda", "Risposta"), "en": ("Question", "Answer")}[item.language]
                    prompt = f"{word[0]}: {fields['question']}\n{word[1]}:"
                    pairs += [(prompt, f" {option}") for option in fields["options"]]
                    options.append(len(fields["options"]))
                case "pairs":
                    pairs += [("", fields["right"]), ("", fields["wrong"])]
                    options.append(2)
                case "preferences":
                    turns = [system, *(Message(**turn) for turn in fields["prompt"])]
                    prompt = chat.decode(chat.prompt(turns), keep_special=True)
                    pairs += [(prompt, fields[name]) for name in ("chosen", "rejected")]
                    options.append(2)
                case "prompts":
                    turns = [system, Message(role="user", content=fields["prompt"])]
                    prompt = chat.decode(chat.prompt(turns), keep_special=True)
                    answers.append((prompt, {"until": [], "max_gen_toks": FREE}))
    requests = {"loglikelihood": pairs, "loglikelihood_rolling": texts, "generate_until": answers}
    return Case({kind: wrap(kind, each) for kind, each in requests.items()}, options)


CASES: dict[str, Callable[[Path, int | None], Case]] = {
    "xcopa_it_pairs": _pairs,
    "italic_letters": _letters,
    "italic_choices": _choices,
    "long_text": _long_text,
    "generate": _generate,
    "offline_suite": _offline_suite,
}


def _multiple_choice(config: dict[str, Any], rows: list[dict], shots: list[dict] | None = None) -> Case:
    data = {"test": Dataset.from_list(rows)} | ({"train": Dataset.from_list(shots)} if shots else {})
    config |= {
        "task": "case",
        "custom_dataset": lambda **_: data,
        "output_type": "multiple_choice",
        "test_split": "test",
        "doc_to_target": "label",
        "target_delimiter": " ",
        "metric_list": [{"metric": "acc"}],
    }
    if shots:
        config |= {"fewshot_split": "train", "fewshot_config": {"sampler": "first_n"}}
    task = ConfigurableTask(config=config)
    task.build_all_requests()
    options: list[int] = []
    for before, request in zip([None, *task.instances], task.instances, strict=False):
        if before is None or before.doc_id != request.doc_id:
            options.append(0)
        options[-1] += 1
    return Case({"loglikelihood": task.instances}, options)


def _italic(file: str) -> list[dict[str, Any]]:
    rows = []
    for row in _read(file):
        letters = [letter for option in row["options"] for letter in option]
        texts = [text for option in row["options"] for text in option.values()]
        label = letters.index(row["answer"])
        rows.append({"question": row["question"], "choices": texts, "letters": letters, "label": label})
    return rows


def _read(file: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (SHARED / file).read_text(encoding="utf-8").splitlines() if line]


def wrap(kind: str, arguments: list[tuple]) -> list[Instance]:
    """Make requests of the harness from their arguments."""
    return [Instance(request_type=kind, doc={}, arguments=each, idx=0) for each in arguments]
