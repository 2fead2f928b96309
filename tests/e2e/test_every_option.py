"""Every setting of a recipe does something: with another value the rows, the weights or the files are others.

A fingerprint that changes is not enough, since it holds every setting whether or not anything reads it.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import typing
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from pydantic import BaseModel
from ruamel.yaml import YAML
from safetensors.torch import load_file

from adatta.core.artefact import read_artefact
from adatta.core.errors import AdattaError
from adatta.core.recipe import Recipe
from adatta.core.settings import Settings, StageEntry
from adatta.data import hub
from adatta.data.hub import HubRows
from adatta.evals import suite
from adatta.pipeline.context import Context, open_context
from adatta.pipeline.plan import BASE, TRAINING
from adatta.pipeline.publishing import FinishedRun, trace
from adatta.pipeline.run import run_recipe
from adatta.pipeline.stages import DO
from adatta.train.stage import plan_order
from tests.toys import benchmarks
from tests.toys.models import toy_model
from tests.toys.recipes import write_small_suite, write_toy_recipe

pytestmark = pytest.mark.torch

NUM_ROWS, STEPS = 20, 3


@dataclasses.dataclass
class Bench:
    """Opens and runs the toy recipes, each with each set of overrides once."""

    folder: Path
    contexts: dict[Any, Context] = dataclasses.field(default_factory=dict)
    folders: dict[Any, Path] = dataclasses.field(default_factory=dict)

    def open(self, recipe: str, overrides: tuple[str, ...]) -> Context:
        """Read the recipe and its rows; nothing is trained."""
        key = recipe, overrides
        if key not in self.contexts:
            self.contexts[key] = open_context(self.folder / f"{recipe}.yaml", overrides)
        return self.contexts[key]

    def do(self, recipe: str, overrides: tuple[str, ...]) -> Path:
        """Do the recipe's only stage; its folder then also holds `part.json`, its part of the record."""
        key = recipe, overrides
        if key not in self.folders:
            context = self.open(recipe, overrides)
            folder = self.folder / f"done-{len(self.folders)}"
            folder.mkdir()
            planned = dataclasses.replace(context.plan[0], model_in=BASE)
            part = DO[planned.kind](context, planned, folder, {})
            (folder / "part.json").write_text(json.dumps(part, default=str))
            self.folders[key] = folder
        return self.folders[key]


Fact = Callable[[Bench, str, tuple[str, ...]], Any]


def rows(bench, recipe, overrides):
    """What is trained on, in the order of the data: ids and weights of every branch."""
    prepared = next(iter(bench.open(recipe, overrides).rows.values()))
    return [[(row.ids, row.weights) for row in group] for group in prepared.train]


def held_out(bench, recipe, overrides):
    (prepared,) = bench.open(recipe, overrides).rows.values()
    return len(prepared.holdout)


def order(bench, recipe, overrides):
    """Which rows each step sees."""
    context = bench.open(recipe, overrides)
    (prepared,) = context.rows.values()
    planned = plan_order(
        context.recipe.stages[0].training, prepared.train, kind=recipe, seed=context.recipe.seed
    )
    return [list(step) for step in planned.steps]


def num_forests(bench, recipe, overrides):
    context = bench.open(recipe, overrides)
    (prepared,) = context.rows.values()
    planned = plan_order(
        context.recipe.stages[0].training, prepared.train, kind=recipe, seed=context.recipe.seed
    )
    return len(list(planned.packing.batches(planned.rows)))


def weights(bench, recipe, overrides):
    """The hash of what was trained."""
    folder = bench.do(recipe, overrides) / "adapter"
    return [hashlib.sha256(path.read_bytes()).hexdigest() for path in sorted(folder.glob("*.safetensors"))]


def also_weights(bench, recipe, overrides):
    """Whether a weight of the base is another one in the merged model."""
    merged = load_file(bench.do(recipe, overrides) / "model" / "model.safetensors")
    return float(merged["model.norm.weight"].sum())


def logged(key, *, digits=12):
    """A figure of every step; rounded where the order of additions may change it."""

    def read(bench, recipe, overrides):
        lines = (bench.do(recipe, overrides) / "metrics.jsonl").read_text().splitlines()
        return [round(step[key], digits) for step in map(json.loads, lines) if key in step]

    return read


def recorded(*keys):
    """A part of the stage's record."""

    def read(bench, recipe, overrides):
        part = json.loads((bench.do(recipe, overrides) / "part.json").read_text())
        for key in keys:
            part = part[key]
        return part

    return read


