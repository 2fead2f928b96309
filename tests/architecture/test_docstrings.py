"""Every module says what it is for; every public function says what it does and what it takes."""

from __future__ import annotations

import ast

from tests.architecture.source import ROOT, docstring_node, functions, modules, show


def _first_line(node: ast.AST) -> str:
    text = docstring_node(node)
    return text.value.value.strip().partition("\n")[0] if text else ""


def test_every_module_begins_with_its_purpose():
    offences = [
        f"{module.at(module.tree)}: the first line must be a docstring that says what the module is for"
        for module in modules()
        if len(_first_line(module.tree)) < 10
    ]
    for path in sorted((ROOT / "tests").rglob("*.py")):
        text = path.read_text(encoding="utf-8")
        if text.strip() and not _first_line(ast.parse(text)):
            offences.append(f"{path.relative_to(ROOT)}:1: no docstring")
    assert not offences, show(offences)


def _public():
    for module in modules():
        nested = {
            part for function, _ in functions(module) for part in ast.walk(function) if part is not function
        }
        for function, owner in functions(module):
            is_private = function.name.startswith("_") or (owner is not None and owner.name.startswith("_"))
            if not is_private and function not in nested:
                yield module, function, owner


def test_public_functions_are_documented():
    offences = [
        f"{module.at(function)}: {function.name} has no docstring"
        for module, function, _ in _public()
        if not _first_line(function)
    ]
    offences += [
        f"{module.at(node)}: {node.name} has no docstring"
        for module in modules()
        for node in module.tree.body
        if isinstance(node, ast.ClassDef) and not node.name.startswith("_") and not _first_line(node)
    ]
    assert not offences, show(offences)


def test_functions_are_annotated():
    offences = []
    for module in modules():
        for function, owner in functions(module):
            arguments = function.args
            named = [*arguments.posonlyargs, *arguments.args]
            is_static = any(ast.unparse(item) == "staticmethod" for item in function.decorator_list)
            if owner is not None and not is_static:
                named = named[1:]
            extra = [part for part in (arguments.vararg, arguments.kwarg) if part]
            bare = [part.arg for part in (*named, *arguments.kwonlyargs, *extra) if part.annotation is None]
            if function.returns is None:
                bare.append("return")
            if bare:
                offences.append(
                    f"{module.at(function)}: {function.name} lacks annotations: {', '.join(bare)}"
                )
    assert not offences, show(offences)
