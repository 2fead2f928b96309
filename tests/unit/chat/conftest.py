"""Chat formats of small tokenizers."""

from __future__ import annotations

from pathlib import Path

import pytest

from adatta.chat.render import Chat
from tests.unit.chat.families import FAMILIES, write_family


@pytest.fixture(scope="session")
def family_folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A folder a family; read only."""
    root = tmp_path_factory.mktemp("families")
    return {family: write_family(root / family, family) for family in FAMILIES}


@pytest.fixture(scope="session")
def chats(family_folders: dict[str, Path]) -> dict[str, Chat]:
    """The chat format of each family, without system prompt."""
    return {family: Chat.load(folder) for family, folder in family_folders.items()}
