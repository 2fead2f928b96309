"""The page docs/add-a-language.md, followed: its one file, put where profiles are, passes their contract."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = ROOT / "src" / "adatta"
FILE = re.compile(r"`src/adatta/(?P<path>[\w/-]+\.yaml)`:\n\n```yaml\n(?P<text>.*?)```", re.DOTALL)


def copy_with_links(source: Path, target: Path, *, copied: str) -> None:
    """Link all of a folder but the path `copied`, whose folders are made and whose files are links."""
    target.mkdir()
    name, _, rest = copied.partition("/")
    for entry in source.iterdir():
        if entry.name == name and entry.is_dir():
            copy_with_links(entry, target / name, copied=rest)
        elif entry.name != "__pycache__":
            (target / entry.name).symlink_to(entry)


def test_page_adds_a_language_by_one_file(tmp_path: Path) -> None:
    page = (ROOT / "docs" / "add-a-language.md").read_text(encoding="utf-8")
    found = list(FILE.finditer(page))
    assert [match["path"] for match in found] == ["lang/profiles/es.yaml"]
    copy_with_links(PACKAGE, tmp_path / "adatta", copied="lang/profiles")
    (tmp_path / "adatta" / found[0]["path"]).write_text(found[0]["text"], encoding="utf-8")
    command = [sys.executable, "-m", "pytest", "tests/contracts/test_profiles.py", "-rA", "-q"]
    environment = {**os.environ, "PYTHONPATH": str(tmp_path), "PYTHONDONTWRITEBYTECODE": "1"}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout
    passed = set(re.findall(r"^PASSED \S+::(\w+)\[es\]", done.stdout, re.MULTILINE))
    assert len(passed) >= 6, done.stdout
    assert not (PACKAGE / found[0]["path"]).exists()


def test_page_explains_every_key() -> None:
    from adatta.lang.profile import Profile

    page = (ROOT / "docs" / "add-a-language.md").read_text(encoding="utf-8")
    first_column = "".join(line.split("|")[1] for line in page.splitlines() if line.startswith("| `"))
    assert set(re.findall(r"`(\w+)`", first_column)) == set(Profile.model_fields)
