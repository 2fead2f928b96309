"""A release goes to the Hub in one commit, nothing twice, and the token nowhere else."""

from __future__ import annotations

import logging
import traceback
from collections.abc import Iterator
from pathlib import Path

import pytest
from huggingface_hub.utils import HFValidationError
from huggingface_hub.utils._validators import validate_repo_id

from adatta.core.errors import AdattaError, ExportError, PublishError
from adatta.export.hub import push, require_repo
from tests.toys.hub_server import READER, TOKEN, Hub, serve_hub

pytestmark = pytest.mark.filterwarnings("ignore:Use 'content:DeprecationWarning")  # huggingface_hub's own

CARD = b"---\nlicense: mit\n---\n# Demo\n"
LARGE = {f"{name}.gguf": f"weights {name}".encode() * 1000 for name in "abcde"}
FILES = {"README.md": CARD, "config.json": b"{}", **LARGE}


@pytest.fixture
def hub() -> Iterator[Hub]:
    with serve_hub() as served:
        yield served


def send(
    repo: str = "rosa/demo", files: dict[str, Path | bytes] | None = None, *, is_public: bool = False
) -> str:
    return push(repo, files or FILES, message="Publish demo", is_public=is_public)


def test_push_makes_a_private_repository_and_one_commit(hub: Hub, tmp_path: Path) -> None:
    (tmp_path / "x.safetensors").write_bytes(b"weights")
    address = send(files={**FILES, "model.safetensors": tmp_path / "x.safetensors"})
    assert address == f"{hub.address}/rosa/demo"
    assert hub.files("rosa/demo") == {**FILES, "model.safetensors": b"weights"}
    assert hub.repos["rosa/demo"]["private"] is True
    assert hub.repos["rosa/demo"]["commits"] == ["Publish demo"]


def test_public_is_said(hub: Hub) -> None:
    send(is_public=True)
    assert hub.repos["rosa/demo"]["private"] is False


def test_second_time_nothing_is_sent(hub: Hub) -> None:
    send()
    hub.mend()
    send()
    assert (hub.sent, hub.sent_small) == ([], [])
    assert hub.repos["rosa/demo"]["commits"] == ["Publish demo"]


def test_changed_file_alone_is_sent(hub: Hub) -> None:
    send()
    hub.mend()
    send(files={**FILES, "config.json": b'{"a": 1}', "c.gguf": b"other weights"})
    assert len(hub.sent) == 1
    assert hub.sent_small == ["config.json"]
    assert hub.files("rosa/demo")["c.gguf"] == b"other weights"


def test_after_a_cut_in_the_third_file_nothing_that_arrived_is_sent_again(hub: Hub) -> None:
    hub.cut_at = 3
    with pytest.raises(
        ExportError, match="broke off; run the command again, nothing is sent twice"
    ) as caught:
        send()
    assert caught.value.exit_code == 1
    arrived = set(hub.stored)
    assert len(arrived) == 2
    assert hub.repos["rosa/demo"]["commits"] == []
    hub.mend()
    send()
    assert len(hub.sent) == len(LARGE) - len(arrived)
    assert not arrived & set(hub.sent)
    assert hub.files("rosa/demo") == FILES


def test_server_that_forgets_what_it_has_is_seen(hub: Hub) -> None:
    """The count on the server can fail: without the batch call's answer, all would be sent again."""
    send()
    hub.mend()
    hub.stored.clear()
    hub.repos["rosa/demo"]["files"].clear()
    send()
    assert len(hub.sent) == len(LARGE)


@pytest.mark.parametrize("is_public", [True, False])
def test_repository_that_others_see_than_asked_for_is_left_alone(hub: Hub, is_public: bool) -> None:
    send(is_public=not is_public)
    hub.mend()
    with pytest.raises(PublishError, match="is there and not as asked for"):
        send(files={**FILES, "new.gguf": b"new"}, is_public=is_public)
    assert hub.sent == []


