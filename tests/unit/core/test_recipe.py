"""Recipes: overrides, inheritance, sources, data paths, and every mistake with its line."""

from __future__ import annotations

from pathlib import Path

import pytest

from adatta.core import recipe as module
from adatta.core.errors import RecipeError
from adatta.core.recipe import dump_recipe, load_recipe

HEAD = "name: demo\nmodel: {name: m}\n"


@pytest.fixture
def write(tmp_path, monkeypatch):
    """Writes a recipe beside three data files and returns its path."""
    monkeypatch.chdir(tmp_path)
    for name in ("c.jsonl", "p.jsonl", "t.txt"):
        (tmp_path / name).write_text("x")

    def write_recipe(text: str, name: str = "r.yaml") -> Path:
        path = Path(name)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
        return path

    return write_recipe


def problems_of(path, overrides=()):
    with pytest.raises(RecipeError) as caught:
        load_recipe(path, overrides)
    assert caught.value.exit_code == 2
    assert all(problem.hint for problem in caught.value.problems)
    return [f"{problem.where}: {problem.what}" for problem in caught.value.problems]


def test_load_recipe_minimal_has_defaults_and_says_so(write):
    loaded = load_recipe(write(HEAD))
    assert loaded.recipe.stages == ()
    assert loaded.resolved["context"] == 1024
    assert loaded.sources["name"] == "r.yaml:1"
    assert loaded.sources["model.name"] == "r.yaml:2"
    assert loaded.sources["seed"] == "default"
    assert loaded.sources["model.revision"] == "default"


def test_stages_of_one_kind_are_numbered_from_the_second(write):
    sft = "- sft: {data: [{path: c.jsonl}]}\n"
    recipe = load_recipe(write(f"{HEAD}stages:\n{sft}- evaluate: {{}}\n{sft}- report:\n")).recipe
    assert [(stage.kind, stage.name) for stage in recipe.stages] == [
        ("sft", "sft"),
        ("evaluate", "evaluate"),
        ("sft", "sft-2"),
        ("report", "report"),
    ]


@pytest.mark.parametrize("stage", ["0.sft", "sft"])
def test_override_of_a_stage_by_index_or_name_is_kept_with_its_source(write, stage):
    path = write(HEAD + "stages:\n- sft: {data: [{path: c.jsonl}]}\n")
    override = f"stages.{stage}.optimizer.lr=1e-3"
    loaded = load_recipe(
        path, [override, "seed=7", "model.revision=main", f"stages.{stage}.budget={{steps: 3}}"]
    )
    settings = loaded.recipe.stages[0].settings
    assert (settings.optimizer.lr, settings.optimizer.clip, settings.budget.steps) == (1e-3, 1.0, 3)
    assert (loaded.recipe.seed, loaded.recipe.model.revision) == (7, "main")
    assert loaded.sources["stages.0.sft.optimizer.lr"] == f"--set {override}"
    assert loaded.sources["stages.0.sft.optimizer.clip"] == "default"


def test_override_of_the_second_stage_of_a_kind_goes_by_its_name(write):
    stage = "- adapt: {data: [{path: t.txt}]}\n"
    recipe = load_recipe(write(HEAD + "stages:\n" + 2 * stage), ["stages.adapt-2.batch.rows=3"]).recipe
    assert [stage.settings.batch.rows for stage in recipe.stages] == [8, 3]


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("seed", "--set seed: no assignment"),
        (
            "stages.sfft.keep=best",
            "--set stages.sfft.keep=best: no stage is called 'sfft'; did you mean 'sft'?",
        ),
        (
            "stages.4.sft.keep=best",
            "--set stages.4.sft.keep=best: nothing to set at '4' in stages.4.sft.keep",
        ),
        ("name.first=x", "--set name.first=x: nothing to set at 'first' in name.first"),
        ("sead=7", "--set sead=7: unknown key 'sead' in the recipe; did you mean 'seed'?"),
        ("seed=x", "--set seed=x: seed is 'x' (text); expected a whole number"),
        ("seed={", "--set seed={: no YAML: expected the node content"),
    ],
)
def test_override_with_a_mistake_names_the_flag(write, override, message):
    path = write(HEAD + "stages:\n- sft: {data: [{path: c.jsonl}]}\n")
    (problem,) = problems_of(path, [override])
    assert message in problem
    assert problem.startswith(f"--set {override}")


