"""Files of one JSON object a line."""

from __future__ import annotations

from adatta.core.rows import read_jsonl

SOURCE = read_jsonl
