"""Data sets of the Hub: streamed from one commit; what is missing is said with what to do."""

from __future__ import annotations

import sys
from types import SimpleNamespace

import pytest
from huggingface_hub import HfApi, constants
from huggingface_hub.errors import (
    GatedRepoError,
    HfHubHTTPError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)

from adatta.core.errors import DataError, MissingExtraError
from adatta.data import hub

datasets = pytest.importorskip("datasets")
pytestmark = pytest.mark.torch  # datasets imports it when a data set is read

HTTP = sys.modules[
    HfHubHTTPError.__bases__[0].__module__.partition(".")[0]
]  # its name depends on the version
COMMIT = "c0ffee" * 6 + "abcd"
ROWS = [
    {
        "messages": [{"role": "user", "content": "Ciao"}, {"role": "assistant", "content": "Salve"}],
        "id": None,
    },
    {"messages": [{"role": "user", "content": "a\0"}], "id": "x"},
    {"messages": [{"role": "user", "content": "È ora"}], "id": "y"},
]


@pytest.fixture
def calls(monkeypatch):
    """A Hub with one data set of the real library, and what it was asked."""
    asked = {}

    def dataset_info(_, repository, *, revision):
        asked["info"] = (repository, revision)
        return SimpleNamespace(sha=COMMIT)

    def load_dataset(path, name, **settings):
        asked["load"] = (path, name, settings)
        return datasets.Dataset.from_list(ROWS).to_iterable_dataset()

    monkeypatch.setattr(HfApi, "dataset_info", dataset_info)
    monkeypatch.setattr(datasets, "load_dataset", load_dataset)
    return asked


def fetch(problems=None, **settings):
    settings = {"config": None, "split": "train", "revision": None} | settings
    return hub.fetch_dataset("chi/cosa", [] if problems is None else problems, **settings)


def failing(error):
    def fail(*_, **__):
        raise error

    return fail


def test_fetch_dataset_reads_the_commit_that_the_revision_stands_for(calls):
    problems: list = []
    fetched = fetch(problems, config="it", split="test", revision="v2")
    assert calls["info"] == ("chi/cosa", "v2")
    settings = {"split": "test", "revision": COMMIT, "streaming": True}
    assert calls["load"] == ("hf://datasets/chi/cosa", "it", settings)
    assert fetched.commit == COMMIT
    assert list(fetched.rows) == [(1, {"messages": ROWS[0]["messages"]}), (3, ROWS[2])]
    assert [(p.where, p.reason, p.field) for p in problems] == [("hub:chi/cosa:2", "nul", "messages")]


def test_fetch_dataset_never_takes_a_folder_of_that_name(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "chi" / "cosa").mkdir(parents=True)  # a folder of that name isn't the data set
    (tmp_path / "chi" / "cosa" / "a.jsonl").write_text('{"text": "a"}\n')
    monkeypatch.setattr(HfApi, "dataset_info", lambda *_, **__: SimpleNamespace(sha=COMMIT))
    with pytest.raises(DataError, match="hub:chi/cosa: can't be fetched"):
        fetch()


@pytest.mark.parametrize(
    ("kind", "status", "advice"),
    [
        (GatedRepoError, 403, "accept its terms"),
        (RepositoryNotFoundError, 404, "write hub:OWNER/NAME"),
        (RevisionNotFoundError, 404, "correct the revision"),
        (HfHubHTTPError, 500, "check the connection"),
    ],
)
def test_fetch_dataset_that_the_hub_refuses_says_what_to_do(kind, status, advice, calls, monkeypatch):
    response = HTTP.Response(status, request=HTTP.Request("GET", "https://hub.test"))
    monkeypatch.setattr(HfApi, "dataset_info", failing(kind("told by the Hub", response=response)))
    with pytest.raises(DataError) as caught:
        fetch()
    (problem,) = caught.value.problems
    assert (problem.where, problem.what) == ("hub:chi/cosa", "can't be fetched: told by the Hub")
    assert problem.hint.startswith(advice)


def test_fetch_dataset_without_the_hub_asks_for_a_connection(calls, monkeypatch):
    monkeypatch.setattr(HfApi, "dataset_info", failing(HTTP.ConnectError("no route")))
    with pytest.raises(DataError, match=r"no route\n.*check the connection"):
        fetch()


def test_fetch_dataset_of_an_unknown_config_names_those_there_are(calls, monkeypatch):
    error = ValueError("BuilderConfig 'xx' not found. Available:\n['it']")
    monkeypatch.setattr(datasets, "load_dataset", failing(error))
    with pytest.raises(DataError, match=r"Available: \['it'\]\n.*correct the name, config or split"):
        fetch(config="xx")


@pytest.mark.parametrize("repository", ["cosa/di/troppo", "-no-"])
def test_fetch_dataset_of_a_name_that_is_none_says_so(repository):
    with pytest.raises(DataError, match="correct the name"):
        hub.fetch_dataset(repository, [], config=None, split="train", revision=None)


def test_fetch_dataset_offline_asks_nothing_and_says_why(monkeypatch):
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(DataError, match="unset HF_HUB_OFFLINE"):
        fetch()


def test_rows_that_stop_coming_are_an_error_with_their_place(calls, monkeypatch):
    def rows():
        yield ROWS[0]
        raise HTTP.ReadTimeout("too slow")

    monkeypatch.setattr(datasets, "load_dataset", lambda *_, **__: rows())
    fetched = fetch()
    assert next(fetched.rows)[0] == 1
    with pytest.raises(DataError, match="hub:chi/cosa:2: can't be fetched: too slow"):
        next(fetched.rows)


def test_fetch_dataset_without_the_package_names_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(MissingExtraError, match=r"adatta\[hub\]"):
        fetch()
