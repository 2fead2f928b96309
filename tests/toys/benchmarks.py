"""Benchmarks' releases in their own layouts, with texts of ours; a backend of the harness without model."""

from __future__ import annotations

import csv
import gzip
import io
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

Row = dict[str, Any]
LETTERS = "ABCDE"
NAMES = ("Ada", "Bruno", "Carla", "Dario", "Elena", "Fausto", "Gina", "Ivo")


def sums(num: int, *, start: int = 0, num_options: int = 4) -> list[Row]:
    """Make questions with options of different lengths; the right one moves from place to place."""
    rows = []
    for n in range(start, start + num):
        label = n % num_options
        options = [f"{n + 7 + shift} {'mele ' * shift}in tutto" for shift in range(num_options)]
        options.insert(label, options.pop(0))
        question = f"{NAMES[n % 8]} ha {n} mele e ne compra altre sette: quante mele ha {NAMES[n % 8]}?"
        rows.append({"question": question, "options": options, "label": label})
    return rows


def lettered(rows: Iterable[Row], question: str = "question") -> list[Row]:
    """Give questions the columns option_a to option_d and their letter."""
    return [
        {question: row["question"], "answer": LETTERS[row["label"]]}
        | {f"option_{letter.lower()}": text for letter, text in zip(LETTERS, row["options"], strict=False)}
        for row in rows
    ]


def jsonl(rows: Iterable[Row]) -> str:
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)