def test_without_a_token_nothing_is_asked(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    for token in ("", "hf_with space"):
        monkeypatch.setenv("HF_TOKEN", token)
        monkeypatch.setattr("huggingface_hub.constants.HF_TOKEN_PATH", "/nowhere/token")
        with pytest.raises(PublishError, match="wants a token"):
            send()
    assert hub.calls == []


@pytest.mark.parametrize(
    ("repo", "token", "words"),
    [
        ("rosa/demo", "hf_unknown", "doesn't know this token"),
        ("rosa/demo", READER, "may not write there"),
        ("lino/demo", TOKEN, "may not write there"),
    ],
)
def test_token_without_the_right_is_the_users_mistake(
    hub: Hub, monkeypatch: pytest.MonkeyPatch, repo: str, token: str, words: str
) -> None:
    monkeypatch.setenv("HF_TOKEN", token)
    with pytest.raises(PublishError, match=words) as caught:
        send(repo)
    assert caught.value.exit_code == 2
    assert not hub.stored


def test_offline_mode_forbids_it(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(PublishError, match="HF_HUB_OFFLINE forbids"):
        send()
    assert hub.calls == []


@pytest.mark.parametrize("status", [400, 404, 500, 503])
def test_refusals_are_errors_of_ours(hub: Hub, status: int) -> None:
    hub.refuse = (status, "something is wrong here")
    with pytest.raises(AdattaError, match="rosa/demo"):
        send()


def test_hub_that_is_not_there_says_to_try_again(monkeypatch: pytest.MonkeyPatch) -> None:
    with serve_hub() as hub:
        monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", "http://127.0.0.1:9")
        with pytest.raises(ExportError, match="run the command again"):
            send()
    assert hub.calls == []


def test_card_that_the_hub_refuses_is_told_before_anything_is_sent(hub: Hub) -> None:
    with pytest.raises(
        ExportError, match=r'refused the card of rosa/demo: .*"license" must be one of the list'
    ):
        send(files={**FILES, "README.md": b"---\nlicense: mine\n---\n"})
    assert not hub.stored


@pytest.mark.parametrize("words", ["you sent {token}", "Bearer {token}\n\tagain: {token}"])
@pytest.mark.parametrize("status", [400, 401, 403, 500])
def test_token_stands_in_no_message_traceback_or_log(
    hub: Hub, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str], status: int, words: str
) -> None:
    hub.refuse = (status, words.format(token=TOKEN).replace("\n\t", " "))
    with caplog.at_level(logging.INFO), pytest.raises(AdattaError) as caught:
        send()
    told = "".join(traceback.format_exception(caught.value))
    assert "[token]" in str(caught.value)
    assert not any(TOKEN in text for text in (told, caplog.text, *capfd.readouterr()))


def test_token_of_a_broken_line_is_not_told_either(hub: Hub, capfd: pytest.CaptureFixture[str]) -> None:
    hub.cut_at = 1
    with pytest.raises(ExportError) as caught:
        send()
    assert TOKEN not in "".join((*traceback.format_exception(caught.value), *capfd.readouterr()))


REPOS = (
    "rosa/demo",
    "Rosa-1/demo_2.x",
    "a/b",
    "rosa/demo--x",
    "rosa/..",
    "rosa/x.git",
    "rosa/-x",
    "rosa/x-",
    "ro sa/x",
)
REPOS += (
    "rosa/é",
    "rosa/" + "x" * 91,
    "rosa/" + "x" * 92,
    "a/b/c",
    "rosa/",
    "/x",
    "",
    "rosa/.x",
    "rosa./x",
    "-rosa/x",
)


@pytest.mark.parametrize("repo", REPOS)
def test_names_are_those_that_the_library_takes(repo: str) -> None:
    try:
        validate_repo_id(repo)
        is_right = "/" in repo
    except HFValidationError:
        is_right = False
    if is_right:
        require_repo(repo)
    else:
        with pytest.raises(PublishError, match="write OWNER/NAME"):
            require_repo(repo)


def test_name_without_owner_is_refused() -> None:
    with pytest.raises(PublishError, match="'demo': write OWNER/NAME"):
        require_repo("demo")
