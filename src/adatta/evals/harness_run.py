"""Run suites of benchmarks by lm-evaluation-harness: its prompts and measures, our data, shots and record."""

from __future__ import annotations

import csv
import hashlib
import json
import math
from collections import Counter
from collections.abc import Callable, Container, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from importlib import metadata, resources
from itertools import groupby, product
from numbers import Real
from pathlib import Path
from typing import Any, TypeVar

import jinja2

from adatta.core.errors import AdattaError, DataError, EvalError
from adatta.core.extras import require
from adatta.core.fingerprint import canonical_json, content_id, hash_file
from adatta.core.records import NO_TEMPLATE, Score
from adatta.data.overlap import ItemText
from adatta.evals import extraction, measures
from adatta.evals.ask import Subject
from adatta.evals.harness_data import TaskData, check_lock, draw_items, load_data, read_lock
from adatta.evals.harness_suite import (
    BY_GROUP,
    PROTOCOLS,
    HarnessSuite,
    HarnessTask,
    Protocol,
    Row,
    show_name,
)
from adatta.evals.suite import CHAT, PLAIN, Shown

T = TypeVar("T")
Entry = dict[str, Any]
CORPUS_METRICS = ("macro_f1", "mcc")  # of labels: an item alone is right or wrong
LOWER = "_lower"  # the figure in which an answer that isn't found counts as wrong
ROUNDING = 1e-6  # a sum of probabilities may be a little above 1
UNPARSED = "[invalid]"  # what the harness' filters give where they find no answer
_ROW = "adatta_row"
_LOGIC = (ArithmeticError, AssertionError, AttributeError, LookupError, TypeError, ValueError)
# What data, a task's templates and functions, and a model may raise.
FAILURES = (*_LOGIC, AdattaError, ImportError, OSError, RuntimeError, csv.Error, jinja2.TemplateError)


@dataclass(frozen=True, slots=True, kw_only=True)
class Benchmarks:
    """A suite with its data at hand; a task without them has the reason in their place."""

    suite: HarnessSuite
    data: Mapping[str, TaskData | str]

    @property
    def name(self) -> str:
        """The suite's name."""
        return self.suite.name

    def content_hash(self) -> str:
        """Hash all that decides the scores: the suite and what its data hold."""
        contents = {found.task.name: found.pin["content"] for found in self.found()}
        return content_id([self.suite.model_dump(mode="json"), contents, _harness_identity()])

    def found(self) -> list[TaskData]:
        """Return the data of the tasks that have them."""
        return [found for found in self.data.values() if isinstance(found, TaskData)]

    def protocols(self) -> Iterator[tuple[str, str]]:
        """Yield each task, under each of its names, with how it is asked."""
        for task in self.suite.tasks:
            for protocol, how in zip(PROTOCOLS, (PLAIN, CHAT), strict=True):
                yield show_name(task.name, protocol), f"{how}, {task.shots.count}-shot"

    def item_texts(self) -> Iterator[tuple[str, str, ItemText]]:
        """Yield task, id and question of each item."""
        for found in self.found():
            for row in found.items:
                yield found.task.name, content_id(row), ItemText(question=found.task.question_text(row))

    def show_items(self, wanted: Container[tuple[str, str]]) -> Iterator[tuple[str, str, Shown]]:
        """Yield task, id and what a reader needs of each item whose task and id are wanted."""
        for data, protocol in product(self.found(), PROTOCOLS):
            name = show_name(data.task.name, protocol)
            for row in (row for row in data.items if (name, content_id(row)) in wanted):
                shown = _attempt(_show, data, row)
                bare = Shown(data.task.question_text(row))
                yield name, content_id(row), bare if isinstance(shown, str) else shown


def load_benchmarks(
    suite: HarnessSuite,
    *,
    folder: Path | None = None,
    data_dir: Path | None = None,
    limit: int | None = None,
) -> Benchmarks:
    """Read the data of a suite's tasks; one that can't be had leaves the others.

    Args:
        suite: What `open_suite` gives.
        folder: Of the run, whose suites.lock tells what was used first; None compares with nothing.
        data_dir: Folder of original releases; None reads from the Hub. A user's file has its data beside it.
        limit: Items of all tasks together; None takes the suite's number.

    Raises:
        DataError: A task's data aren't those of before, or no task has any.
    """
    lock = read_lock(folder) if folder else {}
    data_dir = suite.path.parent if suite.path else data_dir
    tried: dict[str, TaskData | str] = {
        task.name: _attempt(load_data, task, data_dir, pin=lock.get(task.name)) for task in suite.tasks
    }
    told = {"suite_file": hash_file(suite.path)} if suite.path else {}
    data = {
        name: replace(found, pin={**found.pin, **told})
        for name, found in tried.items()
        if isinstance(found, TaskData)
    }
    if folder:
        check_lock(folder, data.values())
    if not data:
        (name, reason), *others = tried.items()
        rest = f"; and {len(others)} others" if others else ""
        what = f"no task of suite {suite.name} has data; give the folder of its releases"
        raise DataError(f"{what} ({name}: {reason}{rest})")
    total = limit or suite.num_items
    return Benchmarks(suite=suite, data=tried | (draw_items(data.values(), total) if total else data))


