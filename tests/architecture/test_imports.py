"""Imports go downward only, and only where the table says so."""

from __future__ import annotations

import ast
import graphlib

from tests.architecture.source import TORCH, imports, modules, show

Y, L = "at load", "inside functions"

# Row may import column: Y when it is loaded, L inside functions (or for types) only, else never.
MATRIX = {
    "core": {},
    "lang": {"core": Y},
    "data": {"core": Y, "lang": Y},
    "chat": {"core": Y, "lang": Y},
    "model": {"core": Y, "lang": Y, "chat": Y},
    "train": {"core": Y, "lang": Y, "data": Y, "chat": Y, "model": Y},
    "evals": {"core": Y, "lang": Y, "data": Y, "chat": Y, "model": Y},
    "export": {"core": Y, "lang": Y, "chat": Y, "model": Y, "evals": Y},
    "serve": {"core": Y, "lang": Y, "chat": Y, "model": Y, "evals": Y},
    "pipeline": {"core": Y, "lang": Y}
    | dict.fromkeys(("data", "chat", "model", "train", "evals", "export"), L),
    "cli": {"core": Y, "lang": Y, "pipeline": Y}
    | dict.fromkeys(("data", "chat", "model", "train", "evals", "export", "serve"), L),
    "": dict.fromkeys(
        ("core", "lang", "data", "chat", "model", "train", "evals", "export", "serve", "pipeline"), L
    ),
}

# Which modules may import torch and what stands on it: all of a package but some, or only some.
ALL_BUT = {
    "model": {"name", "memory"},
    "train": {"schedule", "settings"},
    "export": {"card", "hub", "licence"},
}
ONLY = {"evals": {"backend", "runner"}}
INSIDE_FUNCTIONS = {"pipeline", "cli"}

# "module imported": reason. May only shrink.
ALLOWED: dict[str, str] = {}


def _packages(target: str) -> str | None:
    parts = target.split(".")
    return parts[1] if parts[0] == "adatta" and len(parts) > 1 and parts[1] in MATRIX else None


def _may_import_torch(name: str, *, is_at_load: bool) -> bool:
    package, stem = [*name.split("."), "", ""][1:3]
    if package in ONLY:
        return stem in ONLY[package]
    if package in INSIDE_FUNCTIONS:
        return not is_at_load
    return package in ALL_BUT and stem not in ALL_BUT[package]


def test_packages_of_the_source_are_those_of_the_table():
    assert {module.package for module in modules()} <= set(MATRIX)


def test_imports_follow_the_table():
    offences = []
    for module in modules():
        row = MATRIX[module.package]
        for imported in imports(module):
            package = _packages(imported.target)
            if package in (None, module.package) or f"{module.name} {imported.target}" in ALLOWED:
                continue
            cell = row.get(package)
            if cell is None:
                offences.append(f"{module.at(imported.node)}: {module.package} may not import {package}")
            elif cell == L and imported.is_at_load:
                offences.append(f"{module.at(imported.node)}: {module.package} imports {package} {L} only")
    assert not offences, show(offences)


def test_torch_is_imported_where_the_table_says_so():
    offences = [
        f"{module.at(imported.node)}: {module.name} may not import {imported.target}"
        for module in modules()
        for imported in imports(module)
        if not _may_import_torch(module.name, is_at_load=imported.is_at_load)
        if imported.target.split(".")[0] in TORCH or imported.target.startswith("safetensors.torch")
        if f"{module.name} {imported.target}" not in ALLOWED
    ]
    assert not offences, show(offences)


def test_allowed_imports_are_still_there():
    there = {f"{module.name} {imported.target}" for module in modules() for imported in imports(module)}
    assert set(ALLOWED) <= there, "remove what isn't needed any more"


def test_modules_import_each_other_without_cycles():
    names = {module.name for module in modules()}
    graph, where = {}, {}
    for module in modules():
        graph[module.name] = set()
        for imported in imports(module):
            target = imported.target if imported.target in names else imported.target.rpartition(".")[0]
            if imported.is_at_load and target in names - {module.name}:
                graph[module.name].add(target)
                where[module.name, target] = f"{module.at(imported.node)}: imports {target}"
    try:
        graphlib.TopologicalSorter(graph).prepare()
    except graphlib.CycleError as error:
        cycle = error.args[1]
        offences = [where[pair] for pair in zip(cycle[1:], cycle, strict=False)]
        raise AssertionError(show(offences)) from error


def test_init_files_hold_docstring_and_reexports_only():
    offences = []
    for module in modules():
        if module.path.name != "__init__.py" or not module.package:
            continue
        uses_torch = module.package in ALL_BUT or module.package in ONLY
        for node in module.tree.body[1:]:
            is_all = isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__all__"
            if uses_torch or not (isinstance(node, ast.ImportFrom) or is_all):
                expected = "only a docstring" if uses_torch else "docstring, re-exports and __all__ only"
                offences.append(f"{module.at(node)}: {expected}")
    assert not offences, show(offences)
