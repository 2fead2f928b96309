"""Sizes stay such that an afternoon is enough to read the code."""

from __future__ import annotations

import ast
from collections.abc import Iterator

import pytest

from tests.architecture.source import ROOT, Function, code_lines, functions, modules, show, text_lines

TOTAL_CODE_LINES = 15_450
FILE_LINES = 400
FUNCTION_LINES = 60
CLASS_LINES = 200
PUBLIC_METHODS = 12
PARAMETERS = 7
POSITIONAL = 2
NESTING = 3
LADDER = 4
OWN_RAISES_SHARE = 0.5
FORBIDDEN_NAMES = {"utils", "util", "helpers", "helper", "common", "misc", "base", "manager"}

# "module.function": why its signature isn't ours to choose. May only shrink.
FOREIGN_SIGNATURES = {
    "adatta.model.attend.attend": "transformers' attention interface",
    "adatta.model.head.TokenLogProbs.forward": "torch.autograd.Function",
}

# Public functions that take more than two arguments by position. May only shrink.
MANY_BY_POSITION = {
    "adatta.data.split.split_holdout",
    "adatta.evals.ask.make_subject",
    "adatta.evals.measures.relative_loss",
    "adatta.model.gguf_tokenizer.write_tokenizer",
    "adatta.pipeline.charts.nice_ticks",
    "adatta.pipeline.plan.plan_stages",
    "adatta.pipeline.plan.protocol",
    "adatta.pipeline.prepare.prepare_stage",
    "adatta.pipeline.stages.do_evaluation",
    "adatta.pipeline.stages.do_export",
    "adatta.pipeline.stages.do_report",
    "adatta.pipeline.stages.do_training",
    "adatta.pipeline.stages.measure",
    "adatta.pipeline.stages.merge_stage",
    "adatta.pipeline.stages.model_folder",
}

Block = (
    ast.If | ast.For | ast.While | ast.With | ast.Try | ast.Match | ast.AsyncFor | ast.AsyncWith | ast.TryStar
)
OWN = {
    node.name
    for m in modules()
    if m.name == "adatta.core.errors"
    for node in m.tree.body
    if isinstance(node, ast.ClassDef)
}


def test_source_is_small():
    total = sum(code_lines(module) for module in modules())
    assert total <= TOTAL_CODE_LINES, f"src/: {total} code lines"


def test_files_are_short_and_well_named():
    offences = []
    for module in modules():
        num_lines = module.text.count("\n")
        if num_lines > FILE_LINES:
            offences.append(
                f"{module.path.relative_to(ROOT)}:{num_lines}: {num_lines} lines, at most {FILE_LINES}"
            )
        if module.path.stem in FORBIDDEN_NAMES:
            offences.append(f"{module.at(module.tree)}: the name {module.path.stem} says nothing")
    assert not offences, show(offences)


def test_functions_are_short():
    offences = []
    for module in modules():
        for function, _ in functions(module):
            num_lines = function.end_lineno - function.lineno + 1 - len(text_lines(function))
            if num_lines > FUNCTION_LINES:
                offences.append(
                    f"{module.at(function)}: {function.name} has {num_lines} lines, at most {FUNCTION_LINES}"
                )
    assert not offences, show(offences)


def test_classes_are_short():
    offences = []
    for module in modules():
        for node in module.nodes:
            if not isinstance(node, ast.ClassDef):
                continue
            num_lines = node.end_lineno - node.lineno + 1 - len(text_lines(node))
            public = [
                part for part in node.body if isinstance(part, Function) and not part.name.startswith("_")
            ]
            if num_lines > CLASS_LINES or len(public) > PUBLIC_METHODS:
                offences.append(
                    f"{module.at(node)}: {node.name} has {num_lines} lines and {len(public)} public methods, "
                    f"at most {CLASS_LINES} and {PUBLIC_METHODS}"
                )
    assert not offences, show(offences)


def _parameters(function: Function, owner: ast.ClassDef | None) -> tuple[int, int]:
    """Number of parameters and of those that may be given by position, without self and cls."""
    arguments = function.args
    positional = len(arguments.posonlyargs) + len(arguments.args)
    is_static = any(ast.unparse(item) == "staticmethod" for item in function.decorator_list)
    if owner is not None and not is_static:
        positional -= 1
    extra = [part for part in (arguments.vararg, arguments.kwarg) if part]
    return positional + len(arguments.kwonlyargs) + len(extra), positional


def _signatures() -> Iterator[tuple[str, str, int, int]]:
    """Name, place, number of parameters and of those by position, of what we may choose."""
    for module in modules():
        for function, owner in functions(module):
            name = f"{module.name}.{owner.name + '.' if owner else ''}{function.name}"
            is_special = function.name.startswith("__") and function.name != "__init__"
            if not is_special and name not in FOREIGN_SIGNATURES:
                yield name, module.at(function), *_parameters(function, owner)


