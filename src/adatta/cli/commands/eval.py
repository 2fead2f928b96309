"""`adatta eval`: measure models on suites and compare them with the first, paired."""

from __future__ import annotations

import json
from typing import Annotated

from typer import Argument, Option


def evaluate(
    models: Annotated[
        list[str] | None,
        Argument(
            help="Base, adapted model, others: Hub id, folder, run, GGUF, package:NAME/FILE.",
            show_default=False,
        ),
    ] = None,
    suite: Annotated[
        list[str] | None, Option(help="A suite, or a YAML file of yours; again for more. Else the language's")
    ] = None,
    data_dir: Annotated[
        str | None, Option(help="Folder of public benchmarks' releases; else they come from the Hub.")
    ] = None,
    plan: Annotated[
        bool, Option("--plan", help="Say what the items can show, also by run NAME; measure nothing.")
    ] = False,
    language: Annotated[str, Option(help="Language profile.")] = "it",
    name: Annotated[str, Option(help="The run's name: the report is in runs/NAME.")] = "eval",
    overrides: Annotated[
        list[str] | None,
        Option("--set", metavar="PATH=VALUE", help="A setting of the recipe, such as precision=bf16."),
    ] = None,
) -> None:
    """Measure models on a suite, compare each with the first one, item by item, and write a report."""
    from adatta.core.errors import RecipeError
    from adatta.lang.profile import load_profile
    from adatta.pipeline.measuring import evaluate_models, plan_lines

    if plan:
        print("\n".join(plan_lines(suite or load_profile(language).suites, data_dir=data_dir, pilot=name)))
        return
    if not models:
        raise RecipeError("no model is named; name one or more, the base first, or say --plan")
    settings = [
        f"language={language}",
        *([f"stages.evaluate.data_dir={json.dumps(data_dir)}"] if data_dir else ()),
    ]
    evaluate_models(models, suites=suite or (), overrides=[*settings, *(overrides or ())], name=name)


COMMAND = evaluate