def run_benchmarks(
    lm: Any, benchmarks: Benchmarks, *, subject: Subject, protocol: Protocol = "raw"
) -> tuple[list[Score], list[Entry]]:
    """Ask a model all tasks of a suite; a task that can't be run is told in the record and leaves the others.

    Args:
        lm: A backend of the harness, such as `ForestLM`.
        benchmarks: The suite with its data.
        subject: The model's place in the table.
        protocol: Plain text, or the model's chat template with each shot a turn.

    Returns:
        One score an item and metric, and one entry a task.
    """
    scores, record = [], []
    for name, data in benchmarks.data.items():
        run: Any = data
        if isinstance(data, TaskData):
            run = _attempt(run_task, lm, data, suite=benchmarks.suite, subject=subject, protocol=protocol)
        status = "failed" if isinstance(data, TaskData) else "not run"
        found, entry = ([], {"status": status, "reason": run}) if isinstance(run, str) else run
        scores += found
        record.append({"task": show_name(name, protocol), "status": "run"} | entry)
    return scores, record


def run_task(
    lm: Any, data: TaskData, *, suite: HarnessSuite, subject: Subject, protocol: Protocol = "raw"
) -> tuple[list[Score], Entry]:
    """Ask a model the items of one task.

    An item is failed if its log-probs aren't finite or its measure breaks, unscored if no answer is found or
    the model lacks the chat template that the protocol needs.

    Args:
        lm: A backend of the harness.
        data: The task, its items and shots.
        suite: It belongs to.
        subject: The model's place in the table.
        protocol: Plain text or chat.

    Returns:
        Scores, and the task's entry in the record.

    Raises:
        EvalError: The harness has no such task, or its data don't fit it.
        MissingExtraError: The harness isn't installed.
    """
    task = data.task
    scores: list[Score] = []
    builds: list[Any] = []
    counts = Counter({"items": 0, "tied": 0, **data.counts})
    is_asked = protocol == "raw" or bool(lm.chat_template(True))
    prompts: dict[str, list[str]] = {}
    num_truncated = len(getattr(lm, "truncated", ()))
    for part, members in groupby(sorted(data.items, key=task.part), key=task.part):
        rows = list(members)
        built = _build(task, part, rows, data.shots.get(part, ()))
        builds.append(built)
        shots = [content_id(row) for row in data.shots.get(part, ())]
        own = [task.definition] if task.definition else []
        bare: Iterator[tuple[Row, list[Any]]] = ((rows[doc[_ROW]], []) for doc in built.eval_docs)
        for row, requests in _ask(lm, built, rows, protocol) if is_asked else bare:
            common: Entry = {
                "model_fingerprint": subject.model_fingerprint,
                "stage": subject.stage,
                "suite": suite.name,
                "suite_version": suite.version,
                "task": show_name(task.name, protocol),
                "language": suite.language,
                "item_id": content_id(row),
                "item_hash": hashlib.sha256(canonical_json(row).encode()).hexdigest(),
                "cluster_id": content_id([row[task.cluster]] if task.cluster else row),
                "prompt_hash": content_id([content_id(row), protocol, part, shots, *own]),
                "group": str(row[task.group]) if task.group else None,
            }
            prompts[content_id(row)] = [request.args[0] for request in requests]
            judged = _judge(task, built, requests, counts)
            for metric, result in sorted(judged, key=lambda found: found[0] != task.metric):  # primary first
                scores.append(Score(metric=metric, **(common | result)))
    if not is_asked:
        return scores, {"status": "not run", "reason": NO_TEMPLATE}
    told = _describe(lm, data, builds, protocol)
    counts["items"] = len(prompts)
    counts["dropped"] = len(data.items) - len(prompts)  # by the task's process_docs
    if hasattr(lm, "truncated"):
        told["cut"] = _find_cut(prompts, lm.truncated[num_truncated:])
        counts["truncated"] = len(lm.truncated) - num_truncated
    told["leaks"] = [leak for leak in data.leaks if leak["item"] in prompts]
    return scores, told | {"counts": dict(counts)}


