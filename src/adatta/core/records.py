"""The frozen records that cross package borders."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

Role = Literal["system", "user", "assistant"]
ScoreStatus = Literal["scored", "unscored", "failed"]
CONTROL_PREFIX = "control-"  # of a stage


@dataclass(frozen=True, slots=True, kw_only=True)
class Origin:
    """Where a row stands: a file and a line in it (1-based)."""

    path: str
    line: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """One turn of a conversation; `thoughts` is what a reasoning model wrote before its answer."""

    role: Role
    content: str
    thoughts: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Conversation:
    """A row of messages; the assistant's words are what SFT learns.

    `row_id` is the id by content; rows with one `group` (twins, one source) stay on one side of a split.
    """

    messages: tuple[Message, ...]
    row_id: str
    origin: Origin
    language: str | None = None
    group: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Preference:
    """A prompt with a better and a worse answer; what DPO learns from."""

    prompt: tuple[Message, ...]
    chosen: Message
    rejected: Message
    row_id: str
    origin: Origin
    language: str | None = None
    group: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Document:
    """A plain text; what adaptation learns and what bits per byte are measured on."""

    text: str
    row_id: str
    origin: Origin
    language: str | None = None
    group: str | None = None


Row = Conversation | Preference | Document


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenRow:
    """One branch: the ids of a whole row and the loss weight of each id.

    `weights` has the length of `ids`; 0 means not scored; the first id is never scored. `branch` numbers
    the branches of one row: 0 chosen and 1 rejected for a preference, the window for a document.
    """

    ids: tuple[int, ...]
    weights: tuple[float, ...]
    row_id: str
    branch: int = 0


BASE = "base"
"""The stage of the scores of the model that a chain starts from."""

NO_TEMPLATE = "no chat template"
"""Why a model without one can't be asked what needs one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Item:
    """One evaluation question; `fields` is its content, which decides `item_id`."""

    item_id: str
    task: str
    language: str
    cluster_id: str
    fields: Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Score:
    """What a model got on an item: one row of scores.parquet; the field names are its columns.

    `group` is the kind of item that it is, such as the way in which a rejected answer fails. `probability` is
    what the model gives to the option that it prefers, among the options.
    """

    model_fingerprint: str
    stage: str
    suite: str
    suite_version: int
    task: str
    language: str
    item_id: str
    item_hash: str
    cluster_id: str
    metric: str
    status: ScoreStatus
    reason: str | None = None
    score: float | None = None
    log_prob: float | None = None
    num_tokens: int | None = None
    num_bytes: int | None = None
    prompt_hash: str | None = None
    output: str | None = None
    seed: int | None = None
    group: str | None = None
    probability: float | None = None


def shared_length(first: Sequence[object], second: Sequence[object]) -> int:
    """Count what two sequences begin with in common."""
    pairs = enumerate(zip(first, second, strict=False))
    return next((at for at, (one, other) in pairs if one != other), min(len(first), len(second)))


def is_control(stage: str) -> bool:
    """Tell whether a stage stands beside the table: free answers only, under another prompt on purpose."""
    return stage.startswith(CONTROL_PREFIX)
