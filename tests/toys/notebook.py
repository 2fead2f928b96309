"""Scripts that are notebooks, in the percent format: divided into cells, and run with other parameters."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, NamedTuple

_MARKER = re.compile(r"# %%( \[markdown\])?( tags=\[\"parameters\"\])?")


class Cell(NamedTuple):
    """A cell: `markdown`, `code` or `parameters`; its first line's number in the file; its lines."""

    kind: str
    line: int
    lines: list[str]


def read_cells(text: str) -> list[Cell]:
    """Divide a script into cells.

    Args:
        text: the script.

    Raises:
        ValueError: with the line that isn't as the percent format has it, or as our examples have it.
    """
    cells: list[Cell] = []
    for number, line in enumerate(text.splitlines(), start=1):
        if line.startswith("# %%"):
            found = _MARKER.fullmatch(line)
            if not found or (found[1] and found[2]):
                raise ValueError(f"line {number}: no marker of a cell: {line}")
            cells.append(
                Cell("markdown" if found[1] else "parameters" if found[2] else "code", number + 1, [])
            )
        elif not cells:
            raise ValueError(f"line {number}: stands before the first cell")
        elif cells[-1].kind == "markdown" and line and line != "#" and not line.startswith("# "):
            raise ValueError(f"line {number}: no comment, but in a markdown cell")
        else:
            cells[-1].lines.append(line)
    kinds = [cell.kind == "markdown" for cell in cells]
    if kinds != [place % 2 == 0 for place in range(len(kinds))] or len(kinds) % 2:
        raise ValueError("markdown and code don't alternate, from markdown on to code")
    if not cells or not cells[0].lines[0].startswith("# # "):
        raise ValueError("the first cell doesn't begin with a title")
    if [cell.kind for cell in cells].count("parameters") != 1 or cells[1].kind != "parameters":
        raise ValueError("the first code cell, and no other, is tagged as parameters")
    if empty := [cell.line for cell in cells if not "".join(cell.lines).strip("# ")]:
        raise ValueError(f"line {empty[0]}: an empty cell")
    for cell in cells[1::2]:
        compile("\n".join(cell.lines), f"cell at line {cell.line}", "exec")
    return cells


def run_notebook(path: Path, **parameters: Any) -> dict[str, Any]:
    """Run a script cell by cell, with other values of names that its parameters cell sets.

    Args:
        path: the script.
        parameters: the values.

    Returns:
        What its names hold at the end.

    Raises:
        ValueError: it isn't as `read_cells` has it, or its parameters cell doesn't set one of the names.
    """
    names: dict[str, Any] = {"__name__": "__main__"}
    for cell in read_cells(path.read_text(encoding="utf-8"))[1::2]:
        source = "\n" * (cell.line - 1) + "\n".join(cell.lines)
        exec(compile(source, str(path), "exec"), names)
        if cell.kind == "parameters":
            if unknown := parameters.keys() - names.keys():
                raise ValueError(f"{path.name} has no parameter {', '.join(sorted(unknown))}")
            names |= parameters
    return names
