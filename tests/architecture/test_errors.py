"""The tree of errors is used: each leaf is raised somewhere, each has an exit code and says what it means."""

from __future__ import annotations

import ast
import inspect

import pytest

from adatta.core import errors
from adatta.core.errors import AdattaError, Problem
from tests.architecture.source import modules, show

CLASSES = [
    cls
    for cls in vars(errors).values()
    if inspect.isclass(cls) and issubclass(cls, AdattaError) and not cls.__name__.startswith("_")
]
LEAVES = [cls for cls in CLASSES if not cls.__subclasses__()]

# Not raised yet, and what is missing. May only shrink.
PENDING = {
    "ResumeError": "going on with another number of processes",
    "ServeError": "the server",
}


def _raised() -> dict[str, str]:
    """Where each class is made first, by its name."""
    found: dict[str, str] = {}
    for module in modules():
        for node in module.nodes:
            if isinstance(node, ast.Call):
                found.setdefault(ast.unparse(node.func).rpartition(".")[2], module.at(node))
    return found


def test_each_leaf_is_raised_or_waits_for_its_work():
    raised = _raised()
    offences = [
        f"{inspect.getsourcefile(cls)}:{inspect.getsourcelines(cls)[1]}: {cls.__name__} is never raised"
        for cls in LEAVES
        if cls.__name__ not in raised and cls.__name__ not in PENDING
    ]
    assert not offences, show(offences)


def test_what_waits_shrinks():
    raised = _raised()
    offences = [
        f"{raised[name]}: {name} is raised now; take it off PENDING" for name in PENDING if name in raised
    ]
    offences += [
        f"{name} is no leaf; take it off PENDING"
        for name in PENDING
        if not any(name == c.__name__ for c in LEAVES)
    ]
    assert not offences, show(offences)


@pytest.mark.parametrize("cls", CLASSES)
def test_each_error_has_an_exit_code_and_a_meaning(cls):
    assert cls.exit_code in (1, 2, 3)
    assert cls.__doc__
    assert cls.__name__.endswith("Error")


@pytest.mark.parametrize("cls", [cls for cls in CLASSES if issubclass(cls, errors._Problems)])
def test_errors_of_many_problems_keep_and_show_all(cls):
    problems = [Problem(where="a:1", what="wrong", hint="do this"), Problem(where="b:2", what="worse")]
    error = cls(problems)
    assert error.problems == tuple(problems)
    assert str(error) == "a:1: wrong\n    do this\nb:2: worse"
    assert str(cls("plain")) == "plain"