def files(bench, recipe, overrides):
    folder = bench.do(recipe, overrides)
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


def contents(bench, recipe, overrides):
    folder = bench.do(recipe, overrides)
    return [path.read_bytes() for path in sorted(folder.rglob("*.gguf"))]


def answers(bench, recipe, overrides):
    from adatta.evals.scores import read_scores

    found = read_scores(bench.do(recipe, overrides) / "scores.parquet")
    return [(score.stage, score.item_id, score.output, score.status) for score in found]


def own_texts(bench, recipe, overrides):
    """The texts of the user's own that were measured."""
    from adatta.evals.scores import read_scores

    found = read_scores(bench.do(recipe, overrides) / "scores.parquet")
    return [(score.item_id, score.language) for score in found if score.suite == "texts"]


def tasks(bench, recipe, overrides):
    """Which tasks were asked, by their names in scores."""
    from adatta.evals.scores import read_scores

    return sorted({score.task for score in read_scores(bench.do(recipe, overrides) / "scores.parquet")})


def margins(bench, recipe, overrides):
    """Within which margin each figure of a run's report counts as held."""
    folder, _ = _run(bench, recipe, overrides)
    report = json.loads((folder / "report.json").read_text())
    return [(entry["task"], entry["metric"], entry["margin"]) for entry in report["metrics"]]


def kept_models(bench, recipe, overrides):
    """Which stages of a whole run keep a merged model."""
    folder, stages = _run(bench, recipe, overrides)
    return [(stage["kind"], (folder / stage["folder"] / "model").is_dir()) for stage in stages]


def licences(bench, recipe, overrides):
    """What a model card says of the licences of base and data of a whole run."""
    folder, stages = _run(bench, recipe, overrides)
    trained = [read_artefact(folder / stage["folder"]) for stage in stages if stage["kind"] in TRAINING]
    run = FinishedRun(folder=folder, trained=trained, exports=(), report={}, recipe={}, reasons=())
    return trace(run)[1:]


def measured(bench, recipe, overrides):
    """Which models a whole run measured."""
    folder, stages = _run(bench, recipe, overrides)
    (name,) = (stage["folder"] for stage in stages if stage["kind"] == "evaluate")
    return json.loads((folder / name / "record.json").read_text())["results"]["models"]


def _run(bench, recipe, overrides):
    folder = run_recipe(bench.folder / f"{recipe}.yaml", overrides)
    return folder, json.loads((folder / "current.json").read_text())["stages"]


class Option(NamedTuple):
    """A change of one field, under what else is `given`, of a recipe, and the fact that it changes.

    `refused`: the other value is an error, whose text is matched.
    """

    recipe: str
    change: str
    fact: Fact
    given: tuple[str, ...] = ()
    refused: str = ""


def sft(change: str, fact: Fact, *given: str, refused: str = "") -> Option:
    """Return an option of the training stage `sft`."""
    return Option("sft", f"stages.sft.{change}", fact, tuple(f"stages.sft.{one}" for one in given), refused)


def dpo(change: str, fact: Fact, *given: str) -> Option:
    """Return an option of the training stage `dpo`."""
    return Option("dpo", f"stages.dpo.{change}", fact, tuple(f"stages.dpo.{one}" for one in given))


def rows_of(file: str, *given: str) -> tuple[str, ...]:
    """Train on another file."""
    return f"stages.sft.data.0.path={file}", *given


def text(change: str, path: str) -> Option:
    """Return an option of texts of the user's own."""
    own = f"stages.evaluate.texts={{own: {{path: {path}}}}}"
    return Option("evaluate", f"stages.evaluate.texts.own.{change}", own_texts, (own,))


HUB = "data.0.path=hub:nobody/nothing"
ALL = ("keep_merged=all",)
ASIDE = rows_of("bad.jsonl", "on_bad_row=quarantine", "max_bad_share=0.5")

