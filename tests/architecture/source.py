"""The modules under src/ as syntax trees, read once."""

from __future__ import annotations

import ast
import io
import tokenize
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
SRC = ROOT / "src"
Function = ast.FunctionDef | ast.AsyncFunctionDef
TORCH = {"torch", "transformers", "peft", "bitsandbytes", "accelerate", "trl"}


@dataclass(frozen=True, eq=False)
class Module:
    """One file: its dotted name, its text and its syntax tree."""

    path: Path
    name: str
    text: str
    tree: ast.Module

    @property
    def package(self) -> str:
        """The package below adatta that it belongs to; empty for adatta itself."""
        parts = self.name.split(".")
        return parts[1] if len(parts) > 1 else ""

    @cached_property
    def nodes(self) -> tuple[ast.AST, ...]:
        """Every node of the tree, as `ast.walk` gives them."""
        return tuple(ast.walk(self.tree))

    def at(self, node: ast.AST) -> str:
        """Where a node stands: `file:line`."""
        return f"{self.path.relative_to(ROOT)}:{getattr(node, 'lineno', 1)}"


@cache
def modules() -> tuple[Module, ...]:
    """All modules of adatta, sorted by path."""
    found = []
    for path in sorted((SRC / "adatta").rglob("*.py")):
        parts = path.relative_to(SRC).with_suffix("").parts
        name = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
        text = path.read_text(encoding="utf-8")
        found.append(Module(path, name, text, ast.parse(text, filename=str(path))))
    return tuple(found)


@dataclass(frozen=True)
class Import:
    """One imported name: as dotted as it stands, and whether it happens when the module is loaded."""

    target: str
    node: ast.AST
    is_at_load: bool


@cache
def imports(module: Module) -> tuple[Import, ...]:
    """Every import of a module; `from a import b` gives `a.b`."""
    return tuple(_imports(module))


def _imports(module: Module) -> Iterator[Import]:
    lazy: set[ast.AST] = set()
    for node in module.nodes:
        is_type_checking = isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test)
        if isinstance(node, Function) or is_type_checking:
            lazy.update(ast.walk(node))
    for node in module.nodes:
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield Import(alias.name, node, node not in lazy)
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                package = module.name if module.path.name == "__init__.py" else module.name.rpartition(".")[0]
                kept = package.split(".")[: len(package.split(".")) - node.level + 1]
                base = ".".join([*kept, *([base] if base else [])])
            for alias in node.names:
                yield Import(f"{base}.{alias.name}", node, node not in lazy)


@cache
def functions(module: Module) -> tuple[tuple[Function, ast.ClassDef | None], ...]:
    """Every function and method, each with the class that it is defined in."""
    owners = {child: node for node in module.nodes if isinstance(node, ast.ClassDef) for child in node.body}
    return tuple((node, owners.get(node)) for node in module.nodes if isinstance(node, Function))


def docstring_node(node: ast.AST) -> ast.Expr | None:
    """The statement that is the docstring of a module, class or function."""
    body = getattr(node, "body", [])
    if body and isinstance(body[0], ast.Expr) and isinstance(body[0].value, ast.Constant):
        return body[0] if isinstance(body[0].value.value, str) else None
    return None


def text_lines(tree: ast.AST) -> set[int]:
    """Lines of docstrings, those of fields too."""
    return {
        line
        for node in ast.walk(tree)
        if isinstance(node, ast.Expr)
        and isinstance(node.value, ast.Constant)
        and isinstance(node.value.value, str)
        for line in range(node.lineno, node.end_lineno + 1)
    }


def code_lines(module: Module) -> int:
    """Number of lines that hold code: no blanks, no comments, no docstrings."""
    empty = {
        *(tokenize.COMMENT, tokenize.NL, tokenize.NEWLINE),
        *(tokenize.INDENT, tokenize.DEDENT, tokenize.ENDMARKER),
    }
    lines: set[int] = set()
    for token in tokenize.generate_tokens(io.StringIO(module.text).readline):
        if token.type not in empty:
            lines.update(range(token.start[0], token.end[0] + 1))
    return len(lines - text_lines(module.tree))


def show(offences: list[str]) -> str:
    """The offences as a failed test prints them."""
    return "\n" + "\n".join(offences)