def _find_cut(prompts: Mapping[str, Sequence[str]], truncated: Sequence[tuple[str, int]]) -> dict[str, int]:
    """Return the items whose prompts lost ids, each with the most that one of its requests lost."""
    lost = dict(sorted(truncated, key=lambda each: each[1]))
    most = {item: max(lost.get(text, 0) for text in texts) for item, texts in prompts.items()}
    return {item: num for item, num in most.items() if num}


def _attempt(work: Callable[..., T], *args: Any, **options: Any) -> T | str:
    """Return what `work` gives or, in a line, why it gives nothing."""
    try:
        return work(*args, **options)
    except FAILURES as error:
        name = "" if isinstance(error, AdattaError) else f"{type(error).__name__}: "
        return name + " ".join(str(error).split())


@cache
def _harness_identity() -> list[str]:
    """Return what decides how the harness asks: its version, and the texts of our own tasks."""
    require("lm_eval", "eval")
    files = (resources.files("adatta.evals") / "harness_tasks").iterdir()
    own = sorted(file.read_text(encoding="utf-8") for file in files if file.name.endswith((".yaml", ".py")))
    return [metadata.version("lm_eval"), *own]


@cache
def find_tasks(folder: str) -> Any:
    """Return the harness' tasks of one of its folders, or ours; all 14,000 would take ten seconds."""
    tasks = require("lm_eval.tasks", "eval")
    path = Path(tasks.__path__[0]) / folder if folder else resources.files("adatta.evals") / "harness_tasks"
    return tasks.TaskManager(include_path=str(path), include_defaults=False)


def _build(task: HarnessTask, part: str, rows: Sequence[Row], shots: Sequence[Row]) -> Any:
    """Make the harness' task over rows of ours, with the shots in their order."""
    datasets, samplers = require("datasets", "eval"), require("lm_eval.api.samplers", "eval")
    folder, _, name = part.rpartition("/")
    manager = find_tasks(folder)
    if name not in manager.all_tasks and not task.settings:
        raise EvalError(f"the harness has no task {part}; install lm_eval 0.4.13")
    columns = dict.fromkeys(column for row in rows for column in row)
    splits = {}
    for split, chosen in (("items", rows), ("shots", shots)):
        table = {column: [row.get(column) for row in chosen] for column in columns}
        splits[split] = datasets.Dataset.from_dict(table | {_ROW: range(len(chosen))})
    own = {"task": name, "custom_dataset": lambda **_: splits, "dataset_kwargs": None}
    own |= {"test_split": "items", "validation_split": None, "training_split": None}
    own |= {"process_results": extraction.SCORERS[task.scorer]} if task.scorer else {}
    config = {**task.settings, **own, "fewshot_split": "shots", "num_fewshot": len(shots)}
    spec = {"group": "adatta", "task": [config]} if name in manager.all_tasks else config
    (built,) = manager.load(spec)["tasks"].values()
    if _ROW not in built.features:
        raise EvalError(f"process_docs of {name} drops columns; let it keep those that it is given")
    built.sampler = samplers.get_sampler("first_n")(list(built.fewshot_docs()))
    return built


def _show(data: TaskData, row: Row) -> Shown:
    """Return what a row asks, as the harness asks it."""
    part = data.task.part(row)
    built = _build(data.task, part, [row], data.shots.get(part, ()))
    (doc,) = built.eval_docs
    if built.OUTPUT_TYPE != "multiple_choice":
        return Shown(str(built.doc_to_text(doc)), (), str(built.doc_to_target(doc)))
    labels, gold = _read_options(built, doc)
    question = built.doc_to_target(doc) if built.multiple_input else built.doc_to_text(doc)
    return Shown(str(question), labels, labels[gold])


def _read_options(built: Any, doc: Row) -> tuple[list[str], int]:
    """Return the options of an item, and the place of the right one."""
    labels = built.doc_to_choice(doc)
    gold = built.doc_to_text(doc) if built.multiple_input else built.doc_to_target(doc)
    return labels, labels.index(gold) if isinstance(gold, str) else gold