BENCHMARKS = ("stages.evaluate.suites=[italian]", "stages.evaluate.data_dir=releases-a")
WIDE = ("context=2048",)  # for the longest items of the suite
PEER = (*WIDE, "stages.evaluate.others={peer: other-model}")
OPTIONS: Mapping[str, Option] = {
    "Recipe.name": Option("export", "name=other", files),
    "Recipe.seed": Option("sft", "seed=7", order),
    "Recipe.language": Option("sft", "language=en", rows),
    "Recipe.context": Option("sft", "context=16", rows, refused="too_long"),
    "Recipe.precision": Option("sft", "precision=bf16", logged("loss")),
    "Recipe.engine": Option("sft", "engine=plain", recorded("results", "engine")),
    "Recipe.on_bad_row": Option("sft", "on_bad_row=error", rows, ASIDE, refused="bad.jsonl:"),
    "Recipe.max_bad_share": Option("sft", "max_bad_share=0.01", rows, ASIDE, refused="max_bad_share"),
    "Recipe.on_overlong": Option(
        "sft",
        "on_overlong=error",
        rows,
        rows_of("long.jsonl", "on_overlong=quarantine", "max_bad_share=1"),
        "too_long",
    ),
    "Recipe.on_overlap": Option(
        "chain", "on_overlap=error", rows, rows_of("leak.jsonl", "on_overlap=report"), "leak"
    ),
    "Recipe.entries": Option("sft", "stages.0={adapt: {data: [{path: text.jsonl}]}}", rows),
    "Recipe.keep_merged": Option("chain", "keep_merged=last", kept_models, ALL),
    "ModelSettings.name": Option("sft", "model.name=other-model", logged("loss")),
    "ModelSettings.revision": Option("sft", "model.revision=v1", rows, refused="revision"),
    "ModelSettings.license": Option("chain", "model.license=mit", licences),
    "DataSettings.path": sft("data.0.path=more.jsonl", rows),
    "DataSettings.config": sft("data.0.config=small", rows, HUB),
    "DataSettings.split": sft("data.0.split=test", rows, HUB),
    "DataSettings.revision": sft("data.0.revision=v1", rows, HUB),
    "DataSettings.fields": sft("data.0.fields={prompt: domanda}", rows, "data.0.path=named.jsonl"),
    "DataSettings.weight": sft("data.0.weight=2", rows),
    "DataSettings.rows": sft("data.0.rows=9", rows),
    "DataSettings.license": Option("chain", "stages.sft.data.0.license=cc0-1.0", licences),
    "SftSettings.thoughts": sft("thoughts=keep", rows, "data.0.path=thoughts.jsonl", refused="thoughts"),
    "TrainSettings.method": sft("method=qlora", weights),
    "SftSettings.answers": sft("answers=last", rows, "data.0.path=turns.jsonl"),
    "TrainSettings.keep": sft("keep=best", weights, "optimizer.lr=1", "holdout={path: many.jsonl}"),
    "AdapterSettings.rank": sft("adapter.rank=2", weights),
    "AdapterSettings.alpha": sft("adapter.alpha=3", weights),
    "AdapterSettings.dropout": sft("adapter.dropout=0.5", logged("loss", digits=4)),
    "AdapterSettings.targets": sft("adapter.targets=[q_proj]", weights),
    "AdapterSettings.rslora": sft("adapter.rslora=true", weights),
    "AdapterSettings.dora": sft("adapter.dora=true", weights),
    "AdapterSettings.also": sft("adapter.also=[norms]", also_weights, "merge.into=full"),
    "OptimizerSettings.name": sft("optimizer.name=paged_adamw_8bit", weights, refused="needs a CUDA device"),
    "OptimizerSettings.lr": sft("optimizer.lr=0.0001", logged("lr")),
    "OptimizerSettings.weight_decay": sft("optimizer.weight_decay=0.5", weights),
    "OptimizerSettings.clip": sft("optimizer.clip=0.01", weights),
    "ScheduleSettings.name": sft("schedule.name=cosine", logged("lr")),
    "ScheduleSettings.warmup_share": sft("schedule.warmup_share=0.7", logged("lr")),
    "BatchSettings.rows": sft("batch.rows=2", order),
    "BatchSettings.forest_tokens": sft("batch.forest_tokens=64", num_forests),
    "BatchSettings.checkpointing": sft("batch.checkpointing=always", recorded("results", "recomputed")),
    "BudgetSettings.tokens": sft("budget={tokens: 100}", order),
    "BudgetSettings.steps": sft("budget={steps: 1}", order),
    "BudgetSettings.epochs": sft("budget={epochs: 2}", order),
    "HoldoutSettings.share": sft("holdout.share=0.2", held_out, "holdout.min_rows=0"),
    "HoldoutSettings.min_rows": sft("holdout.min_rows=0", held_out, "holdout.share=0.05"),
    "HoldoutSettings.path": sft("holdout={path: more.jsonl}", held_out),
    "MergeSettings.into": sft("merge.into=full", files),
    "DpoSettings.loss": dpo("loss=ipo", logged("loss")),
    "DpoSettings.beta": dpo("beta=0.5", weights),
    "DpoSettings.label_smoothing": dpo("label_smoothing=0.2", weights),
    "DpoSettings.length_normalised": dpo("length_normalised=true", logged("margin")),
    "DpoSettings.sft_weight": dpo("sft_weight=0.5", logged("loss")),
    "DynamicSettings.strength": dpo("dynamic={strength: 1e3}", logged("beta"), "dynamic={}"),
    "DynamicSettings.momentum": dpo("dynamic={momentum: 0.1}", logged("beta"), "dynamic={}"),
    "DynamicSettings.keep_share": dpo("dynamic={keep_share: 0.5}", logged("filtered_pairs"), "dynamic={}"),
    "DynamicSettings.initial_margin": dpo("dynamic={initial_margin: 0.5}", logged("beta"), "dynamic={}"),
    "DpoSettings.share_prefix": dpo("share_prefix=false", logged("tokens")),
    "EvaluateSettings.suites": Option(
        "evaluate", "stages.evaluate.suites=[other]", answers, refused="there is no 'other'"
    ),
    "TextSettings.path": text("path=titled.jsonl", "text.jsonl"),
    "TextSettings.fields": text("fields={text: title}", "titled.jsonl"),
    "TextSettings.language": text("language=en", "text.jsonl"),
    "EvaluateSettings.models": Option("chain", "stages.evaluate.models=[base]", measured, ALL),
    "EvaluateSettings.max_new_tokens": Option("evaluate", "stages.evaluate.max_new_tokens=2", answers),
    "EvaluateSettings.others": Option("judged", "stages.evaluate.others={peer: other-model}", measured, WIDE),
    "EvaluateSettings.data_dir": Option(
        "evaluate", "stages.evaluate.data_dir=releases-b", tasks, BENCHMARKS, refused="at first, now"
    ),
    "EvaluateSettings.protocols": Option("evaluate", "stages.evaluate.protocols=[chat]", tasks, BENCHMARKS),
    "MarginSettings.share": Option("judged", "stages.report.margin.share=0.05", margins, WIDE),
    "MarginSettings.bits_per_byte": Option("judged", "stages.report.margin.bits_per_byte=0.5", margins, WIDE),
    "MarginSettings.guard": Option(
        "judged", "stages.report.margin.guard=true", margins, PEER, refused="the guard says no"
    ),
    "ExportSettings.formats": Option("export", "stages.export.formats=[safetensors]", files),
    "ExportSettings.importance": Option(
        "export", "stages.export.importance=importance.txt", contents, ("stages.export.formats=[gguf-q4_0]",)
    ),
}


