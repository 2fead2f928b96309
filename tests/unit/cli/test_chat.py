"""`adatta chat` on a toy: a run through its GGUF file, a file, a folder; one answer or a conversation."""

from __future__ import annotations

import io
import json
import re
import shutil
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from adatta.chat.render import Chat
from adatta.cli.main import build_app
from adatta.core.errors import ModelError, Problem
from adatta.core.records import Message, Origin
from adatta.core.rows import read_jsonl
from adatta.data.shape import shape_row
from adatta.lang.profile import load_profile
from adatta.model.engine import Sampling
from adatta.model.engines.llamacpp import LlamaCppEngine
from adatta.pipeline.opening import _exported_gguf, open_model
from tests.toys import vllm
from tests.toys.command import call
from tests.toys.exports import write_toy

pytestmark = pytest.mark.torch
runner = CliRunner()


@pytest.fixture(autouse=True)
def _one_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("adatta.model.engines.llamacpp._num_cores", lambda: 1)


def talk(*arguments: str, lines: str = "", exit_code: int = 0) -> tuple[str, str]:
    result = runner.invoke(build_app(), ["chat", *arguments], input=lines, catch_exceptions=False)
    assert result.exit_code == exit_code, result.output
    return result.stdout, result.stderr


def expected(chat: Chat, path: Path, *messages: Message, limit: int = 12) -> str:
    with LlamaCppEngine(path, context=512) as engine:
        sampling = Sampling(stop_ids=chat.stop_ids, limit=limit, seed=0)
        return chat.decode(list(engine.stream(chat.prompt(messages), sampling)))


def test_once_on_a_run_answers_from_its_f16_file_with_the_profile(run: Path, toy_folder: Path) -> None:
    out, err = talk(str(run), "--once", "Chi sei?", "--max-new-tokens", "12")
    chat = Chat.load(toy_folder, load_profile("it").system_prompt)
    file = next(run.rglob("*-f16.gguf"))
    assert out == expected(chat, file, Message(role="user", content="Chi sei?")) + "\n"
    assert err in ("", "adatta: the answer was cut off by --max-new-tokens or the context\n")


def test_system_replaces_the_run_s_own(run: Path, toy_folder: Path) -> None:
    out, _ = talk("prova", "--once", "Chi sei?", "--max-new-tokens", "12", "--system", "Sii breve.")
    messages = [Message(role="system", content="Sii breve."), Message(role="user", content="Chi sei?")]
    assert out == expected(Chat.load(toy_folder), next(run.rglob("*-f16.gguf")), *messages) + "\n"


def test_same_seed_gives_the_same_answer(run: Path) -> None:
    arguments = ("prova", "--once", "Ciao", "--temperature", "1.5", "--max-new-tokens", "12")
    assert talk(*arguments, "--seed", "3") == talk(*arguments, "--seed", "3")
    assert len({talk(*arguments, "--seed", str(seed))[0] for seed in range(4)}) > 1


