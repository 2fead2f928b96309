"""`adatta chat` in a real terminal (pty): editing, pastes, Ctrl-C and Ctrl-D, what answers may not do."""

from __future__ import annotations

import os
import pty
import select
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

pytestmark = pytest.mark.torch
PATIENCE_S = 120


class Terminal:
    """A program at the other end of a pseudo-terminal."""

    def __init__(self, *command: str) -> None:
        self.pid, self.fd = pty.fork()
        if self.pid == 0:
            one = list(os.sched_getaffinity(0))[:1]
            os.sched_setaffinity(0, one)  # threads that spin beside each other crawl
            os.execvp(command[0], command)
        self.seen, self._place = "", 0

    def type(self, text: str) -> None:
        """Press keys."""
        os.write(self.fd, text.encode())

    def wait_for(self, text: str) -> None:
        """Read until `text` is shown, behind what was waited for before."""
        deadline = time.monotonic() + PATIENCE_S
        while text not in self.seen[self._place :]:
            assert time.monotonic() < deadline, f"no {text!r} in {self.seen[self._place :]!r}"
            if select.select([self.fd], [], [], 0.2)[0]:
                self.seen += self._read()
        self._place = self.seen.index(text, self._place) + len(text)

    def interrupt(self) -> None:
        """Press Ctrl-C once the program waits for keys: between two of them Python would overlook it."""
        stat = Path(f"/proc/{self.pid}/task/{self.pid}/stat")
        deadline = time.monotonic() + PATIENCE_S
        while stat.read_text().rpartition(")")[2].split()[0] != "S":
            assert time.monotonic() < deadline
        self.type("\x03")

    def end(self) -> int:
        """Read to the end; return the exit code."""
        while select.select([self.fd], [], [], PATIENCE_S)[0] and (part := self._read()):
            self.seen += part
        ended, status = os.waitpid(self.pid, os.WNOHANG)
        deadline = time.monotonic() + PATIENCE_S
        while not ended:
            assert time.monotonic() < deadline, f"still there after {self.seen!r}"
            ended, status = os.waitpid(self.pid, os.WNOHANG)
        return os.waitstatus_to_exitcode(status)

    def _read(self) -> str:
        try:
            return os.read(self.fd, 65536).decode(errors="replace")
        except OSError:  # the other end is closed
            return ""


@pytest.fixture
def start(run: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator:
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    opened: list[Terminal] = []

    def start(*options: str, program: tuple[str, ...] = ("-m", "adatta.cli.main")) -> Terminal:
        few = ("--max-new-tokens", "8", *options)
        opened.append(Terminal(sys.executable, *program, "chat", "prova", *few))
        opened[-1].wait_for("> ")
        return opened[-1]

    yield start
    for terminal in opened:
        os.close(terminal.fd)


SLOW = """
import time
from adatta.cli.main import main
from adatta.model.engines.llamacpp import LlamaCppEngine
stream, asked = LlamaCppEngine.stream, []
def slowly(self, ids, sampling):
    asked.append(ids)
    for number, token in enumerate(stream(self, ids, sampling)):
        if number == 2 and len(asked) == 1:
            print("<going on>", flush=True)
            time.sleep(60)
        yield token
LlamaCppEngine.stream = slowly
main()
"""


def test_ctrl_c_stops_the_answer_and_not_the_program(start) -> None:
    terminal = start(program=("-c", SLOW))
    terminal.type("Chi sei?\r")
    terminal.wait_for("<going on>")
    terminal.type("\x03")
    terminal.wait_for("[...]")
    terminal.wait_for("> ")
    terminal.type("/stats\r")
    terminal.wait_for("prova: 2 tokens")
    terminal.wait_for("> ")
    terminal.type("Ancora\r")
    terminal.wait_for("Ancora")
    terminal.wait_for("> ")
    terminal.type("\x04")
    assert terminal.end() == 0
    assert "Traceback" not in terminal.seen


def test_ctrl_c_at_the_prompt_leaves_the_line_and_ctrl_d_ends(start) -> None:
    terminal = start()
    for _ in range(2):
        terminal.type("lascia perdere")
        terminal.wait_for("lascia perdere")
        terminal.interrupt()
        terminal.wait_for("[...]")
        terminal.wait_for("> ")
    terminal.type("\x04")
    assert terminal.end() == 0
    assert "Traceback" not in terminal.seen


def test_paste_of_several_lines_is_one_message(start, tmp_path: Path) -> None:
    terminal = start()
    terminal.type("\x1b[200~prima riga\n/exit\nterza riga\x1b[201~\r")
    terminal.wait_for("terza")
    terminal.wait_for("> ")
    terminal.type(f"/save {tmp_path}/righe.jsonl\r")
    terminal.wait_for("a row more")
    terminal.wait_for("> ")
    terminal.type("/exit\r")
    assert terminal.end() == 0
    assert "prima riga\\n/exit\\nterza riga" in (tmp_path / "righe.jsonl").read_text()


def test_answers_cannot_command_the_terminal(start) -> None:
    program = """
import adatta.model.dialogue as dialogue
from adatta.cli.main import main
dialogue.stream_text = lambda ids, decode: iter(["a\\x1b[2Jb\\x9b", "c\\td"])
main()
"""
    terminal = start(program=("-c", program))
    terminal.type("Ciao\r")
    terminal.wait_for("a[2Jbc")
    terminal.wait_for("> ")
    terminal.type("\x04")
    assert terminal.end() == 0
    assert "\x1b[2J" not in terminal.seen


def test_mistake_in_a_terminal_is_told_and_forgiven(start) -> None:
    terminal = start()
    terminal.type("/boh\r")
    terminal.wait_for("there is no /boh")
    terminal.wait_for("> ")
    terminal.type("/exit\r")
    assert terminal.end() == 0
