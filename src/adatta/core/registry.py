"""Extensions found by folder: the file name is the key, one constant is what the file gives."""

from __future__ import annotations

import importlib
import pkgutil
from typing import Any

from adatta.core.errors import AdattaError


def load_registry(package: str) -> dict[str, Any]:
    """Import every module of a package and return its constant under the module's name, sorted.

    The constant is called as the package, in the singular and in capitals: `TASK` in
    `adatta.evals.tasks`, `FORMAT` in `adatta.export.formats`.

    Args:
        package: dotted name of the package.

    Raises:
        AdattaError: if a module lacks the constant.
    """
    constant = package.rpartition(".")[2].removesuffix("s").upper()
    found = {}
    for module in pkgutil.iter_modules(importlib.import_module(package).__path__):
        name = f"{package}.{module.name}"
        value = getattr(importlib.import_module(name), constant, None)
        if value is None:
            raise AdattaError(f"{name} has no constant {constant}; define it, as its neighbours do")
        found[module.name] = value
    return dict(sorted(found.items()))


def list_names(package: str) -> tuple[str, ...]:
    """List what a registry holds, as recipes write it (`gguf-q8_0` for gguf_q8_0.py), importing none of it.

    Args:
        package: dotted name of the package.
    """
    modules = pkgutil.iter_modules(importlib.import_module(package).__path__)
    return tuple(sorted(module.name.replace("_", "-", 1) for module in modules))
