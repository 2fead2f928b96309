"""A conversation in the terminal: lines in, answers out as they are made, and commands that begin with /."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator, Sequence
from operator import itemgetter
from pathlib import Path
from typing import TYPE_CHECKING

from adatta.core.errors import AdattaError, DataError, Problem, RowError
from adatta.core.records import Conversation, Origin
from adatta.core.rows import read_jsonl
from adatta.pipeline.opening import Opened, open_model

if TYPE_CHECKING:
    from adatta.model.dialogue import Dialogue

QUOTES = '"""'
_CONTROLS = dict.fromkeys((*range(9), *range(11, 32), *range(127, 160)))  # but tab and line feed
_BLOCK = f"Text of several lines: paste it, or write it between {QUOTES} and {QUOTES}."


class Talk:
    """What a person types, and what one model or two side by side answer."""

    def __init__(self, speakers: Sequence[tuple[Opened, Dialogue]]) -> None:
        """Take the models that answer, each with its own turns; commands that name a file mean the first."""
        self._speakers = list(speakers)
        self._failed = False
        self._commands: dict[str, tuple[str, Callable[[str], object], str]] = {
            "/help": ("", self._help, "list what can be typed"),
            "/reset": ("", self._reset, "forget the conversation; the system message stays"),
            "/system": ("[TEXT]", self._system, "show the system message, or replace it"),
            "/regenerate": ("", self._regenerate, "answer the last question once more, with the next seed"),
            "/save": ("FILE", self._save, "add the conversation to a JSONL file, as a row to train on"),
            "/load": ("FILE", self._load, "go on with the last row of such a file"),
            "/model": ("[NAME]", self._model, "show who answers, or go on with another model"),
            "/stats": ("", self._stats, "tokens and time of the last answer, context in use"),
            "/exit": ("", self._exit, "end; so does Ctrl-D. Ctrl-C only stops an answer"),
        }

    def run(self) -> bool:
        """Read and answer until /exit or the end of the input.

        Returns:
            Whether something that was read from a file or a pipe was a mistake.
        """
        if sys.stdin.isatty():
            import readline

            readline.parse_and_bind("set enable-bracketed-paste on")  # a paste is one text, lines and all
            print("/help lists what can be typed, /exit or Ctrl-D ends, Ctrl-C stops an answer.")
        try:
            while True:
                self._turn()
        except EOFError:
            print()
        return self._failed and not sys.stdin.isatty()

    def close(self) -> None:
        """Close the models."""
        for opened, _ in self._speakers:
            opened.engine.close()

    def answer(self, ask: Callable[[Dialogue], Iterator[str]]) -> None:
        """Print the answer while it is made, of two models in two columns."""
        if len(self._speakers) == 1:
            for piece in ask(self._speakers[0][1]):
                print(_shown(piece), end="", flush=True)
            print()
        else:
            self._answer_side_by_side(ask)
        for opened, dialogue in self._speakers:
            if dialogue.was_cut:
                who = f"{opened.name}: " if len(self._speakers) > 1 else ""
                print(
                    f"adatta: {who}the answer was cut off by --max-new-tokens or the context", file=sys.stderr
                )

    def _turn(self) -> None:
        """Read a message and answer it; a mistake is told, and changes nothing."""
        try:
            text, is_block = _read_message()
            command, _, rest = text.partition(" ")
            if is_block or (text and not text.startswith("/")):
                check_text(text, "the message")
                self.answer(lambda dialogue: dialogue.ask(text))
            elif text and command not in self._commands:
                known = ", ".join(self._commands)
                quoted = f"text that begins with / goes between {QUOTES} and {QUOTES}"
                raise DataError(f"there is no {command}; there are {known}; {quoted}")
            elif text:
                self._commands[command][1](rest.strip())
        except AdattaError as error:
            self._failed = True
            print(f"adatta: {error}", file=sys.stderr)
        except KeyboardInterrupt:
            print(" [...]")

    def _answer_side_by_side(self, ask: Callable[[Dialogue], Iterator[str]]) -> None:
        from rich.live import Live
        from rich.table import Table
        from rich.text import Text

        answers = [""] * len(self._speakers)

        def draw() -> Table:
            table = Table(expand=True)
            for opened, _ in self._speakers:
                table.add_column(Text(opened.name), ratio=1, overflow="fold")
            table.add_row(*map(Text, answers))
            return table

        with Live(get_renderable=draw, vertical_overflow="visible"):
            for number, (_, dialogue) in enumerate(self._speakers):
                for piece in ask(dialogue):
                    answers[number] += _shown(piece)

    def _help(self, _text: str) -> None:
        for name, (argument, _, meaning) in self._commands.items():
            print(f"{f'{name} {argument}':<22}{meaning}")
        print(_BLOCK)

    def _reset(self, _text: str) -> None:
        for _, dialogue in self._speakers:
            dialogue.restart()

    def _system(self, text: str) -> None:
        for opened, dialogue in self._speakers:
            if text:
                dialogue.set_system(text)
            else:
                shown = dialogue.system or opened.chat.system_prompt
                print(shown or "none but what the chat template itself writes")

    def _regenerate(self, _text: str) -> None:
        self.answer(lambda dialogue: dialogue.regenerate())

    def _save(self, name: str) -> None:
        messages = self._speakers[0][1].messages
        if not name or not messages or messages[-1].role != "assistant":
            raise DataError("nothing is saved: give a file, and talk first (/save FILE)")
        row = {"messages": [{"role": message.role, "content": message.content} for message in messages]}
        try:
            with Path(name).expanduser().open("a", encoding="utf-8") as file:
                file.write(json.dumps(row, ensure_ascii=False) + "\n")
        except OSError as error:
            what = f"{name} can't be written ({error.strerror}); give a file in a folder that is there"
            raise DataError(what) from error
        print(f"{name}: a row more, {len(messages)} messages")

    def _load(self, name: str) -> None:
        row = read_conversation(Path(name).expanduser())
        for _, dialogue in self._speakers:
            dialogue.load(row.messages)
        print(f"{row.origin.path}:{row.origin.line}: {len(row.messages)} messages")

    def _model(self, name: str) -> None:
        if name:
            opened = open_model(name)
            before, dialogue = self._speakers[0]
            dialogue.engine, dialogue.chat, dialogue.stats = opened.engine, opened.chat, None
            self._speakers[0] = opened, dialogue
            before.engine.close()
        for opened, _ in self._speakers:
            print(f"{opened.name}: {opened.engine_name}, context of {opened.engine.context} tokens")

    def _stats(self, _text: str) -> None:
        answered = [(opened, dialogue.stats) for opened, dialogue in self._speakers if dialogue.stats]
        if not answered:
            raise DataError("nothing was answered yet; ask something first")
        for opened, stats in answered:
            used = stats.prompt_tokens + stats.new_tokens
            print(
                f"{opened.name}: {stats.new_tokens} tokens, {stats.tokens_per_s:.1f} tokens/s, first one "
                f"after {stats.first_s:.2f} s; {used} of {opened.engine.context} tokens of context in use"
            )

    def _exit(self, _text: str) -> None:
        raise EOFError


