"""What is asked of every model: metrics, tasks, suites and the items of their files."""

from __future__ import annotations

import unicodedata
from abc import ABC, abstractmethod
from collections.abc import Callable, Container, Iterator, Mapping, Sequence
from dataclasses import astuple, dataclass
from functools import cache
from pathlib import Path
from typing import Any, ClassVar, Literal, NamedTuple

from adatta.chat.render import Chat
from adatta.core.errors import Problem, RecipeError, RowError
from adatta.core.fingerprint import content_id, hash_file
from adatta.core.records import Item, TokenRow
from adatta.core.registry import load_registry
from adatta.core.rows import read_jsonl
from adatta.core.runtime import bundled_dir
from adatta.data.overlap import ItemText

PLAIN, CHAT = "plain text", "chat template"  # how a task is asked


@dataclass(frozen=True, slots=True, kw_only=True)
class Metric:
    """A figure over the items of a task.

    `kind` says how items make the figure: `share`, the mean of scores in [0, 1]; `mean`, of any others;
    `group_mean`, the plain mean of the means of each `group`; `bits_per_byte`, the ratio of summed bits and
    bytes; `macro_f1` and `mcc`, figures of gold labels (`group` of a score) and predicted ones (`output`). A
    metric that `may_miss` has no figure for a model without a
    scored item; of others that is an error where they are primary.
    """

    name: str
    primary: bool = False
    unit: str = "share"
    higher_is_better: bool = True
    kind: Literal["share", "mean", "group_mean", "bits_per_byte", "macro_f1", "mcc"] = "share"
    may_miss: bool = False


class Branch(NamedTuple):
    """What the model gave one branch: its summed log-prob in nats, over how many tokens."""

    log_prob: float
    num_tokens: int


class Answer(NamedTuple):
    """A free answer: its text, its number of tokens, and whether it ended by itself before the limit."""

    text: str
    num_tokens: int
    is_stopped: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What one item got on one metric, a score or the reason why it has none; fields as those of `Score`."""

    metric: str
    score: float | None = None
    reason: str | None = None
    log_prob: float | None = None
    num_tokens: int | None = None
    num_bytes: int | None = None
    output: str | None = None
    probability: float | None = None


class Shown(NamedTuple):
    """An item for a reader; `read` turns what a score's `output` says into what the model chose."""

    question: str
    options: Sequence[str] = ()
    answer: str = ""
    read: Callable[[str], str] = str

    @classmethod
    def pair(cls, question: str, *, right: str, wrong: str) -> Shown:
        """Make one of two texts, of which the output says `right` or `wrong`."""
        named = {"right": right, "wrong": wrong}
        return cls(question, (right, wrong), right, lambda output: named.get(output, output))


class Task(ABC):
    """A way to ask: which fields an item has, what the model is given, what comes out.

    `fields` are the fields of an item, `metrics` what comes out of each. A branch task scores given texts, an
    answer task lets the model write. One that `is_chat` asks in the model's chat template, any other in plain
    text. `rules` judge an item without a model, by its texts alone, and get its credit: what a model must
    beat. One file a task; the file exports one instance.
    """

    fields: ClassVar[Mapping[str, type]]
    metrics: ClassVar[tuple[Metric, ...]]
    is_chat: ClassVar[bool] = False
    rules: ClassVar[Mapping[str, Callable[[Item], float]]] = {}

    def find_fault(self, fields: Mapping[str, Any]) -> str:
        """Say what is wrong with an item whose fields have the right types; empty where nothing is."""
        blank = [name for name, value in fields.items() if isinstance(value, str) and not value.strip()]
        return f"empty {', '.join(blank)}" if blank else ""

    def group(self, item: Item) -> str | None:
        """Name the kind of item that it is, for figures of each kind; None where a task has no kinds."""
        return None

    @abstractmethod
    def item_text(self, item: Item) -> ItemText:
        """Give what of an item must not stand in training rows."""

    def show(self, item: Item) -> Shown:
        """Give what a reader needs to see what a model was asked and chose."""
        text = self.item_text(item)
        return Shown(text.question, (), text.answer)


class BranchTask(Task):
    """A task that compares or measures given texts by their log-probs."""

    @abstractmethod
    def question(self, item: Item) -> Mapping[str, Any]:
        """Give all that is asked, as text; its hash is the same for all models that are compared."""

    @abstractmethod
    def branches(self, item: Item, chat: Chat, *, context: int) -> Sequence[TokenRow]:
        """Give the token rows to score; rows of one item may share a prefix."""

    @abstractmethod
    def measure(self, item: Item, branches: Sequence[Branch]) -> Sequence[Outcome]:
        """Turn the branches' log-probs into one outcome a metric."""


class AnswerTask(Task):
    """A task that lets the model answer freely."""

    is_chat = True

    @abstractmethod
    def prompt(self, item: Item) -> str:
        """Give the user's message."""

    @abstractmethod
    def measure(self, item: Item, answer: Answer) -> Sequence[Outcome]:
        """Turn the answer into one outcome a metric."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SuiteTask:
    """A task of a suite: `kind` is the module in `evals/tasks`, `file` its file's name if it has another."""

    name: str
    kind: str
    language: str
    file: str = ""

    @property
    def task(self) -> Task:
        """The task itself."""
        return load_tasks()[self.kind]


