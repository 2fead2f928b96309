"""Write Italian text that nobody here wrote as documents, and print the option that has the demo measure it.

Native: the question with its right answer of each ITALIC item. Encyclopaedic: paragraphs of SQuAD-it, machine
translated from English. Both lie beside a developer's checkout; where they don't, nothing is printed.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Iterable
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
SOURCES = Path(os.environ.get("ADATTA_OUTSIDE", ROOT.parent / "shared" / "data"))
FOLDER = ROOT / "runs" / "outside"


def main() -> None:
    """Write the files and print the option."""
    options = _read_options()
    if not SOURCES.is_dir():
        print(f"no text from outside is measured: there is no {SOURCES}", file=sys.stderr)
        return
    paragraphs = [row["text"] for row in read_rows("squad_it.jsonl")]
    texts = {"native": native_texts(), "encyclopaedic": paragraphs[:: options.every]}
    paths = {name: {"path": str(write(name, each).relative_to(ROOT))} for name, each in texts.items()}
    print(f"--set=stages.evaluate.texts={json.dumps(paths, separators=(',', ':'))}")


def native_texts() -> list[str]:
    """Return each exam question with its right answer."""
    texts = []
    for row in read_rows("italic_sample.jsonl"):
        options = {letter: text for option in row["options"] for letter, text in option.items()}
        texts.append(f"{row['question']} {options[row['answer']]}")
    return texts


def read_rows(name: str) -> list[dict]:
    """Read a file of the folder beside the checkout."""
    return [json.loads(line) for line in (SOURCES / name).read_text(encoding="utf-8").splitlines()]


def write(name: str, texts: Iterable[str]) -> Path:
    """Write documents, a line each."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    path = FOLDER / f"{name}.jsonl"
    lines = (json.dumps({"text": text}, ensure_ascii=False) + "\n" for text in texts)
    path.write_text("".join(lines), encoding="utf-8")
    return path


def _read_options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--every", type=int, default=20, help="take one encyclopaedic paragraph of so many")
    return parser.parse_args()


if __name__ == "__main__":
    main()