def read_conversation(path: Path) -> Conversation:
    """Read the last conversation of a JSONL file, in any layout that training reads.

    Args:
        path: The file.

    Raises:
        DataError: if it can't be read, or its last row is no conversation.
        RowError: if a line is no row.
    """
    from adatta.data.shape import shape_row

    problems: list[Problem] = []
    number, fields = max(read_jsonl(path, problems), default=(0, {}), key=itemgetter(0))
    if problems:
        raise RowError(problems)
    row, mistakes = shape_row(fields, "conversation", origin=Origin(path=str(path), line=number))[1:3]
    if not isinstance(row, Conversation):
        what = "; ".join(mistake.what for mistake in mistakes)
        raise DataError(f"{path}:{number} is no conversation ({what}); give a file that /save wrote")
    return row


def check_text(text: str, name: str) -> None:
    """Refuse what no model can be asked.

    Args:
        text: What was typed.
        name: What it is called in the message.

    Raises:
        DataError: if it is blank or no text in Unicode's sense.
    """
    try:
        text.encode("utf-8")
    except UnicodeEncodeError as error:
        raise DataError(
            f"{name} has bytes that are no UTF-8; set the terminal and the locale to UTF-8"
        ) from error
    if not text.strip():
        raise DataError(f"{name} is empty; write something")


def _shown(text: str) -> str:
    """Return an answer's text without what would command the terminal; a file gets all of it."""
    return text.translate(_CONTROLS) if sys.stdout.isatty() else text


def _read_message() -> tuple[str, bool]:
    """Read a line, or the lines between two times three quotes; the latter are never a command.

    Raises:
        DataError: if they aren't closed, or what is read is no UTF-8.
    """
    text = _read_line("> ").strip()
    is_block = text.startswith(QUOTES)
    try:
        while is_block and not (text.rstrip().endswith(QUOTES) and len(text.rstrip()) >= 2 * len(QUOTES)):
            text = f"{text}\n{_read_line('. ')}"
    except EOFError as error:
        raise DataError(f"the block has no closing {QUOTES}; nothing was asked") from error
    return text.strip().removeprefix(QUOTES).removesuffix(QUOTES).strip() if is_block else text, is_block


def _read_line(prompt: str) -> str:
    try:
        return input(prompt if sys.stdin.isatty() else "")
    except UnicodeDecodeError as error:
        raise DataError("the input isn't UTF-8; save the file as UTF-8, or set the terminal to it") from error