def settings_of(kind: type[BaseModel]) -> Iterator[type[BaseModel]]:
    """All models of settings that a model holds, at any depth, itself first."""
    yield kind
    for field in kind.model_fields.values():
        for part in _parts(field.annotation):
            yield from settings_of(part)


def _parts(annotation: Any) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, Settings):
        yield annotation
    for argument in typing.get_args(annotation):
        yield from _parts(argument)


def leaves() -> set[str]:
    """Name every field that holds no other settings, by the class that defines it."""
    return {
        f"{owner.__name__}.{name}"
        for kind in settings_of(Recipe)
        if kind is not StageEntry
        for owner in kind.__mro__
        if isinstance(owner, type) and issubclass(owner, Settings)
        for name in owner.__annotations__
        if name in kind.model_fields
        and (name == "entries" or not list(_parts(kind.model_fields[name].annotation)))
    }


def conversation(number: int, answer: str) -> dict[str, Any]:
    question = {"role": "user", "content": f"Parlami della città numero {number}."}
    return {"messages": [question, {"role": "assistant", "content": answer}]}


def write_rows(path: Path, found: list[dict[str, Any]], *, bad: int = 0) -> None:
    lines = [json.dumps(row, ensure_ascii=False) for row in found] + ["{broken"] * bad
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")


