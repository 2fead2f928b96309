"""Generate docs/map.md, cli.md and recipe.md from the code; with --check, fail when they have drifted."""

from __future__ import annotations

import ast
import itertools
import sys
from collections.abc import Mapping
from pathlib import Path
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

import typer
from pydantic import BaseModel

from adatta.cli.main import build_app
from adatta.core import settings
from adatta.core.recipe import Recipe

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "src" / "adatta"
RECIPE_WORDS = """\
Every name, the values that it takes, its default and its meaning (made by `make docs` from the settings).

- `stages` is a list; each entry is a kind and its settings: `- sft: {data: [{path: rows.jsonl}]}`. The kinds
  are `adapt`, `sft`, `dpo`, `evaluate`, `export`, `report`; one may come again: the second is `sft-2`.
- `--set PATH=VALUE` overrides a value, written as YAML: `--set seed=7`, `--set stages.sft.budget.steps=9`,
  `--set stages.sft.data.0.path=rows.jsonl`, `--set 'stages.evaluate.suites=[offline]'`. A stage is named by
  its name, or by place and kind: `stages.0.sft`.
- `extends: other.yaml` at the top starts from another recipe: what stands here replaces what stands there.
- Paths are looked for beside the recipe, then in the current folder.
"""
PLAIN = {bool: "true, false", int: "whole number", float: "number", str: "text", Path: "path"}


def module_map() -> str:
    """Return one line a module: its path and the first line of its docstring."""
    lines = [
        "# Map",
        "",
        "Every file and its purpose (made by `make docs` from the first lines of each).",
        "",
    ]
    for folder in sorted(path.parent for path in PACKAGE.rglob("__init__.py")):
        here = folder.relative_to(PACKAGE)
        lines += ["", f"## {here if here.parts else 'adatta'}", "", _purpose(folder / "__init__.py"), ""]
        paths = sorted(path for path in folder.iterdir() if path.suffix in (".py", ".yaml"))
        lines += [
            f"- `{path.relative_to(PACKAGE)}`: {_purpose(path)}" for path in paths if path.stem != "__init__"
        ]
    return "\n".join(lines) + "\n"


def _purpose(path: Path) -> str:
    text = path.read_text(encoding="utf-8")
    if path.suffix == ".py":
        return (ast.get_docstring(ast.parse(text)) or "").partition("\n")[0]
    comment = itertools.takewhile(lambda line: line.startswith("#"), text.splitlines())
    said = " ".join(line[1:].strip() for line in comment).partition(". ")[0]
    return said if said and "{" not in said else "data"


def command_page() -> str:
    """Return the help of every command."""
    group = typer.main.get_command(build_app())
    lines = ["# Commands", "", "Made by `make docs` from the commands themselves.", ""]
    for name, command in group.commands.items():  # type: ignore[attr-defined]
        context = command.make_context(name, [], resilient_parsing=True)
        lines += [
            f"## adatta {name}",
            "",
            command.help or "",
            "",
            "| argument or option | default | meaning |",
            "|---|---|---|",
        ]
        for parameter in command.get_params(context):
            if parameter.name == "help":
                continue
            shown = ", ".join(parameter.opts) if parameter.opts[0].startswith("-") else parameter.name.upper()
            meaning = " ".join((getattr(parameter, "help", "") or "").split())
            value = f" {parameter.metavar}" if parameter.opts[0].startswith("-") and parameter.metavar else ""
            default = f"`{parameter.default}`" if parameter.default not in (None, False, ()) else ""
            lines.append(f"| `{shown}{value}` | {default} | {meaning} |")
        lines.append("")
    return "\n".join(lines)


def recipe_page() -> str:
    """Return every name of the recipe with its values, default and meaning."""
    lines = ["# The recipe", "", RECIPE_WORDS]
    models: list[type[BaseModel]] = [Recipe]
    models += [kind for kind in vars(settings).values() if _is_settings(kind)]
    for model in dict.fromkeys(models):
        lines += [f"## {model.__name__}", "", (model.__doc__ or "").splitlines()[0], ""]
        lines += ["| name | values | default | meaning |", "|---|---|---|---|"]
        for name, field in model.model_fields.items():
            default = (
                "required"
                if field.is_required()
                else f"`{_shown(field.get_default(call_default_factory=True))}`"
            )
            meaning = " ".join((field.description or "").split())
            lines.append(f"| `{field.alias or name}` | {_values(field.annotation)} | {default} | {meaning} |")
        lines.append("")
    return "\n".join(lines)


def _values(kind: Any) -> str:
    """Say which values an annotation allows."""
    origin, parts = get_origin(kind), get_args(kind)
    if origin is Annotated:
        return _values(parts[0])
    if origin is Literal:
        return ", ".join(f"`{part}`" for part in parts)
    if origin in (Union, UnionType):
        return " or ".join(dict.fromkeys(_values(part) for part in parts if part is not NoneType))
    if origin is tuple:
        return f"list of {_values(parts[0])}"
    if origin in (dict, Mapping):
        return f"mapping of names to {_values(parts[1])}"
    if isinstance(kind, type) and issubclass(kind, BaseModel):
        is_here = kind.__name__ in vars(settings)
        return f"[{kind.__name__}](#{kind.__name__.lower()})" if is_here else "stages"
    return PLAIN.get(kind, str(kind))


def _is_settings(kind: Any) -> bool:
    return isinstance(kind, type) and issubclass(kind, settings.Settings) and kind is not settings.Settings


def _shown(value: Any) -> str:
    return str(value.model_dump(mode="json")) if isinstance(value, BaseModel) else str(value)


def main() -> int:
    """Write the pages, or compare them; returns the exit code."""
    pages = {"map.md": module_map(), "cli.md": command_page(), "recipe.md": recipe_page()}
    stale = []
    for name, text in pages.items():
        path = ROOT / "docs" / name
        if "--check" in sys.argv:
            if not path.exists() or path.read_text(encoding="utf-8") != text:
                stale.append(name)
        else:
            path.write_text(text, encoding="utf-8")
    if stale:
        print(f"docs/{', docs/'.join(stale)}: not what the code says; run `make docs`")
    return bool(stale)


if __name__ == "__main__":
    sys.exit(main())
