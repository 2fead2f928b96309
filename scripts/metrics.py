"""Print the size of the code: code lines, files, functions, tests per code line."""

from __future__ import annotations

import ast
import statistics
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


def count_code_lines(source: str) -> int:
    """Count lines that are neither blank, comment nor docstring."""
    docs: set[int] = set()
    for node in ast.walk(ast.parse(source)):
        if (
            isinstance(node, ast.Expr)
            and isinstance(node.value, ast.Constant)
            and isinstance(node.value.value, str)
        ):
            docs.update(range(node.lineno, (node.end_lineno or node.lineno) + 1))
    lines = enumerate(source.splitlines(), start=1)
    return sum(
        1
        for number, line in lines
        if line.strip() and not line.strip().startswith("#") and number not in docs
    )


def main() -> None:
    """Print one line a figure."""
    files = {path: path.read_text(encoding="utf-8") for path in sorted((ROOT / "src").rglob("*.py"))}
    tests = [path.read_text(encoding="utf-8") for path in (ROOT / "tests").rglob("*.py")]
    code = {path: count_code_lines(text) for path, text in files.items()}
    lengths = [
        (node.end_lineno or 0) - node.lineno + 1
        for text in files.values()
        for node in ast.walk(ast.parse(text))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    ]
    total, test_total = sum(code.values()), sum(map(count_code_lines, tests))
    print(f"code lines      {total} of 15450")
    longest = max(code.values())
    print(f"files           {len(code)}, median {statistics.median(code.values()):.0f}, longest {longest}")
    print(f"functions       {len(lengths)}, median {statistics.median(lengths):.0f}, longest {max(lengths)}")
    print(f"tests per line  {test_total / total:.2f}")


if __name__ == "__main__":
    main()
