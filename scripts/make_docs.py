"""Generate docs/map.md, cli.md and recipe.md from the code; with --check, fail when they have drifted."""

from __future__ import annotations

import ast
import sys
from pathlib import Path
from typing import Any

import typer
from pydantic import BaseModel

from adatta.cli.main import build_app
from adatta.core import settings
from adatta.core.recipe import Recipe

ROOT = Path(__file__).resolve().parents[1]


def module_map() -> str:
    """Return one line a module: its path and the first line of its docstring."""
    lines = [
        "# Map",
        "",
        "Every file and its purpose (made by `make docs` from the first docstring lines).",
        "",
    ]
    for path in sorted((ROOT / "src" / "adatta").rglob("*.py")):
        doc = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""
        name = path.relative_to(ROOT / "src" / "adatta")
        if path.name == "__init__.py":
            lines += [
                "",
                f"## {name.parent if str(name.parent) != '.' else 'adatta'}",
                "",
                doc.splitlines()[0],
                "",
            ]
        else:
            lines.append(f"- `{name}`: {doc.splitlines()[0]}")
    return "\n".join(lines) + "\n"


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
            "| argument or option | meaning |",
            "|---|---|",
        ]
        for parameter in command.get_params(context):
            if parameter.name == "help":
                continue
            shown = ", ".join(parameter.opts) if parameter.opts[0].startswith("-") else parameter.name.upper()
            meaning = " ".join((getattr(parameter, "help", "") or "").split())
            lines.append(f"| `{shown}` | {meaning} |")
        lines.append("")
    return "\n".join(lines)


def recipe_page() -> str:
    """Return every name of the recipe with type, default and meaning."""
    lines = [
        "# The recipe",
        "",
        "Every name, its default and its meaning (made by `make docs` from the settings).",
        "",
    ]
    models: list[type[BaseModel]] = [Recipe]
    models += [kind for kind in vars(settings).values() if _is_settings(kind)]
    for model in dict.fromkeys(models):
        lines += [f"## {model.__name__}", "", (model.__doc__ or "").splitlines()[0], ""]
        lines += ["| name | default | meaning |", "|---|---|---|"]
        for name, field in model.model_fields.items():
            default = (
                "required"
                if field.is_required()
                else f"`{_shown(field.get_default(call_default_factory=True))}`"
            )
            lines.append(f"| `{name}` | {default} | {' '.join((field.description or '').split())} |")
        lines.append("")
    return "\n".join(lines)


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