def test_extends_merges_mappings_replaces_lists_and_keeps_lines(write):
    write(HEAD + "seed: 1\nstages: [{report: {}}, {evaluate: {}}]", "base/grand.yaml")
    write("extends: grand.yaml\nseed: 2\ncontext: 64", "base/parent.yaml")
    loaded = load_recipe(write("extends: base/parent.yaml\nmodel: {revision: v1}\nstages: [{report: {}}]"))
    recipe = loaded.recipe
    assert (recipe.name, recipe.seed, recipe.context, len(recipe.stages)) == ("demo", 2, 64, 1)
    assert (recipe.model.name, recipe.model.revision) == ("m", "v1")
    assert loaded.sources["name"] == "base/grand.yaml:1"
    assert loaded.sources["seed"] == "base/parent.yaml:2"
    assert loaded.sources["model.name"] == "base/grand.yaml:2"
    assert loaded.sources["model.revision"] == "r.yaml:2"


def test_extends_in_a_circle_or_of_no_file_is_refused(write):
    write("extends: r.yaml", "other.yaml")
    assert problems_of(write("extends: other.yaml"))[0].startswith("other.yaml:1: extends needs the path")
    assert problems_of(write("extends: [a]"))[0].startswith("r.yaml:1: extends needs the path")
    assert "nothing.yaml: no recipe can be read" in problems_of(write("extends: nothing.yaml"))[0]


def test_data_paths_are_found_beside_the_recipe_that_names_them_then_here(write, tmp_path):
    stages = "stages:\n- sft: {data: [{path: c.jsonl}, {path: only.jsonl}], holdout: {path: t.txt}}\n"
    parent = write(HEAD + stages, "sub/parent.yaml")
    (tmp_path / "sub" / "c.jsonl").write_text("y")
    (tmp_path / "only.jsonl").write_text("y")
    settings = load_recipe(write(f"extends: {parent}")).recipe.stages[0].settings
    assert [data.path for data in settings.data] == [
        str(tmp_path / "sub/c.jsonl"),
        str(tmp_path / "only.jsonl"),
    ]
    assert settings.holdout.path == str(tmp_path / "t.txt")


def test_releases_of_benchmarks_are_found_beside_the_recipe(write, tmp_path):
    (tmp_path / "sub" / "releases").mkdir(parents=True)
    stages = "stages: [{evaluate: {suites: [italian], data_dir: releases}}]"
    settings = load_recipe(write(HEAD + stages, "sub/parent.yaml")).recipe.stages[0].settings
    assert settings.data_dir == str(tmp_path / "sub" / "releases")


def test_data_paths_of_shipped_recipes_are_found_in_the_bundle(write, tmp_path, monkeypatch):
    monkeypatch.setattr(module, "bundled_dir", lambda: tmp_path / "bundle")
    text = HEAD + "stages: [{adapt: {data: [{path: data/x.txt}]}}]"
    path = write(text, "bundle/recipes/demo.yaml")
    write("Ciao.", "bundle/data/x.txt")
    (data,) = load_recipe(path).recipe.stages[0].settings.data
    assert data.path == str(tmp_path / "bundle/data/x.txt")
    assert (
        load_recipe(write(text)).missing["stages.0.adapt.data.0.path"][0] == "no file or folder 'data/x.txt'"
    )


def test_missing_data_alone_leave_the_rest_of_the_recipe_to_be_checked(write):
    text = HEAD + "stages:\n- sft: {data: [{path: c.jsonl}]}\n- evaluate: {texts: {mine: {path: no.txt}}}\n"
    loaded = load_recipe(write(text), ["stages.sft.data.0.path=no.jsonl"])
    found = {str(loaded.problem(path, what)) for path, (what, _) in loaded.missing.items()}
    assert found == {
        "--set stages.sft.data.0.path=no.jsonl: stages.0.sft.data.0.path: no file or folder 'no.jsonl'",
        "r.yaml:5: stages.1.evaluate.texts.mine.path: no file or folder 'no.txt'",
    }


