"""`adatta eval`: measure models on suites and compare them with the first, paired."""

from __future__ import annotations

from typing import Annotated

import typer


def evaluate(
    models: Annotated[
        list[str] | None,
        typer.Argument(
            help="Models, the base first: Hub id, folder, run, GGUF, package:NAME/FILE.", show_default=False
        ),
    ] = None,
    suite: Annotated[list[str] | None, typer.Option(help="A suite; more than once for more.")] = None,
    plan: Annotated[
        bool, typer.Option("--plan", help="Say what the suite's items can show; measure nothing.")
    ] = False,
    language: Annotated[str, typer.Option(help="Language profile.")] = "it",
    context: Annotated[int, typer.Option(help="Longest input, in tokens.")] = 1024,
    precision: Annotated[str, typer.Option(help="fp32, bf16 or auto.")] = "auto",
    max_new_tokens: Annotated[int, typer.Option(help="Longest free answer, in tokens.")] = 96,
    name: Annotated[str, typer.Option(help="The run's name: the report is in runs/NAME.")] = "eval",
) -> None:
    """Measure models on a suite, compare each with the first one, item by item, and write a report."""
    from adatta.core.errors import RecipeError
    from adatta.pipeline.measuring import evaluate_models, plan_lines

    suites = suite or ["offline"]
    if plan:
        print("\n".join(plan_lines(suites)))
        return
    if not models:
        raise RecipeError("no model is named; name one or more, the base first, or say --plan")
    settings = {"language": language, "context": context, "precision": precision}
    evaluate_models(models, suites=suites, settings=settings, max_new_tokens=max_new_tokens, name=name)


COMMAND = evaluate
