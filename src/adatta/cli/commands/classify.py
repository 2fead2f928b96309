"""`adatta classify`: which labels fit texts, without any training."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, cast

from typer import Argument, Option

from adatta.cli.options import ModelName, take_options
from adatta.core.errors import UserError
from adatta.lang.profile import load_profile
from adatta.pipeline.loaded import LoadedModel
from adatta.pipeline.texts import agreement_lines, check_out, read_texts, write_results


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """Arguments and options of the command."""

    model: ModelName
    text: Annotated[str | None, Argument(help="A text; without, --file or the input is read.")] = None
    label: Annotated[list[str] | None, Option(metavar="NAME[=DESCRIPTION]", help="One each time.")] = None
    file: Annotated[Path | None, Option(help="A table, or another file with one text a line.")] = None
    column: Annotated[str, Option(help="The table's column with the texts.")] = "text"
    evaluate: Annotated[str | None, Option(metavar="COLUMN", help="Compare with its labels.")] = None
    several: Annotated[bool, Option("--several", help="A text may have any number of labels.")] = False
    threshold: Annotated[float, Option(help="With --several: probability from which a label holds.")] = 0.5
    calibration: Annotated[str, Option(help="content-free, batch or none; see docs/use.md.")] = "content-free"
    template: Annotated[str | None, Option(help="Another question, with {text} and {label}.")] = None
    language: Annotated[str, Option(help="Language profile, for the question.")] = "it"
    out: Annotated[Path | None, Option(help="Write to this .jsonl or .csv file.")] = None


def classify(options: Options) -> None:
    """Say which label fits each text, with the probability of every label; no training, no examples."""
    from adatta.evals.classify import Asking, Question, measure_agreement

    how = cast(Asking, {key: getattr(options, key) for key in Asking.__annotations__})
    labels = Question(options.label or (), load_profile(options.language), **how).labels
    if options.evaluate and options.several:
        raise UserError("--evaluate compares one label a text with the right one; leave --several out")
    if options.out:
        check_out(options.out)
    if options.text is None:
        texts, gold = read_texts(options.file, options.column, gold_column=options.evaluate, labels=labels)
    elif options.file or options.evaluate:
        raise UserError("a text and --file or --evaluate were given; expected a text, or a file")
    else:
        texts, gold = {"the text": options.text}, []
    with LoadedModel(options.model, language=options.language) as model:
        found = model.classify(texts, labels, **how)
    if options.evaluate:
        print("\n".join(agreement_lines(measure_agreement(gold, [each.labels[0] for each in found]))))
    if options.out or not options.evaluate:
        write_results(texts.values(), found, out=options.out)


COMMAND = take_options(Options, classify)
