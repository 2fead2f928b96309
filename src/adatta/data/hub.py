"""Rows of a data set on the Hugging Face Hub, streamed from one commit."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

from huggingface_hub import HfApi
from huggingface_hub.errors import (
    GatedRepoError,
    HfHubHTTPError,
    OfflineModeIsEnabled,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)

from adatta.core.errors import DataError, Problem
from adatta.core.extras import require
from adatta.core.problems import Sink
from adatta.data.source import Numbered, drop_nulls, sift

# The HTTP library's error is a base of the Hub's; which library that is depends on the version.
_FAILURES = (*HfHubHTTPError.__bases__, ValueError, RuntimeError, ImportError)
_ADVICE: tuple[tuple[type[Exception], str], ...] = (
    (OfflineModeIsEnabled, "unset HF_HUB_OFFLINE, or save the data set as files and name these instead"),
    (GatedRepoError, "accept its terms on its page, then `hf auth login` or set HF_TOKEN"),
    (RepositoryNotFoundError, "write hub:OWNER/NAME; for a private one, `hf auth login` or set HF_TOKEN"),
    (RevisionNotFoundError, "correct the revision: a branch, tag or commit"),
    (ValueError, "correct the name, config or split"),
    (Exception, "check the connection and try again, or save the data set as files and name these instead"),
)


class HubRows(NamedTuple):
    """The commit that rows come from, which the record pins, and the rows with their number from 1."""

    commit: str
    rows: Iterator[Numbered]


def fetch_dataset(
    repository: str, problems: Sink, *, config: str | None, split: str, revision: str | None
) -> HubRows:
    """Open a data set for streaming; its rows are fetched as they are read, and nothing is kept.

    Args:
        repository: OWNER/NAME.
        problems: Takes what is wrong with rows, as `hub:OWNER/NAME:17`.
        config: Configuration; may be None where there is only one.
        split: Such as `train`.
        revision: Branch, tag or commit; the newest when None.

    Returns:
        Commit and rows; a failure while the rows are read is a DataError, too.

    Raises:
        DataError: It is missing, private or gated, has no such revision, config or split, or isn't reached.
        MissingExtraError: The package datasets isn't installed.
    """
    library = require("datasets", "hub")
    failures = (*_FAILURES, library.exceptions.DatasetsError)
    name = f"hub:{repository}"
    try:
        commit = HfApi().dataset_info(repository, revision=revision).sha
        # With its scheme, the name is never taken for a folder of this machine.
        stream = library.load_dataset(
            f"hf://datasets/{repository}", config, split=split, revision=commit, streaming=True
        )
    except failures as error:
        raise _failed(error, name) from error
    return HubRows(str(commit), sift(_number(stream, name, failures), path=name, problems=problems))


def _number(stream: Iterable[Any], name: str, failures: tuple[type[Exception], ...]) -> Iterator[Numbered]:
    number = 0
    try:
        for number, row in enumerate(stream, start=1):
            yield number, drop_nulls(row)
    except failures as error:
        raise _failed(error, f"{name}:{number + 1}") from error


def _failed(error: Exception, where: str) -> DataError:
    advice = next(text for kind, text in _ADVICE if isinstance(error, kind))
    what = f"can't be fetched: {' '.join(str(error).split())}"
    return DataError(Problem(where=where, what=what, hint=advice, reason="unreadable"))
