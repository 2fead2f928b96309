"""Options that commands share; for commands that take many, a record of them, one field an option."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Annotated, Any, TypeVar

from typer import Argument, Option

T = TypeVar("T")
ModelName = Annotated[
    str, Argument(help="Hub id, folder, run, GGUF file or package:NAME/FILE.", show_default=False)
]
Overrides = Annotated[
    list[str] | None, Option("--set", metavar="PATH=VALUE", help="Override a value of the recipe.")
]


def take_options(kind: Callable[..., T], command: Callable[[T], None]) -> Callable[..., None]:
    """Return a command as typer takes it: with an argument or option for each field of its dataclass.

    Args:
        kind: the dataclass; each field is annotated as a parameter of typer's is.
        command: takes one, and has the help in its docstring.
    """

    def call(**given: Any) -> None:
        command(kind(**given))

    call.__signature__ = inspect.signature(kind, eval_str=True)  # type: ignore[attr-defined]
    call.__doc__ = command.__doc__
    return call
