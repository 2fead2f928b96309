"""Call the command line in this process."""

from __future__ import annotations

import sys

import pytest

from adatta.cli.main import main


def call(*arguments: str) -> int:
    """Run a command; return its exit code."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["adatta", *arguments])
        with pytest.raises(SystemExit) as ended:
            main()
    return int(ended.value.code or 0)