def test_all_mistakes_are_told_at_once_in_order_of_their_lines(write):
    path = write("""name: "my run"
seed: 1.5
context: "1024"
precision: fp23
modle: {name: x}
model: {name: m, revision: 3}
engine: fused
stages:
  - sft:
      data: [{path: no.jsonl, weight: 0}]
      optimizer:
        learning_rate: 1e-4
      adapter: {targets: 3, r: 4}
      budget: {tokens: 5, steps: 6}
      lr: 3
      max_seq_length: 5
      merge: {into: ful}
  - dpo: {data: [{path: p.jsonl}], adapter: {dropout: 0.1}, merge: {into: none}}
  - evaluate: {suites: offline, models: [base]}
  - evaluate: {models: [base, dpo, stf, adapt]}
  - adapt: {data: [t.txt]}
  - adapt:
  - [report]
""")
    assert problems_of(path) == [
        "r.yaml:1: name is 'my run' (text); expected letters, digits, '.', '_' and '-', "
        "beginning with a letter or a digit",
        "r.yaml:2: seed is 1.5 (a number); expected a whole number",
        "r.yaml:3: context is '1024' (text); expected a whole number",
        "r.yaml:4: precision is 'fp23' (text); expected 'fp32', 'bf16' or 'auto'; did you mean 'fp32'?",
        "r.yaml:5: unknown key 'modle' in the recipe; did you mean 'model'?",
        "r.yaml:6: model.revision is 3 (a number); expected text",
        "r.yaml:10: stages.0.sft.data.0.path: no file or folder 'no.jsonl'",
        "r.yaml:10: stages.0.sft.data.0.weight is 0 (a number); expected greater than 0",
        "r.yaml:12: unknown key 'learning_rate' in stages.0.sft.optimizer; did you mean 'lr'?",
        "r.yaml:13: stages.0.sft.adapter.targets is 3 (a number); expected 'all-linear' or a list",
        "r.yaml:13: unknown key 'r' in stages.0.sft.adapter; did you mean 'rank'?",
        "r.yaml:14: stages.0.sft.budget: exactly one of tokens, steps, epochs is needed, "
        "given: tokens, steps",
        "r.yaml:15: unknown key 'lr' in stages.0.sft; did you mean 'optimizer.lr'?",
        "r.yaml:16: unknown key 'max_seq_length' in stages.0.sft; 'context' belongs at the top of the recipe",
        "r.yaml:17: stages.0.sft.merge.into is 'ful' (text); expected 'full', 'dequantised' or 'none'; "
        "did you mean 'full'?",
        "r.yaml:19: stages.2.evaluate.suites is 'offline' (text); expected a list",
        "r.yaml:21: stages.4.adapt.data.0 is 't.txt' (text); expected a mapping (`key: value`)",
        "r.yaml:22: missing key 'data' in stages.5.adapt",
        "r.yaml:23: stages.6 is a list; expected a mapping (`key: value`)",
    ]


def test_an_evaluation_of_nothing_is_refused(write):
    path = write(HEAD + "stages:\n- evaluate: {suites: []}\n")
    (problem,) = problems_of(path)
    assert problem.endswith("stages.0.evaluate: neither suites nor texts: name one of them")


def test_unknown_key_is_shown_with_what_is_known_there(write):
    path = write(
        HEAD + "stages:\n- sft:\n    data: [{path: c.jsonl}]\n    optimizer: {learning_rate: 1e-4}\n"
    )
    with pytest.raises(RecipeError) as caught:
        load_recipe(path)
    assert str(caught.value) == (
        "r.yaml:6: unknown key 'learning_rate' in stages.0.sft.optimizer; did you mean 'lr'?\n"
        "    known here: name, lr, weight_decay, clip"
    )


SFT = "- sft: {data: [{path: c.jsonl}], %s}\n"
DPO = "- dpo: {data: [{path: p.jsonl}], %s}\n"