def write_files(folder: Path) -> None:
    """Write rows and benchmarks that only some options need."""
    (folder / "runs" / "evaluate").mkdir(parents=True)
    for name, start in (("releases-a", 0), ("releases-b", 50)):
        files = {
            "italic.jsonl": benchmarks.jsonl(benchmarks.italic(benchmarks.sums(6, start=start))),
            "5_shots.jsonl": benchmarks.jsonl(benchmarks.italic(benchmarks.sums(5, start=900))),
        }
        benchmarks.write_files(folder / name, files)
    ten = [conversation(number, f"È nel nord, la numero {number}.") for number in range(10)]
    write_rows(folder / "more.jsonl", ten)
    many = [conversation(number, f"{number**9} {number**7}") for number in range(30)]
    write_rows(folder / "many.jsonl", many)
    two = [{"messages": 2 * conversation(number, f"È la {number}.")["messages"]} for number in range(10)]
    write_rows(folder / "turns.jsonl", two)
    write_rows(folder / "bad.jsonl", ten[:8], bad=2)
    write_rows(folder / "long.jsonl", [*ten, conversation(10, " ".join(f"La via {n}." for n in range(200)))])
    known = json.loads(
        (folder / "bundled/data/evaluation/test/questions_it.jsonl").read_text().splitlines()[0]
    )
    leak = {"prompt": known["question"], "completion": known["options"][known["answer"]]}
    write_rows(folder / "leak.jsonl", [*ten, leak])
    names = ("prompt", "completion", "domanda")
    texts = ("Dove sta {}?", "A nord di {}.", "Dove si trova {}?")
    named = [{name: text.format(n) for name, text in zip(names, texts, strict=True)} for n in range(10)]
    write_rows(folder / "named.jsonl", named)
    titled = [{"title": f"La via {n}", "text": f"La via numero {n} è nel nord."} for n in range(10)]
    write_rows(folder / "titled.jsonl", titled)
    (folder / "importance.txt").write_text("Il mare è calmo, la sera è dolce.", encoding="utf-8")
    thoughts = [conversation(number, f"<think>Ci penso.</think>È la {number}.") for number in range(10)]
    write_rows(folder / "thoughts.jsonl", thoughts)


def fetch_nothing(repository: str, problems: object, **where: str | None) -> HubRows:
    """Stand for the Hub: rows that say what was asked for."""
    found = [conversation(number, f"{number} {sorted(where.items())}") for number in range(10)]
    return HubRows("0" * 40, iter(enumerate(found, start=1)))


@pytest.fixture(scope="module")
def bench(toy_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    """Recipes of one stage each and two chains, with their rows."""
    folder = tmp_path_factory.mktemp("options")
    recipe = YAML(typ="safe").load(write_toy_recipe(folder, toy_folder, num_rows=NUM_ROWS, steps=STEPS))
    toy_model(folder / "other-model", "llama", tied=True, seed=1)
    write_small_suite(folder / "bundled", num_items=2, num_chars=80)
    write_files(folder)
    kinds = {kind: stage for entry in recipe["stages"] for kind, stage in entry.items()}
    kinds["sft"] |= {"merge": {"into": "none"}, "holdout": {"share": 0.0}}
    kinds["dpo"] |= {"merge": {"into": "none"}, "holdout": {"share": 0.0}}
    full = {"merge": {"into": "full"}}
    chains = {
        **{kind: [kind] for kind in ("sft", "dpo", "evaluate", "export")},
        "chain": ["sft", "dpo", "evaluate"],
        "judged": ["evaluate", "report"],
    }
    for name, parts in chains.items():
        stages = [
            {part: kinds[part] | (full if len(parts) > 1 and part in ("sft", "dpo") else {})}
            for part in parts
        ]
        with (folder / f"{name}.yaml").open("w", encoding="utf-8") as file:
            YAML(typ="safe").dump({**recipe, "name": name, "stages": stages}, file)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(suite, "bundled_dir", lambda: folder / "bundled")
        patch.setattr(hub, "fetch_dataset", fetch_nothing)
        patch.setenv("ADATTA_HOME", str(folder))
        patch.setenv("ADATTA_CACHE", str(folder / "cache"))
        patch.chdir(folder)
        yield Bench(folder)


def test_every_field_has_an_option() -> None:
    assert set(OPTIONS) == leaves()


@pytest.mark.parametrize("name", OPTIONS)
def test_option_does_something(name: str, bench: Bench) -> None:
    option = OPTIONS[name]
    before = option.fact(bench, option.recipe, option.given)
    if option.refused:
        with pytest.raises(AdattaError, match=option.refused):
            option.fact(bench, option.recipe, (*option.given, option.change))
    else:
        assert option.fact(bench, option.recipe, (*option.given, option.change)) != before
