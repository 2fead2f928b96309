"""Ask one model, given as two functions, a suite's items: each ends scored or with a reason."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from itertools import chain
from typing import Any, NamedTuple

from adatta.chat.render import Chat
from adatta.core.errors import DataError, EvalError, TemplateError
from adatta.core.fingerprint import canonical_json, content_id
from adatta.core.records import (
    BASE,
    CONTROL_PREFIX,
    NO_TEMPLATE,
    Item,
    Message,
    Score,
    ScoreStatus,
    TokenRow,
    is_control,
)
from adatta.evals.suite import Answer, AnswerTask, Branch, BranchTask, Outcome, Suite, SuiteTask, Task
from adatta.lang.profile import Profile

CONTROL_PLAIN = "control-plain"  # base as downloaded: its own template, no system message given
SHOTS = (1, 3)  # example exchanges behind the profile's prompt: control-1-shot, control-3-shot

SumLogProbs = Callable[[Sequence[Sequence[TokenRow]]], Sequence[Sequence[float]]]
Generate = Callable[[Sequence[tuple[int, ...]]], Sequence[tuple[int, ...]]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Subject:
    """The model that is asked: its place in the table, and the messages before each free prompt.

    Make it with `make_subject`, so that every row of the table is asked in the same way.
    """

    stage: str
    model_fingerprint: str
    opening: tuple[Message, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """How much is computed: `context` and `max_new_tokens` in tokens."""

    context: int
    max_new_tokens: int = 96


class _Fault(NamedTuple):
    """Why an item has no score: it can't be asked (unscored), or something broke (failed)."""

    status: ScoreStatus
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class _Asked:
    """An item with what the model is given and what to make of the result.

    `rows` are to be scored, `ids` to be answered; an item that can't be asked has neither, and `measure`
    gives its fault.
    """

    item: Item
    kind: Task
    prompt_hash: str
    measure: Callable[[Any], Sequence[Outcome] | _Fault]
    rows: tuple[TokenRow, ...] = ()
    ids: tuple[int, ...] = ()

    @classmethod
    def broken(cls, item: Item, kind: Task, prompt_hash: str, *, fault: _Fault) -> _Asked:
        """Make one that can't be asked."""
        return cls(item=item, kind=kind, prompt_hash=prompt_hash, measure=lambda _: fault)


WITHOUT_TEMPLATE = _Fault("unscored", NO_TEMPLATE)
TOO_LONG = _Fault("unscored", "longer than the context")
NOTHING_SCORED = _Fault("failed", "a text has no scored token")
NOT_FINITE = _Fault("failed", "a log-prob is not a finite number")
ENCODING_ERRORS = (TemplateError, DataError, EvalError)


def make_subject(stage: str, model_fingerprint: str, profile: Profile) -> Subject:
    """Give a model its place in the table and the messages that belong to it.

    Args:
        stage: `base`, a training stage's name, or one of the controls.
        model_fingerprint: Identity of the weights.
        profile: Of the language; its system prompt stands before every model's free prompts.

    Returns:
        The subject.

    Raises:
        EvalError: There is no such control.
    """
    openings = list_controls(profile)
    if is_control(stage) and stage not in openings:
        raise EvalError(f"unknown control {stage!r}; there are: {', '.join(openings)}")
    opening = openings.get(stage, (Message(role="system", content=profile.system_prompt),))
    return Subject(stage=stage, model_fingerprint=model_fingerprint, opening=opening)


def list_subjects(stage: str, model_fingerprint: str, *, profile: Profile) -> list[Subject]:
    """List the rows of the table that a model fills: its own, and for the base the controls.

    Args:
        stage: `base`, or the name of another model.
        model_fingerprint: Identity of the weights.
        profile: Of the language.
    """
    rows = [stage, *(list_controls(profile) if stage == BASE else ())]
    return [make_subject(row, model_fingerprint, profile) for row in rows]


def list_controls(profile: Profile) -> dict[str, tuple[Message, ...]]:
    """List the ways to prompt the base without training it: the messages before each free prompt, by control.

    Args:
        profile: Of the language; a control of more examples than it has is left out.
    """
    system = Message(role="system", content=profile.system_prompt)
    shots = {
        f"{CONTROL_PREFIX}{number}-shot": (system, *chain.from_iterable(profile.examples[:number]))
        for number in SHOTS
        if number <= len(profile.examples)
    }
    return {CONTROL_PLAIN: (), **shots}


def ask_suite(
    suite: Suite,
    chat: Chat,
    *,
    subject: Subject,
    limits: Limits,
    sum_log_probs: SumLogProbs,
    generate: Generate,
) -> list[Score]:
    """Ask every item of a suite; a control is asked for free answers only.

    With the base come the judges that need no model: each rule of a task, as `control-NAME`.

    Args:
        suite: Its items are read from its files.
        chat: Of the model; for `control-plain` without a system prompt of its own.
        subject: The model's place in the table.
        limits: Context and longest answer.
        sum_log_probs: Gives the summed log-prob (nats) of each row of each group.
        generate: Gives the ids of an answer for each prompt's ids, the stop id included.

    Returns:
        One score an item and metric, in the order of the suite and its files.

    Raises:
        EvalError: The chat inserts a system prompt where none belongs.
        RowError: The suite's files have mistakes.
    """
    if not subject.opening and chat.system_prompt is not None:
        raise EvalError(f"{subject.stage} is asked without a system prompt; load its chat without one")
    items = suite.items()
    asked = [
        _prepare(task, item, chat, subject=subject, limits=limits)
        for task in suite.tasks
        if isinstance(task.task, AnswerTask) or not is_control(subject.stage)
        for item in items[task.name]
    ]
    with_rows, with_ids = [one for one in asked if one.rows], [one for one in asked if one.ids]
    sums = sum_log_probs([one.rows for one in with_rows]) if with_rows else ()
    answers = generate([one.ids for one in with_ids]) if with_ids else ()
    results: dict[int, Any] = dict(zip(map(id, with_rows), sums, strict=True))
    results |= zip(map(id, with_ids), answers, strict=True)
    scores = [
        score
        for one in asked
        for score in _write_scores(one, one.measure(results.get(id(one))), suite=suite, subject=subject)
    ]
    return scores + (list(_judge_by_rules(asked, suite)) if subject.stage == BASE else [])