def test_conversation_passes_over_empty_lines_and_ends_with_exit(run: Path) -> None:
    file = str(next(run.rglob("*-q8_0.gguf")))
    out, _ = talk(file, "--max-new-tokens", "4", lines="Uno\n\n   \nDue\n/exit\nTre\n")
    one, _ = talk(file, "--max-new-tokens", "4", lines="Uno\n/reset\nUno\n")
    assert out == talk(file, "--max-new-tokens", "4", lines="Uno\nDue\n")[0]
    assert out.startswith(one[: len(one) // 2].removesuffix("\n"))
    half = one.removesuffix("\n")  # the line that the end of the input leaves
    assert half[: len(half) // 2] == half[len(half) // 2 :]


def test_conversation_over_the_context_is_told_and_goes_on(run: Path) -> None:
    lines = "parola " * 400 + "\nCiao\n"
    out, err = talk("prova", "--max-new-tokens", "4", lines=lines, exit_code=2)
    assert "no longer fits into the model's context of 512" in err
    assert "nothing was left out" in err
    assert out == talk("prova", "--max-new-tokens", "4", lines="Ciao\n")[0]


def test_commands_change_the_conversation(run: Path, toy_folder: Path, tmp_path: Path) -> None:
    row = {"messages": [{"role": "user", "content": "Uno"}, {"role": "assistant", "content": "Due"}]}
    (tmp_path / "righe.jsonl").write_text(json.dumps({"text": "no"}) + "\n" + json.dumps(row) + "\n")
    options = ("--max-new-tokens", "4")
    out, _ = talk("prova", *options, lines=f"/load {tmp_path}/righe.jsonl\n/system Sii breve.\nTre\n")
    roles = (("system", "Sii breve."), ("user", "Uno"), ("assistant", "Due"), ("user", "Tre"))
    messages = [Message(role=role, content=content) for role, content in roles]
    answer = expected(Chat.load(toy_folder), next(run.rglob("*-f16.gguf")), *messages, limit=4)
    assert out.endswith(f"righe.jsonl:2: 2 messages\n{answer}\n\n")


def test_loaded_system_message_is_the_one_at_work(run: Path, tmp_path: Path) -> None:
    row = [("system", "Sii breve."), ("user", "Uno"), ("assistant", "Due")]
    messages = [{"role": role, "content": content} for role, content in row]
    (tmp_path / "righe.jsonl").write_text(json.dumps({"messages": messages}) + "\n")
    out, _ = talk("prova", "--system", "Altro.", lines=f"/load {tmp_path}/righe.jsonl\n/system\n")
    assert "Sii breve." in out
    assert "Altro." not in out


def test_export_before_a_later_training_stage_is_not_the_run_s_model(run: Path) -> None:
    current = json.loads((run / "current.json").read_text())
    export = [run / "02-export-abc" / "prova-f16.gguf"]
    assert _exported_gguf(run, current["stages"]) == export[0]
    assert _exported_gguf(run, [*current["stages"], {"kind": "dpo", "folder": "03-dpo-x"}]) is None


def test_system_without_a_text_shows_the_one_at_work(toy_folder: Path) -> None:
    folder = str(toy_folder)
    assert talk(folder, lines="/system\n/system Sii breve.\n/system\n")[0] == (
        "none but what the chat template itself writes\nSii breve.\n\n"
    )


def test_regenerate_asks_again_with_the_next_seed(run: Path) -> None:
    options = ("prova", "--temperature", "1.5", "--max-new-tokens", "12")
    out, _ = talk(*options, lines="Ciao\n/regenerate\n")
    again, _ = talk(*options, "--seed", "1", lines="Ciao\n")
    assert out.endswith(again)
    assert out != again + again


def test_saved_conversations_are_rows_that_check_accepts(
    run: Path, tmp_path: Path, toy_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    lines = "".join(f"Domanda {n}\n/save righe {n}.jsonl\n/reset\n" for n in (1, 1, 2, 2))
    file = tmp_path / "righe.jsonl"
    lines = lines.replace("righe 1.jsonl", str(file)).replace("righe 2.jsonl", str(file))
    talk("prova", "--max-new-tokens", "5", "--system", "Rispondi.", lines=lines)
    rows = [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]
    assert [message["role"] for message in rows[3]["messages"]] == ["system", "user", "assistant"]
    assert [row["messages"][1]["content"] for row in rows] == [f"Domanda {n}" for n in (1, 1, 2, 2)]
    problems: list[Problem] = []
    shaped = [
        shape_row(row, "conversation", origin=Origin(path="righe.jsonl", line=number))
        for number, row in read_jsonl(file, problems)
    ]
    assert not problems
    assert [(each.shape, each.mistakes, each.ignored) for each in shaped] == [("messages", (), ())] * 4


def test_block_of_lines_is_one_message_and_never_a_command(run: Path, tmp_path: Path) -> None:
    file = tmp_path / "righe.jsonl"
    talk("prova", "--max-new-tokens", "3", lines=f'"""/reset\n\n  due\n"""\n/save {file}\n')
    assert json.loads(file.read_text())["messages"][0]["content"] == "/reset\n\n  due"
    talk("prova", "--max-new-tokens", "3", lines=f'"""/reset"""\n/save {file}\n')
    assert json.loads(file.read_text().splitlines()[1])["messages"][0]["content"] == "/reset"


def test_model_is_shown_and_replaced(run: Path, toy_folder: Path) -> None:
    out, _ = talk("prova", "--max-new-tokens", "3", lines=f"/model\nUno\n/model {toy_folder}\nDue\n")
    assert "prova: llamacpp, context of 512 tokens\n" in out
    assert f"{toy_folder}: transformers, context of 512 tokens\n" in out


def test_stats_tell_tokens_time_and_context(run: Path) -> None:
    out, _ = talk("prova", "--max-new-tokens", "5", lines="Uno\n/stats\n")
    told = re.search(r"prova: (\d) tokens, [\d.]+ tokens/s, first one after [\d.]+ s; (\d+) of 512", out)
    assert told
    assert int(told[1]) <= 5 < int(told[2])


def test_help_lists_every_command(run: Path) -> None:
    out, _ = talk("prova", lines="/help\n")
    _, err = talk("prova", lines="/boh\n", exit_code=2)
    known = re.search(r"there is no /boh; there are (.*); text", err)[1].split(", ")
    assert [line.split()[0] for line in out.splitlines()[: len(known)]] == known


def test_compare_shows_both_answers_side_by_side(run: Path) -> None:
    q8, f16 = (str(next(run.rglob(f"*-{kind}.gguf"))) for kind in ("q8_0", "f16"))
    options = ("--max-new-tokens", "4", "--system", "Sii breve.")
    out, _ = talk(f16, "--compare", q8, *options, lines="Uno\nDue\n/model\n")
    assert out.count("┏") == 2
    assert out.count(": llamacpp, context") == 2
    once, _ = talk(f16, "--compare", q8, *options, "--once", "Uno")
    assert once.count("┏") == 1


ROW = '{"messages": [{"role": "user", "content": "Ciao"}, {"role": "assistant", "content": "Salve"}]}'
WRONG_LINES = {
    "load nothing": ("/load no.jsonl", r"no\.jsonl: can't be read: No such file"),
    "load a folder": ("/load .", r"can't be read: Is a directory"),
    "load broken JSON": ("/load broken.jsonl", r"broken\.jsonl:2: "),
    "load no conversation": ("/load text.jsonl", r"text\.jsonl:1 is no conversation \(.*document"),
    "load an empty file": ("/load empty.jsonl", r"empty\.jsonl:0 is no conversation"),
    "load other bytes": ("/load bytes.jsonl", r"bytes\.jsonl:1: .*UTF-8"),
    "save into no folder": ("Ciao\n/save no/righe.jsonl", r"no/righe\.jsonl can't be written \(No such file"),
    "save before anything": ("/save righe.jsonl", r"nothing is saved"),
    "save without a file": ("Ciao\n/save", r"nothing is saved: give a file"),
    "regenerate nothing": ("/regenerate", r"no answer yet that could be made again"),
    "stats of nothing": ("/stats", r"nothing was answered yet"),
    "unknown command": ("/salva", r"there is no /salva; there are /help, /reset"),
    "unknown model": ("/model boh", r"no model 'boh'"),
    "open block": ('"""\nuno', r'the block has no closing """'),
}


@pytest.mark.parametrize("wrong", WRONG_LINES)
def test_wrong_line_is_told_and_changes_nothing(run: Path, work: Path, wrong: str) -> None:
    (work / "broken.jsonl").write_text(ROW + "\n{broken\n")
    (work / "text.jsonl").write_text('{"text": "Ciao"}\n')
    (work / "empty.jsonl").write_text("")
    (work / "bytes.jsonl").write_bytes(b'{"messages": "\xff"}\n')
    lines, message = WRONG_LINES[wrong]
    _, err = talk("prova", "--max-new-tokens", "2", lines=f"{lines}\n", exit_code=2)
    told = [line for line in err.splitlines() if "cut off" not in line]
    assert re.search(message, "\n".join(told)), err
    assert sum(line.startswith("adatta: ") for line in told) == 1
    assert not (work / "righe.jsonl").exists()


@pytest.fixture
def wrong_models(toy_folder: Path, work: Path) -> None:
    """Models that can't be talked to, in the current folder."""
    (work / "text.gguf").write_text("Ciao")
    (work / "short.gguf").write_bytes(b"GGUF\x03\x00\x00\x00")
    shutil.copytree(toy_folder, work / "plain")
    (work / "plain" / "chat_template.jinja").unlink()
    (work / "empty").mkdir()


WRONG_MODELS = {
    "missing file": ("no.gguf", r"GGUF file 'no\.gguf' isn't there"),
    "no GGUF": ("text.gguf", r"text\.gguf can't be read as GGUF"),
    "cut GGUF": ("short.gguf", r"short\.gguf can't be read as GGUF"),
    "no template": ("plain", r"'plain' has no chat template.*`adatta complete plain`"),
    "empty folder": ("empty", r"empty has no config\.json"),
    "unknown name": ("boh", r"no model 'boh'"),
}


@pytest.mark.parametrize("wrong", WRONG_MODELS)
@pytest.mark.parametrize("place", ["alone", "compared"])
def test_wrong_model_is_one_message(
    wrong: str, place: str, run: Path, wrong_models: None, capsys: pytest.CaptureFixture[str]
) -> None:
    name, message = WRONG_MODELS[wrong]
    models = (name,) if place == "alone" else ("prova", "--compare", name)
    assert call("chat", *models, "--once", "Ciao") == 2
    said = capsys.readouterr().err
    assert re.search(message, said), said
    assert said.startswith("adatta: ")
    assert "Traceback" not in said


WRONG_OPTIONS = {
    "no tokens": (("--max-new-tokens", "0"), "max-new-tokens"),
    "a word for a number": (("--max-new-tokens", "tanti"), "max-new-tokens"),
    "less than no temperature": (("--temperature", "-1"), "temperature"),
    "nothing asked": (("--once", "  "), "--once is empty"),
    "no system message": (("--system", ""), "--system is empty"),
    "no UTF-8": (("--once", "Perch\udce9"), "is no UTF-8; set the terminal and the locale to UTF-8"),
    "too long": (("--once", "parola " * 400), "no longer fits into the model's context of 512"),
}


@pytest.mark.parametrize("wrong", WRONG_OPTIONS)
def test_wrong_option_is_one_message(
    wrong: str, toy_folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    options, message = WRONG_OPTIONS[wrong]
    assert call("chat", str(toy_folder), *options) == 2
    said = capsys.readouterr().err
    assert message in said, said
    assert "Traceback" not in said


def test_engine_can_be_named(run: Path, toy_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = str(next(run.rglob("*-f16.gguf")))
    for engine in ("transformers", "vllm"):
        monkeypatch.setitem(sys.modules, "vllm", vllm)
        opened = open_model(file, engine)
        assert opened.engine_name == engine
        assert opened.engine.context == 512
    with pytest.raises(ModelError, match=r"llama\.cpp reads GGUF files"):
        open_model(str(toy_folder), "llamacpp")
    with pytest.raises(ModelError, match="'vlm' isn't known; give one of llamacpp, transformers, vllm"):
        open_model(str(toy_folder), "vlm")


def test_closed_input_is_told(
    run: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.stdin", None)
    assert call("chat", "prova") == 2
    assert "no input to read from; give --once TEXT" in capsys.readouterr().err


def test_input_that_is_no_utf8_is_told(
    run: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(b"Perch\xe9\n"), encoding="utf-8"))
    assert call("chat", "prova") == 2
    assert "the input isn't UTF-8" in capsys.readouterr().err


def test_folder_answers_through_transformers(toy_folder: Path, run: Path) -> None:
    out, _ = talk(str(toy_folder), "--once", "Chi sei?", "--max-new-tokens", "4")
    chat = Chat.load(toy_folder)
    file = next(run.rglob("*-f16.gguf"))
    assert out == expected(chat, file, Message(role="user", content="Chi sei?"), limit=4) + "\n"


def test_run_without_gguf_speaks_with_the_profile(run: Path, toy_folder: Path) -> None:
    with_file, _ = talk("prova", "--once", "Chi sei?", "--max-new-tokens", "4")
    shutil.copytree(toy_folder, run / "01-sft-abc" / "model")
    current = {"schema": 1, "language": "it", "stages": [], "model": "01-sft-abc/model"}
    (run / "current.json").write_text(json.dumps(current))
    assert talk("prova", "--once", "Chi sei?", "--max-new-tokens", "4")[0] == with_file


def test_run_with_its_model_speaks_through_a_file_whose_tokenizer_is_not_read(tmp_path: Path) -> None:
    """SentencePiece tokenizers are written as GGUF, and not read from it."""
    from tests.toys.tokenizers import write_kind

    run = tmp_path / "runs" / "gemma"
    folder = write_kind(run / "01-sft-abc" / "model", "gemma")
    prompt = load_profile("it").system_prompt
    (run / "02-export-abc").mkdir()
    file = write_toy(folder, run / "02-export-abc", name="prova", system_prompt=prompt)
    stages = [{"kind": "export", "name": "export", "fingerprint": "abc", "folder": "02-export-abc"}]
    current = {"schema": 1, "language": "it", "stages": stages, "model": "01-sft-abc/model"}
    (run / "current.json").write_text(json.dumps(current))
    out, _ = talk("gemma", "--once", "Chi sei?", "--max-new-tokens", "6")
    assert (
        out
        == expected(Chat.load(folder, prompt), file, Message(role="user", content="Chi sei?"), limit=6) + "\n"
    )