def test_functions_have_few_parameters():
    offences = [
        f"{where}: {name} has {total} parameters, at most {PARAMETERS}"
        for name, where, total, _ in _signatures()
        if total > PARAMETERS
    ]
    assert not offences, show(offences)


def test_public_functions_take_two_arguments_by_position():
    found = {
        name: f"{where}: {name} takes {positional} arguments by position, at most {POSITIONAL}; add `*, `"
        for name, where, _, positional in _signatures()
        if positional > POSITIONAL
        and "._" not in name
        and not name.startswith("adatta.cli.commands.")  # typer's
    }
    assert not set(found) - MANY_BY_POSITION, show([found[name] for name in set(found) - MANY_BY_POSITION])
    assert not MANY_BY_POSITION - set(found), f"remove: {MANY_BY_POSITION - set(found)}"


def test_foreign_signatures_are_still_there():
    there = {
        f"{module.name}.{owner.name + '.' if owner else ''}{function.name}"
        for module in modules()
        for function, owner in functions(module)
    }
    assert set(FOREIGN_SIGNATURES) <= there, "remove what isn't needed any more"


def _deep(node: ast.AST, depth: int = 0) -> Iterator[ast.AST]:
    for child in ast.iter_child_nodes(node):
        if isinstance(child, Function | ast.Lambda | ast.ClassDef):
            continue
        is_elif = isinstance(node, ast.If) and isinstance(child, ast.If) and node.orelse == [child]
        below = depth + (isinstance(child, Block) and not is_elif)
        if below > NESTING:
            yield child
        else:
            yield from _deep(child, below)


def test_functions_are_flat():
    offences = [
        f"{module.at(node)}: {function.name} nests deeper than {NESTING}"
        for module in modules()
        for function, _ in functions(module)
        for node in _deep(function)
    ]
    assert not offences, show(offences)


def _ladder(node: ast.If) -> int:
    num = 0
    step: ast.If | None = node
    while step is not None:
        test = step.test
        is_string = isinstance(test, ast.Compare) and isinstance(test.ops[0], ast.Eq)
        num += is_string and isinstance(getattr(test.comparators[0], "value", None), str)
        step = step.orelse[0] if len(step.orelse) == 1 and isinstance(step.orelse[0], ast.If) else None
    return num


def test_string_ladders_are_tables():
    offences = [
        f"{module.at(node)}: {_ladder(node)} comparisons with strings in a row; use a table"
        for module in modules()
        for node in module.nodes
        if isinstance(node, ast.If) and _ladder(node) > LADDER
    ]
    assert not offences, show(offences)


def _is_broad(kind: ast.expr | None) -> bool:
    names = kind.elts if isinstance(kind, ast.Tuple) else [kind]
    return any(name is None or ast.unparse(name) in ("Exception", "BaseException") for name in names)


def test_broad_handlers_raise_again():
    offences = []
    for module in modules():
        for node in module.nodes:
            is_handler = isinstance(node, ast.ExceptHandler) and _is_broad(node.type)
            if is_handler and not any(isinstance(part, ast.Raise) for part in ast.walk(node)):
                offences.append(f"{module.at(node)}: catches everything and doesn't raise")
            is_suppress = isinstance(node, ast.Call) and ast.unparse(node.func).endswith("suppress")
            if is_suppress and any(_is_broad(argument) for argument in node.args):
                offences.append(f"{module.at(node)}: suppresses everything")
    assert not offences, show(offences)


def test_nothing_is_asserted_in_the_source():
    offences = [
        f"{module.at(node)}: assert; raise an error of ours"
        for module in modules()
        for node in module.nodes
        if isinstance(node, ast.Assert)
    ]
    assert not offences, show(offences)


def test_most_raises_are_of_our_own_classes():
    raised = [
        (module.at(node), ast.unparse(node.exc.func if isinstance(node.exc, ast.Call) else node.exc))
        for module in modules()
        for node in module.nodes
        if isinstance(node, ast.Raise) and node.exc is not None
    ]
    foreign = [f"{where}: {name}" for where, name in raised if name.rpartition(".")[2] not in OWN]
    assert len(foreign) <= (1 - OWN_RAISES_SHARE) * len(raised), show(foreign)


@pytest.mark.parametrize(
    ("text", "num"),
    [
        ("if a:\n for b in c:\n  with d:\n   e", 0),
        ("if a:\n for b in c:\n  with d:\n   if e:\n    f", 1),
        ("if a:\n b\nelif c:\n d\nelif e:\n f\nelif g:\n h\nelse:\n i", 0),
    ],
)
def test_deep_counts_blocks_and_not_branches(text, num):
    body = "\n".join(f" {line}" for line in text.splitlines())
    assert len(list(_deep(ast.parse(f"def f():\n{body}").body[0]))) == num
