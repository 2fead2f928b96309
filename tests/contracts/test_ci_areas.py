"""`.ci/areas` maps changed paths to make targets: every pattern matches files, every target has tests."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def read_areas() -> list[tuple[str, str]]:
    """The lines of .ci/areas: pattern and target."""
    lines = (ROOT / ".ci" / "areas").read_text(encoding="utf-8").splitlines()
    pairs = [tuple(line.split()) for line in lines if line.strip() and not line.startswith("#")]
    assert all(len(pair) == 2 for pair in pairs)
    return pairs


def test_every_pattern_matches_a_file_of_the_source() -> None:
    files = [path.relative_to(ROOT).as_posix() for path in (ROOT / "src").rglob("*.py")]
    for pattern, _ in read_areas():
        assert any(re.search(pattern, file) for file in files), pattern


def test_every_target_names_an_area_or_a_benchmark_that_is_there() -> None:
    for _, target in read_areas():
        kind, _, area = target.partition("-")
        place = {"test": ROOT / "tests" / "areas" / area, "bench": ROOT / "bench" / f"bench_{area}.py"}[kind]
        assert place.exists(), target