@pytest.mark.parametrize(
    ("top", "stages", "message"),
    [
        ("engine: fused", SFT % "adapter: {dropout: 0.1}", "r.yaml:3: engine: fused can't do sft's dropout"),
        ("on_overlong: split", DPO % "", "r.yaml:3: on_overlong: preferences can't be split"),
        ("", DPO % "adapter: {dropout: 0.1}", "r.yaml:5: stages.0.dpo.adapter.dropout: dropout above 0"),
        (
            "",
            SFT % "merge: {into: none}" + DPO % "",
            "r.yaml:5: stages.0.sft.merge.into: none is possible on the last",
        ),
        ("", SFT % "method: full, merge: {into: none}", "stages.0.sft.merge.into: none needs an adapter"),
        ("", SFT % "method: lora, merge: {into: dequantised}", "dequantised needs method: qlora, not lora"),
        ("", SFT % "keep: best, holdout: {share: 0.0}", "stages.0.sft.keep: best needs rows held out"),
        (
            "",
            SFT % "adapter: {also: [norms]}, merge: {into: none}",
            "stages.0.sft.merge.into: none leaves an adapter, which doesn't hold what adapter.also trains",
        ),
        (
            "",
            DPO % "loss: ipo, label_smoothing: 0.1",
            "r.yaml:5: stages.0.dpo: label_smoothing 0.1 needs loss: sigmoid, given ipo",
        ),
        (
            "",
            SFT % "" + "- evaluate: {models: [base, stf]}",
            "models.1: no model 'stf' before this stage; did you mean 'sft'?",
        ),
        (
            "",
            "- evaluate: {models: [base, sft]}\n" + SFT % "",
            "r.yaml:5: stages.0.evaluate.models.1: no model 'sft' before",
        ),
        ("", SFT % "" + "- evaluate: {models: [sft]}", "models: base is not among the models"),
        (
            "",
            "- sft: {data: [{path: c.jsonl, weight: 2.0, rows: 5}]}",
            "stages.0.sft.data.0.weight: a weight and a number of rows contradict each other",
        ),
        (
            "",
            "- sft: {data: [{path: c.jsonl, split: test}]}",
            "stages.0.sft.data.0.split: only a data set of the Hub has one",
        ),
        (
            "",
            "- sft: {}\n  dpo: {}",
            "stages.0: an entry of stages holds exactly one stage kind, given: sft, dpo",
        ),
        ("", "- sftt: {}", "unknown key 'sftt' in stages.0; did you mean 'sft'?"),
        ("", "- sft:", "r.yaml:5: missing key 'data' in stages.0.sft"),
    ],
)
def test_contradictions_are_refused_where_they_stand(write, top, stages, message):
    (problem,) = problems_of(write(f"{HEAD}{top}\nstages:\n{stages}"))
    assert message in problem


def test_contradictions_are_told_beside_wrong_values_elsewhere(write):
    text = f"{HEAD}seed: x\nstages:\n{SFT % 'merge: {into: none}'}{DPO % 'betta: 1.0'}"
    assert [problem.split(": ")[0] for problem in problems_of(write(text))] == [
        f"r.yaml:{n}" for n in (3, 5, 6)
    ]


@pytest.mark.parametrize(
    ("top", "stages"),
    [
        ("on_overlong: split", "- adapt: {data: [{path: t.txt}]}"),
        ("on_overlong: split", SFT % "" + DPO % ""),
        ("on_overlong: split", "- evaluate: {}"),
        ("", "- sft: {data: [{path: 'hub:a/b', config: it, split: test, revision: v1}]}"),
        ("", DPO % "share_prefix: false, adapter: {dropout: 0.1}"),
        ("", SFT % "" + DPO % "merge: {into: none}" + "- evaluate: {models: [base, sft, dpo]}"),
    ],
)
def test_neighbours_of_contradictions_are_accepted(write, top, stages):
    assert load_recipe(write(f"{HEAD}{top}\nstages:\n{stages}")).recipe.stages


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "r.yaml:1: the recipe is empty"),
        (b"- a", "r.yaml:1: the recipe is no mapping"),
        (b"name: \xff", "r.yaml: no UTF-8 at byte 7"),
        (b"seed: 1", "r.yaml:1: missing key 'name' in the recipe"),
    ],
)
def test_unusable_files_are_refused_with_a_reason(write, content, message):
    path = write("")
    path.write_bytes(content)
    assert problems_of(path)[0] == message


def test_dump_recipe_reads_back_the_same_with_sources_as_comments(write):
    stages = SFT % "budget: {steps: 3}, adapter: {targets: [q_proj]}, holdout: {path: t.txt}" + "- report:"
    loaded = load_recipe(write(f"{HEAD}stages:\n{stages}"), ["model.revision='no'"])
    text = dump_recipe(loaded.recipe, loaded.sources)
    again = load_recipe(write(text, "runs/demo/recipe.yaml"))
    assert again.recipe == loaded.recipe
    assert again.resolved == loaded.resolved
    assert "steps: 3  # r.yaml:4\n" in text
    assert "# --set model.revision='no'\n" in text
    assert "seed: 42 # default\n" in text
