"""llama.cpp's own: a port closed to others, signals left alone, ids within characters, what it can't tell."""

from __future__ import annotations

import http.client
import signal
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from adatta.core.errors import ModelError
from adatta.model.engine import Sampling
from adatta.model.engines.llamacpp import LlamaCppEngine
from tests.toys.exports import write_toy

pytestmark = pytest.mark.torch
CONTEXT = (5, 77, 130, 8, 301, 42)
ORIGIN = "http://example.org"


@pytest.fixture(scope="module")
def path(toy_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_toy(toy_folder, tmp_path_factory.mktemp("gguf"))


@pytest.fixture(scope="module")
def engine(path: Path) -> Iterator[LlamaCppEngine]:
    with LlamaCppEngine(path, context=256, threads=1) as opened:
        yield opened


def ask(engine: LlamaCppEngine, route: str, **headers: str) -> http.client.HTTPResponse:
    address = engine._server.listening_address.removeprefix("http://")
    method, body = ("GET", None) if route in ("/props", "/slots") else ("POST", '{"prompt": [5]}')
    with closing(http.client.HTTPConnection(address)) as connection:
        connection.request(method, route, body=body, headers={"Origin": ORIGIN, **headers})
        answer = connection.getresponse()
        answer.read()
        return answer


def test_port_listens_on_this_machine_only(engine: LlamaCppEngine) -> None:
    assert engine._server.listening_address.startswith("http://127.0.0.1:")


@pytest.mark.parametrize("route", ["/props", "/completion", "/v1/completions", "/tokenize", "/slots"])
@pytest.mark.parametrize("headers", [{}, {"Authorization": "Bearer 0"}, {"X-Api-Key": ""}])
def test_port_refuses_whoever_lacks_the_key(
    engine: LlamaCppEngine, route: str, headers: dict[str, str]
) -> None:
    assert ask(engine, route, **headers).status == 401
    with_key = {"Authorization": f"Bearer {engine._key}"}
    assert ask(engine, route, **with_key).status != 401  # the test itself would pass where nothing answers


def test_key_is_random(path: Path, engine: LlamaCppEngine) -> None:
    with LlamaCppEngine(path, context=256, threads=1) as other:
        assert len(other._key) == 32
        assert other._key != engine._key


def test_web_pages_are_not_let_in(engine: LlamaCppEngine) -> None:
    for route in ("/props", "/completion"):
        answer = ask(engine, route, Authorization=f"Bearer {engine._key}")
        assert answer.getheader("Access-Control-Allow-Origin") in (None, "")
        assert answer.getheader("Access-Control-Allow-Credentials") in (None, "false")


def test_no_page_is_served(engine: LlamaCppEngine) -> None:
    answer = ask(engine, "/", Authorization=f"Bearer {engine._key}")
    assert answer.status == 404


def test_ctrl_c_and_sigterm_stay_python_s(engine: LlamaCppEngine) -> None:
    with pytest.raises(KeyboardInterrupt):
        signal.raise_signal(signal.SIGINT)
    assert list(engine.stream(CONTEXT, Sampling(stop_ids=(), limit=3, seed=0)))  # the server goes on


def test_stream_gives_the_ids_within_characters(engine: LlamaCppEngine) -> None:
    sampling = Sampling(stop_ids=(), limit=40, seed=0)
    one_by_one = [candidate.id for candidate in engine.stream_scored(CONTEXT, sampling)]
    assert list(engine.stream(CONTEXT, sampling)) == one_by_one
    told = list(engine._told(list(CONTEXT), 40, keep=False))
    assert 0 < len(told) <= 40


def test_stream_asks_alone_for_an_id_that_is_not_told(
    engine: LlamaCppEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    sampling = Sampling(stop_ids=(), limit=9, seed=0)
    expected = list(engine.stream(CONTEXT, sampling))
    asked = []
    first = engine._next
    monkeypatch.setattr(engine, "_next", lambda ids, **options: asked.append(ids) or first(ids, **options))
    monkeypatch.setattr("json.loads", broken_every_third())
    assert list(engine.stream(CONTEXT, sampling)) == expected
    assert asked


def broken_every_third():
    """Read JSON, with every third streamed event as if it ended within a character."""
    import json

    read, count = json.loads, iter(range(10**6))

    def loads(text):
        value = read(text)
        if "tokens_predicted" in value and next(count) % 3 == 0:
            value["tokens_predicted"] += 1
        return value

    return loads


def test_unknown_ids_are_refused(engine: LlamaCppEngine) -> None:
    for temperature in (0.0, 1.0):
        with pytest.raises(ModelError, match="refused the ids"):
            list(engine.stream([10**6], Sampling(stop_ids=(), limit=2, seed=0, temperature=temperature)))


def test_log_prob_too_small_to_be_told_is_refused(
    engine: LlamaCppEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert engine.log_probs(CONTEXT, [(9,)])[0][0] > -87
    monkeypatch.setattr("adatta.model.engines.llamacpp._LEAST_LOGP", 0.0)
    with pytest.raises(ModelError, match=r"which llama\.cpp can't tell"):
        engine.log_probs(CONTEXT, [(9,)])


def test_file_that_is_no_gguf_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "model.gguf"
    path.write_text("Ciao")
    with pytest.raises(ModelError, match=r"can't read .*model\.gguf as a GGUF model"):
        LlamaCppEngine(path)