@dataclass(frozen=True, slots=True, kw_only=True)
class Suite:
    """A named set of tasks; `version` changes when the same files would give other scores.

    `folder` holds the tasks' files; None means adatta's own data, and there the files under `part`.
    """

    name: str
    version: int
    tasks: tuple[SuiteTask, ...]
    folder: Path | None = None
    part: str = ""

    def path(self, task: SuiteTask) -> Path:
        """Return the file of a task's items."""
        folder = self.folder or bundled_dir() / "data" / "evaluation" / self.part
        return folder / f"{task.file or task.name}.jsonl"

    def content_hash(self) -> str:
        """Hash all that decides the scores: version, tasks and the content of their files.

        Raises:
            ArtefactError: A file can't be read.
        """
        tasks = [[*astuple(task), hash_file(self.path(task))] for task in self.tasks]
        return content_id({"name": self.name, "version": self.version, "tasks": tasks})

    def protocols(self) -> Iterator[tuple[str, str]]:
        """Yield each task with how it is asked."""
        yield from ((task.name, CHAT if task.task.is_chat else PLAIN) for task in self.tasks)

    def item_texts(self) -> Iterator[tuple[str, str, ItemText]]:
        """Yield task, id and texts of each item.

        Raises:
            RowError: The suite's files have mistakes.
        """
        items = self.items()
        for task in self.tasks:
            yield from ((task.name, item.item_id, task.task.item_text(item)) for item in items[task.name])

    def show_items(self, wanted: Container[tuple[str, str]]) -> Iterator[tuple[str, str, Shown]]:
        """Yield task, id and what a reader needs of each item whose task and id are wanted.

        Raises:
            RowError: The suite's files have mistakes.
        """
        items = self.items()
        for task in self.tasks:
            chosen = (item for item in items[task.name] if (task.name, item.item_id) in wanted)
            yield from ((task.name, item.item_id, task.task.show(item)) for item in chosen)

    def items(self) -> dict[str, tuple[Item, ...]]:
        """Read the items of every task.

        Raises:
            RowError: Every mistake in the files, with `file:line`.
            DataError: A file can't be opened.
        """
        problems: list[Problem] = []
        items = {task.name: _read_items(self.path(task), task, problems) for task in self.tasks}
        if problems:
            raise RowError(list(dict.fromkeys(problems)))  # two tasks may read one file
        return items


@dataclass(frozen=True, slots=True, kw_only=True)
class GivenSuite(Suite):
    """A suite whose items, by task, are in memory and not in files."""

    given: Mapping[str, tuple[Item, ...]]

    def content_hash(self) -> str:
        """Hash all that decides the scores: version, tasks and items."""
        tasks = [[*astuple(task), [item.item_id for item in self.given[task.name]]] for task in self.tasks]
        return content_id({"name": self.name, "version": self.version, "tasks": tasks})

    def items(self) -> dict[str, tuple[Item, ...]]:
        """Return the items of every task."""
        return dict(self.given)


@cache
def load_tasks() -> dict[str, Task]:
    """Return every kind of task by name."""
    return load_registry("adatta.evals.tasks")


def load_suite(name: str) -> Suite:
    """Return a suite by name.

    Raises:
        RecipeError: There is no such suite.
    """
    found: dict[str, Suite] = load_registry("adatta.evals.suites")
    suites = {suite.name: suite for suite in found.values()}
    if name not in suites:
        raise RecipeError(f"unknown suite {name!r}; there are: {', '.join(sorted(suites))}")
    return suites[name]


def _read_items(path: Path, task: SuiteTask, problems: list[Problem]) -> tuple[Item, ...]:
    items: dict[str, Item] = {}
    num_before = len(problems)
    for line, row in read_jsonl(path, problems):
        fields = {name: compose(value) for name, value in row.items()}
        item_id = content_id(fields)
        fault = _find_fault(task.task, fields)
        if item_id in items:
            fault = "the same item stands above; an item counts once"
        if fault:
            expected = ", ".join(f"{name} ({kind.__name__})" for name, kind in task.task.fields.items())
            hint = f"an item has the fields {expected}"
            problems.append(Problem(where=f"{path}:{line}", what=fault, hint=hint))
            continue
        items[item_id] = Item(
            item_id=item_id, task=task.name, language=task.language, cluster_id=item_id, fields=fields
        )
    if not items and len(problems) == num_before:
        problems.append(Problem(where=str(path), what="no items", hint="one JSON object a line"))
    return tuple(items.values())


def _find_fault(task: Task, fields: Mapping[str, Any]) -> str:
    wrong = sorted(set(task.fields) ^ set(fields))
    wrong += [name for name, kind in task.fields.items() if name in fields and type(fields[name]) is not kind]
    return f"missing, unknown or of a wrong type: {', '.join(wrong)}" if wrong else task.find_fault(fields)


def compose(value: Any) -> Any:
    """Bring the texts of a field into NFC, once for ids, tokens and bytes."""
    if isinstance(value, str):
        return unicodedata.normalize("NFC", value)
    if isinstance(value, dict):
        return {name: compose(part) for name, part in value.items()}
    return [compose(part) for part in value] if isinstance(value, list) else value