def table(rows: Sequence[Row], delimiter: str) -> str:
    text = io.StringIO()
    writer = csv.DictWriter(text, rows[0], delimiter=delimiter, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


def italic(rows: Iterable[Row]) -> list[Row]:
    return [
        {
            "question": row["question"],
            "options": [{letter: text} for letter, text in zip(LETTERS, row["options"], strict=False)],
            "answer": LETTERS[row["label"]],
            "category": ("history", "orthography")[row["label"] % 2],
            "macro_category": "culture and commonsense",
        }
        for row in rows
    ]


def xcopa(num: int = 6) -> list[Row]:
    return [
        {
            "premise": f"{NAMES[n % 8]} ha dimenticato l'ombrello il giorno {n}.",
            "choice1": "Tornò a casa tutta bagnata.",
            "choice2": "Comprò un chilo di pane.",
            "question": ("effect", "cause")[n % 2],
            "label": n % 2,
            "idx": n,
            "changed": False,
        }
        for n in range(num)
    ]


def hatecheck(num: int = 10, functions: int = 1) -> list[Row]:
    """Make cases, 7 of 10 hateful; the first of them have so many functionalities of hateful ones."""
    return [
        {
            "mhc_case_id": f"italian-{n}",
            "functionality": f"derog_{n % functions}_h" if n % 10 < 7 else "target_obj_nh",
            "test_case": f"Frase inventata numero {n}, scritta per la prova.",
            "label_gold": "hateful" if n % 10 < 7 else "non-hateful",
            "target_ident": "",
            "templ_id": n // 2,
            "label_annotated": "['hateful', 'hateful', 'non-hateful']",
        }
        for n in range(num)
    ]


def itacola(num: int = 12) -> list[Row]:
    return [
        {
            "UniqueIndexID": n,
            "Source": "Grammatica_2000",
            "Acceptability": 0 if n % 6 == 5 else 1,
            "Sentence": f"{NAMES[n % 8]} {'leggere' if n % 6 == 5 else 'legge'} il libro numero {n}.",
            "Split": "train" if n % 4 == 3 else "test",
        }
        for n in range(num)
    ]


def mela(num: int, start: int = 0) -> list[Row]:
    return [
        {
            "sentence": f"{NAMES[n % 8]} {'legge' if n % 3 else 'leggere'} il libro {n}.",
            "label": min(n % 3, 1),
        }
        for n in range(start, start + num)
    ]


def squad(num: int = 3) -> Row:
    paragraphs = [
        {
            "context": f"Il mulino numero {n} fu costruito nel {1500 + n} da un fornaio di Parma.",
            "qas": [
                {
                    "id": f"{n}a",
                    "question": f"Quando fu costruito il mulino {n}?",
                    "answers": answers(f"nel {1500 + n}"),
                },
                {
                    "id": f"{n}b",
                    "question": f"Chi costruì il mulino {n}?",
                    "answers": answers("un fornaio", "fornaio"),
                },
            ],
        }
        for n in range(num)
    ]
    return {"version": "1.1", "data": [{"title": "Mulini", "paragraphs": paragraphs}]}


def answers(*texts: str) -> list[Row]:
    return [{"text": text, "answer_start": 0} for text in texts]


def squad_flat(num: int = 3) -> list[Row]:
    (article,) = squad(num)["data"]
    return [
        {
            "text": passage["context"],
            "questions": [
                asked | {"answers": [each["text"] for each in asked["answers"]]} for asked in passage["qas"]
            ],
        }
        for passage in article["paragraphs"]
    ]


def hellaswag(num: int, start: int = 0) -> list[Row]:
    return [
        {
            "ind": n,
            "activity_label": "Cucina",
            "ctx_a": f"{NAMES[n % 8]} rompe {n} uova.",
            "ctx_b": "",
            "endings": row["options"],
            "label": str(row["label"]),
        }
        for n, row in enumerate(sums(num, start=start), start=start)
    ]


def prox(num: int, start: int = 0) -> list[Row]:
    """Make questions of two categories with three options; the answer is reasoned."""
    return [
        {
            "question_id": n,
            "question": row["question"],
            **{f"option_{k}": row["options"][k] if k < 3 else None for k in range(10)},
            "answer": LETTERS[row["label"]],
            "category": ("computer science", "law")[n % 2],
            "cot_content": f"A: Ragioniamo passo dopo passo. La risposta è ({LETTERS[row['label']]}).",
        }
        for n, row in enumerate(sums(num, start=start, num_options=3))
    ]


def listed() -> dict[str, list[Row]]:
    """Give rows of the tasks in which something is listed, by data set and split."""
    entities = [
        {"entity_text": "Ada Neri", "type": "PER"},
        {"entity_text": "Forlì", "type": "LOC"},
    ]
    ner = [
        {"text": f"Ada Neri è tornata a Forlì {n} volte.", "entities": entities if n else []}
        for n in range(3)
    ]
    return {
        "lexical_substitution/test": [
            {
                "context": f"La <head>casa</head> numero {n} è grande.",
                "answers": [{"word": "abitazione", "count": 3}, {"word": "dimora", "count": 1}],
            }
            for n in range(3)
        ],
        **{f"entity_recognition/{part}/reduced_test": ner for part in ("adg", "fic", "wn")},
        "relation_extraction/test": [
            {"text": f"Milza di {n} cm.", "relations": [[f"{n} cm", "milza"]] if n else []} for n in range(3)
        ],
        "summarization-fp/test_100": [
            {"source": f"Il sindaco ha aperto {n} scuole nuove in città.", "target": f"Aperte {n} scuole"}
            for n in range(3)
        ],
    }


def italian_releases() -> dict[str, str | bytes]:
    """Give the files of the Italian releases by name."""
    asked = sums(8)
    truthful = [
        {
            "question": row["question"],
            "mc1_targets_choices": row["options"],
            "mc1_targets_labels": [1, 0, 0, 0],
            "mc2_targets_choices": row["options"],
            "mc2_targets_labels": [1, 1, 0, 0],
        }
        for row in asked
    ]
    global_mmlu = {
        split: [
            {**row, "sample_id": f"{split}-{n}", "subject": "x", "is_annotated": True}
            | {"subject_category": ("STEM", "Social Sciences")[n % 2]}
            | {"cultural_sensitivity_label": ("CS", "CA")[n // 2 % 2]}
            for n, row in enumerate(lettered(sums(num, start=start)))
        ]
        for split, num, start in (("test", 8, 0), ("dev", 12, 80))
    }
    belebele = [
        {
            "link": "x",
            "question_number": 1,
            "flores_passage": f"Un testo sul mercato numero {n // 2}.",
            "question": row["question"],
            **{f"mc_answer{k + 1}": text for k, text in enumerate(row["options"])},
            "correct_answer_num": str(row["label"] + 1),
        }
        for n, row in enumerate(asked)
    ]
    lettered_options = [
        dict(zip(LETTERS, row["options"], strict=False))
        | {"E": "nessuna mela", "gold": LETTERS[row["label"]]}
        for row in asked
    ]
    questions = [row["question"] for row in asked]
    evalita = {
        "textual_entailment": [
            {"text1": text, "text2": "Qualcuno ha mele.", "entailment": ("SI", "NO")[n % 2]}
            for n, text in enumerate(questions)
        ],
        "sentiment_analysis": [
            {"text": text, "opos": str(n % 2), "oneg": str(n // 2 % 2)} for n, text in enumerate(questions)
        ],
        "word_in_context": [
            {"sentence1": "La pesca è dolce.", "start1": 3, "end1": 8, "label": n % 2}
            | {"sentence2": f"La pesca numero {n} rende poco.", "start2": 3, "end2": 8}
            for n in range(8)
        ],
        "hatespeech_detection": [{"full_text": text, "hs": n % 2} for n, text in enumerate(questions)],
        "admission_test": [
            {"Question": text, **options, "Correct": options.pop("gold")}
            for text, options in zip(questions, [dict(each) for each in lettered_options], strict=True)
        ],
        "faq": [
            {"question": text, **options, "correct_answer": options.pop("gold")}
            for text, options in zip(questions, [dict(each) for each in lettered_options], strict=True)
        ],
    }
    files: dict[str, str | bytes] = {
        "m_arc/it/test.jsonl": jsonl(
            {**row, "option_e": None, "id": "x"} for row in lettered(asked, "instruction")
        ),
        "m_hellaswag/it/val.jsonl": jsonl(hellaswag(8)),
        "m_mmlu/it/test.jsonl": jsonl(lettered(asked, "instruction")),
        "m_mmlu/it/train.jsonl": jsonl(lettered(sums(6, start=50), "instruction")),
        "m_truthfulqa/it/val.jsonl": jsonl(truthful),
        "arc_challenge_mt/it/test.jsonl": jsonl(arc(asked)),
        "arc_challenge_mt/it/train.jsonl": jsonl(arc(sums(26, start=100))),
        **{f"Global-MMLU-Lite/it/{split}.jsonl": jsonl(rows) for split, rows in global_mmlu.items()},
        "MMLU-ProX-Lite/it/test.jsonl": jsonl(prox(6)),
        "MMLU-ProX-Lite/it/validation.jsonl": jsonl(prox(10, start=40)),
        "MELA/it/test.jsonl": jsonl(mela(8)),
        "MELA/it/dev.jsonl": jsonl(mela(3, start=30)),
        **{f"evalita/{name}.jsonl": jsonl(rows) for name, rows in listed().items()},
        "ITALIC/italic.jsonl": jsonl(italic([*asked, *sums(4, start=20, num_options=3)])),
        "ITALIC/5_shots.jsonl": jsonl(italic(sums(5, start=60))),
        "SQuAD_it-test.json.gz": gzip.compress(json.dumps(squad(), ensure_ascii=False).encode()),
        "ItaCoLA_dataset.tsv": table(itacola(), "\t"),
        "MHC Final Cases/hatecheck_cases_final_italian.csv": table(hatecheck(), ","),
        "xcopa/data/it/test.it.jsonl": jsonl(xcopa()),
        "belebele/ita_Latn.jsonl": jsonl(belebele),
        "include-base-44/Italian/test.jsonl": jsonl(
            {"question": row["question"], "choices": row["options"], "answer": row["label"]}
            | {"domain": ("STEM", "Arts & Humanities", "Health oriented education")[row["label"] % 3]}
            for row in asked
        ),
        "multiblimp/ita.jsonl": jsonl(
            {"sen": f"I {n} gatti dormono.", "wrong_sen": f"I {n} gatti dorme."} for n in range(2, 8)
        ),
        "global-piqa-nonparallel/ita_latn.jsonl": jsonl(
            {
                "prompt": row["question"],
                "solution0": row["options"][0],
                "solution1": row["options"][1],
                "label": n % 2,
            }
            for n, row in enumerate(asked)
        ),
    }
    splits = {"hatespeech_detection": "test_all", "faq": "test_1"}
    for name, rows in evalita.items():
        files[f"evalita/{name}/{splits.get(name, 'test')}.jsonl"] = jsonl(rows)
    return files


def arc(rows: Iterable[Row]) -> list[Row]:
    return [
        {
            "id": f"M_{n}",
            "question": {
                "stem": row["question"],
                "choices": [
                    {"text": text, "label": letter}
                    for text, letter in zip(row["options"], LETTERS, strict=False)
                ],
            },
            "answerKey": LETTERS[row["label"]],
        }
        for n, row in enumerate(rows)
    ]


def mmlu(rows: Iterable[Row]) -> str:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(
        [row["question"], *row["options"], LETTERS[row["label"]]] for row in rows
    )
    return text.getvalue()


def winogrande(num: int, start: int = 0) -> list[Row]:
    return [
        {
            "qID": f"q{n}",
            "sentence": f"The box no. {n} didn't fit into the bag because the _ was too big.",
            "option1": "box",
            "option2": "bag",
            "answer": str(1 + n % 2),
        }
        for n in range(start, start + num)
    ]


def gsm8k(num: int, start: int = 0) -> list[Row]:
    return [
        {"question": f"Ann has {n} pens and buys 5. How many?", "answer": f"{n} + 5 = {n + 5}.\n#### {n + 5}"}
        for n in range(start, start + num)
    ]


def english_releases() -> dict[str, str | bytes]:
    """Give the files of the English releases by name."""
    truthful = [
        {
            "question": f"What happens if you eat {n} apples?",
            "mc1_targets": {"You are full.": 1, "You turn green.": 0},
            "mc2_targets": {"You are full.": 1, "Nothing much.": 1, "You turn green.": 0},
        }
        for n in range(4)
    ]
    return {
        "ARC-V1/ARC-Challenge/ARC-Challenge-Test.jsonl": jsonl(arc(sums(6))),
        "ARC-V1/ARC-Challenge/ARC-Challenge-Train.jsonl": jsonl(arc(sums(27, start=100))),
        "hellaswag/hellaswag_val.jsonl": jsonl(hellaswag(6)),
        "hellaswag/hellaswag_train.jsonl": jsonl(hellaswag(12, start=100)),
        "mmlu/test/abstract_algebra_test.csv": mmlu(sums(5)),
        "mmlu/test/high_school_physics_test.csv": "\ufeff" + mmlu(sums(5, start=10)),
        "mmlu/dev/abstract_algebra_dev.csv": mmlu(sums(5, start=200)),
        "mmlu/dev/high_school_physics_dev.csv": mmlu(sums(5, start=300)),
        "truthfulqa/mc_task.json": json.dumps(truthful),
        "winogrande_1.1/dev.jsonl": jsonl(winogrande(6)),
        "winogrande_1.1/train_xl.jsonl": jsonl(winogrande(7, start=50)),
        "gsm8k/main/test.jsonl": jsonl(gsm8k(4)),
        "gsm8k/main/train.jsonl": jsonl(gsm8k(6, start=40)),
    }


def write_files(folder: Path, files: Mapping[str, str | bytes]) -> Path:
    """Write files by name and return their folder."""
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return folder


class FakeLM:
    """A backend of the harness that gives what two functions of a request say."""

    rank, world_size = 0, 1

    def __init__(
        self,
        log_prob: Callable[[Any], float] = lambda request: -1.0,
        answer: Callable[[Any], str] = lambda request: "",
    ) -> None:
        self.log_prob, self.answer, self.asked = log_prob, answer, []

    def loglikelihood(self, requests: Sequence[Any]) -> list[tuple[float, bool]]:
        self.asked += requests
        return [(self.log_prob(request), False) for request in requests]

    def generate_until(self, requests: Sequence[Any]) -> list[str]:
        self.asked += requests
        return [self.answer(request) for request in requests]
