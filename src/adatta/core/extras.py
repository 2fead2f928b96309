"""Optional packages: imported when used; a missing one names what to install."""

from __future__ import annotations

import importlib
from types import ModuleType

from adatta.core.errors import MissingExtraError


def require(module: str, extra: str) -> ModuleType:
    """Import an optional module.

    Args:
        module: its dotted name.
        extra: the extra of adatta that installs it.

    Raises:
        MissingExtraError: if its package isn't installed.
    """
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        if error.name is None or not f"{module}.".startswith(f"{error.name}."):
            raise  # installed, but broken inside
        raise MissingExtraError(
            f"{module.partition('.')[0]} is not installed; install it with: pip install 'adatta[{extra}]', "
            f"or in a checkout '.[{extra}]'"
        ) from error