def _judge_by_rules(asked: Sequence[_Asked], suite: Suite) -> Iterator[Score]:
    for one in asked:
        for name, rule in one.kind.rules.items():
            judge = Subject(stage=f"{CONTROL_PREFIX}{name}", model_fingerprint="rule", opening=())
            outcomes = [Outcome(metric=metric.name, score=rule(one.item)) for metric in one.kind.metrics]
            yield from _write_scores(one, outcomes, suite=suite, subject=judge)


def _prepare(task: SuiteTask, item: Item, chat: Chat, *, subject: Subject, limits: Limits) -> _Asked:
    kind = task.task
    if isinstance(kind, BranchTask):
        return _prepare_branches(kind, item, chat, limits)
    if isinstance(kind, AnswerTask):
        return _prepare_answer(kind, item, chat, subject=subject, limits=limits)
    raise EvalError(f"task {task.kind} is neither a branch task nor an answer task; derive it from one")


def _prepare_branches(kind: BranchTask, item: Item, chat: Chat, limits: Limits) -> _Asked:
    prompt_hash = content_id(kind.question(item))
    if kind.is_chat and chat.template is None:
        return _Asked.broken(item, kind, prompt_hash, fault=WITHOUT_TEMPLATE)
    try:
        rows = tuple(kind.branches(item, chat, context=limits.context))
    except ENCODING_ERRORS as error:
        return _Asked.broken(item, kind, prompt_hash, fault=_Fault("failed", str(error)))
    if max(len(row.ids) for row in rows) > limits.context:
        return _Asked.broken(item, kind, prompt_hash, fault=TOO_LONG)
    if not all(any(row.weights) for row in rows):
        return _Asked.broken(item, kind, prompt_hash, fault=NOTHING_SCORED)
    measure = partial(_measure_branches, kind, item, rows)
    return _Asked(item=item, kind=kind, prompt_hash=prompt_hash, measure=measure, rows=rows)


def _prepare_answer(kind: AnswerTask, item: Item, chat: Chat, *, subject: Subject, limits: Limits) -> _Asked:
    messages = (*subject.opening, Message(role="user", content=kind.prompt(item)))
    turns = [[message.role, message.content] for message in messages]
    prompt_hash = content_id({"messages": turns, "max_new_tokens": limits.max_new_tokens})
    if chat.template is None:
        return _Asked.broken(item, kind, prompt_hash, fault=WITHOUT_TEMPLATE)
    try:
        ids = chat.prompt(messages)
    except ENCODING_ERRORS as error:
        return _Asked.broken(item, kind, prompt_hash, fault=_Fault("failed", str(error)))
    if len(ids) + limits.max_new_tokens > limits.context:
        return _Asked.broken(item, kind, prompt_hash, fault=TOO_LONG)
    measure = partial(_measure_answer, kind, item, chat)
    return _Asked(item=item, kind=kind, prompt_hash=prompt_hash, measure=measure, ids=ids)


def _measure_branches(
    kind: BranchTask, item: Item, rows: Sequence[TokenRow], sums: Sequence[float]
) -> Sequence[Outcome] | _Fault:
    if not all(math.isfinite(log_prob) for log_prob in sums):
        return NOT_FINITE
    counts = [sum(weight != 0 for weight in row.weights) for row in rows]
    return kind.measure(item, [Branch(*branch) for branch in zip(sums, counts, strict=True)])


def _measure_answer(kind: AnswerTask, item: Item, chat: Chat, ids: Sequence[int]) -> Sequence[Outcome]:
    is_stopped = bool(ids) and ids[-1] in chat.stop_ids
    text = chat.decode(ids[:-1] if is_stopped else ids)
    return kind.measure(item, Answer(text, len(ids), is_stopped))


def _write_scores(
    asked: _Asked, result: Sequence[Outcome] | _Fault, *, suite: Suite, subject: Subject
) -> Iterator[Score]:
    item = asked.item
    status: ScoreStatus | None = None
    if isinstance(result, _Fault):
        status, reason = result
        result = [Outcome(metric=metric.name, reason=reason) for metric in asked.kind.metrics]
    for outcome in result:
        yield Score(
            model_fingerprint=subject.model_fingerprint,
            stage=subject.stage,
            suite=suite.name,
            suite_version=suite.version,
            task=item.task,
            language=item.language,
            item_id=item.item_id,
            item_hash=hashlib.sha256(canonical_json(item.fields).encode()).hexdigest(),
            cluster_id=item.cluster_id,
            prompt_hash=asked.prompt_hash,
            group=asked.kind.group(item),
            status=status or ("unscored" if outcome.reason else "scored"),
            **asdict(outcome),
        )