def _ask(lm: Any, built: Any, rows: Sequence[Row], protocol: Protocol) -> Iterator[tuple[Row, list[Any]]]:
    """Yield each row with its requests, answered and filtered."""
    is_chat = protocol == "chat"
    chat = {"chat_template": lm.apply_chat_template} if is_chat else {}
    built.build_all_requests(apply_chat_template=is_chat, fewshot_as_multiturn=is_chat, **chat)
    asked = [request for request in built.instances for _ in range(request.repeats)]
    for request, answer in zip(asked, getattr(lm, asked[0].request_type)(asked), strict=True):
        request.resps.append(answer)
    built.apply_filters()
    for number, requests in groupby(built.instances, key=lambda request: request.doc[_ROW]):
        yield rows[number], list(requests)


def _judge(
    task: HarnessTask, built: Any, requests: Sequence[Any], counts: Counter[str]
) -> Iterator[tuple[str, Entry]]:
    """Yield each metric with its fields of a score; without requests, the model has no chat template."""
    if not requests:
        left_out: Entry = {"status": "unscored", "reason": NO_TEMPLATE}
        yield from ((name, left_out) for name in task.metrics or built.aggregation())
        return
    for key in requests[0].filtered_resps:
        suffix = "" if key == "none" else f",{key}"
        kept = [name.removesuffix(suffix) for name in task.metrics if name.partition(",")[2] == suffix[1:]]
        measured = _attempt(_measure, built, requests, key, counts)
        missing = {"status": "failed", "reason": "the harness gives no number from 0 to 1 for it"}
        if isinstance(measured, str):
            missing["reason"], measured = measured, {}
        for name in kept if task.metrics else built.aggregation():
            yield f"{name}{suffix}", measured.get(name, missing)


def _measure(built: Any, requests: Sequence[Any], key: str, counts: Counter[str]) -> dict[str, Entry]:
    """Return what an item got on each metric of a filter."""
    answers = [request.filtered_resps[key] for request in requests]
    shared: Entry = {"status": "scored", "output": str(requests[0].resps[0])}
    if UNPARSED in answers:
        unscored = {**shared, "status": "unscored", "reason": "no answer found in the output"}
        lower = {f"{name}{LOWER}": {**shared, "score": 0.0} for name in built.aggregation()}
        return lower | dict.fromkeys(built.aggregation(), unscored)
    if not all(math.isfinite(answer[0]) for answer in answers if isinstance(answer, tuple)):
        raise EvalError("a log-prob is not a finite number")
    doc = requests[0].doc
    found = dict(built.process_results(doc, answers))
    groups: Entry = {}
    if built.OUTPUT_TYPE == "multiple_choice":
        labels, gold = _read_options(built, doc)
        sums = [log_prob for log_prob, _ in answers[: len(labels)]]
        counts["tied"] += len(measures.best_options(sums)) > 1
        picked = sums.index(max(sums))
        found["acc_ties"] = measures.credit(sums, gold)
        found |= dict.fromkeys(CORPUS_METRICS, float(picked == gold))
        groups = {name: {"group": labels[gold]} for name in CORPUS_METRICS}
        num_bytes = measures.count_bytes(labels[gold])
        shared |= {"output": labels[picked], "log_prob": sums[gold], "num_bytes": num_bytes}
    if "acc" in found:
        found[BY_GROUP] = found["acc"]
    found |= {f"{name}{LOWER}": value for name, value in found.items()}
    return {
        name: {**shared, "score": min(1.0, max(0.0, float(value))), **groups.get(name, {})}
        for name, value in found.items()
        if isinstance(value, Real) and -ROUNDING <= float(value) <= 1 + ROUNDING
    }


def _describe(lm: Any, data: TaskData, builds: Sequence[Any], protocol: Protocol) -> Entry:
    """Return what decides the scores of a task, which the harness may ask as several."""
    left_out = {"custom_dataset": None, "metadata": None}
    configs = [built.config.to_dict(keep_callable=True) | left_out for built in builds]
    text = json.dumps(configs, sort_keys=True, default=lambda value: getattr(value, "__name__", ""))
    told = {"harness", "shots", "metric", "chance", "licence", "origin", "note", "num_rows"}
    return {
        **data.task.model_dump(include=told),
        **data.pin,
        **{name: getattr(lm, name, None) for name in ("engine", "max_length")},
        "backend": type(lm).__name__,
        "lm_eval": metadata.version("lm_eval"),
        "task_version": builds[0].VERSION,
        "config_hash": hashlib.sha256(text.encode()).hexdigest(),
        "protocol": protocol,
        "fewshot_as_multiturn": protocol == "chat",
        "template_hash": content_id(lm.chat_template(True)) if protocol == "chat" else None,
    }
