"""A run becomes a publication: which files, under which licence, and a card that says what was measured."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from types import SimpleNamespace

import pytest
from huggingface_hub import ModelCard
from huggingface_hub.repocard_data import eval_results_to_model_index, model_index_to_eval_results

from adatta.core.artefact import set_current
from adatta.core.errors import DriftError, GuardError, ModelError, PublishError
from adatta.pipeline.publishing import Publication, prepare_publication
from tests.toys.card_rules import broken_rules
from tests.unit.pipeline.finished_run import COMMIT, write_base, write_finished_run


def prepare(repo: str = "rosa/demo", **options: object) -> Publication:
    given = {"formats": (), "anyway": False} | options
    return prepare_publication("demo", repo, **given)


def metadata(publication: Publication) -> dict:
    assert broken_rules(publication.card) == []
    return ModelCard(publication.card).data.to_dict()


@pytest.fixture
def run(work: Path) -> Path:
    """A run of a base in a folder, under Apache-2.0."""
    write_base(work / "basemodel", licence="apache-2.0")
    return write_finished_run(work, base=str(work / "basemodel"))


@pytest.fixture
def hub_run(work: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A run of one stage on a base of the Hub, whose card and licence are in the cache."""
    root = work / "hub" / "models--owner--base"
    write_base(root / "snapshots" / COMMIT, licence="mit")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(work / "hub"))
    return write_finished_run(
        work, base="owner/base", stages=("sft", "evaluate", "export", "report"), identity=COMMIT
    )


def test_all_formats_of_the_last_model_go_up_with_card_and_papers(run: Path) -> None:
    publication = prepare()
    assert sorted(publication.files) == [
        *("LICENSE", "README.md", "config.json", "demo-f16.gguf", "demo-q8_0.gguf"),
        *("model.safetensors", "tokenizer.json"),
    ]
    assert publication.files["model.safetensors"].read_bytes().startswith(b"model of adapt")
    assert publication.message == "Publish demo by adatta 0.1.0"
    said = "\n".join(publication.lines(is_public=False))
    assert "to rosa/demo, private" in said
    assert "7 files" in said
    assert "add `license:` to the data of the recipe: sft.jsonl, dpo.jsonl, adapt.jsonl" in said


def test_formats_are_chosen_and_those_that_are_not_there_are_named(run: Path) -> None:
    assert sorted(prepare(formats=["gguf-q8_0"]).files) == ["LICENSE", "README.md", "demo-q8_0.gguf"]
    with pytest.raises(
        PublishError, match="has safetensors, gguf-f16, gguf-q8_0 to publish, asked for: gguf-q4"
    ):
        prepare(formats=["gguf-q4"])
    with pytest.raises(
        PublishError, match="asked for: adapter"
    ):  # its base is a merged model on this machine
        prepare(formats=["adapter"])


def test_adapter_of_a_base_on_the_hub_names_it_there(hub_run: Path) -> None:
    publication = prepare(formats=["adapter"])
    assert set(publication.files) >= {"adapter/adapter_model.safetensors", "adapter/adapter_config.json"}
    config = json.loads(publication.files["adapter/adapter_config.json"])
    assert config == {"r": 16, "base_model_name_or_path": "owner/base", "revision": COMMIT}
    told = metadata(publication)
    assert (told["base_model"], told["base_model_relation"]) == ("owner/base", "adapter")
    assert metadata(prepare())["base_model_relation"] == "finetune"


def test_exports_of_an_earlier_model_stay_out(work: Path) -> None:
    write_base(work / "basemodel", licence="mit")
    stages = ("sft", "export", "dpo", "evaluate", "report")
    write_finished_run(work, base=str(work / "basemodel"), stages=stages)
    assert not any(path.endswith(".gguf") for path in prepare().files)


def test_card_parses_and_its_results_come_back_unchanged(run: Path) -> None:
    told = metadata(prepare())
    name, results = model_index_to_eval_results(told["model-index"])
    assert name == "demo"
    assert eval_results_to_model_index(name, results) == told["model-index"]
    assert ModelCard(ModelCard(prepare().card).content).data.to_dict() == told
    figures = {(result.dataset_type, result.metric_type): result for result in results}
    first = figures["adatta-offline-text_it", "bits_per_byte"]
    assert first.metric_value == 1.713
    assert first.metric_name == (
        "Italian text, bits per byte (bits/byte, n = 25, 95% interval [1.66, 1.76]; base 2.18 [2.12, 2.25]; "
        "difference −0.471 [−0.505, −0.437])"
    )
    share = figures["adatta-offline-questions_it", "accuracy"]
    assert share.metric_value == 38.33
    assert "(%, n = 60, 95% interval [26.2, 50.4]" in share.metric_name
    assert len(results) == 7
    assert told["language"] == ["it", "en"]


def test_card_says_what_was_measured_and_what_was_not(run: Path) -> None:
    card = prepare().card.replace("\N{NO-BREAK SPACE}", " ")
    for words in (
        "the adapted model is better than base on",
        "| Italian text, bits per byte, bits/byte · lower is better · n = 25 | base | 2.18 | [2.12, 2.25] |",
        "|  | demo | 1.71 | [1.66, 1.76] | −0.471 | [−0.505, −0.437] | better |",
        "## Safety\n\nNot measured: neither harmful answers",
        "- gguf-f16: not measured",
        "One training run with one seed",
        "`ollama run hf.co/rosa/demo:Q8_0`",
        "`llama-cli -hf rosa/demo:Q8_0`",
        "`vllm serve rosa/demo`",
        "Nobody named the licence of sft.jsonl, dpo.jsonl, adapt.jsonl",
        "against control-1-shot: better",
        "> **In breve.** Questo modello parte da basemodel ed è stato adattato all'italiano con adatta.",
    ):
        assert words in card, words
    assert "name: demo\n" in card.partition("```yaml\n")[2]


def test_card_without_results_has_no_empty_list_of_them(work: Path) -> None:
    write_base(work / "basemodel", licence="mit")
    write_finished_run(work, base=str(work / "basemodel"), stages=("sft", "report"))
    with pytest.raises(GuardError, match="sft, whose model is published, was not measured"):
        prepare()
    shown = prepare(anyway=True)
    assert "sft, whose model is published, was not measured" in shown.card
    assert "## Results\n\nNothing was measured." in shown.card
    assert "model-index" not in metadata(shown)


def test_folders_of_the_machine_stay_at_home(run: Path, work: Path) -> None:
    shown = prepare()
    everything = b"".join(
        file if isinstance(file, bytes) else file.read_bytes() for file in shown.files.values()
    )
    assert str(work) not in shown.card
    assert str(work).encode() not in everything


def test_parity_of_the_export_is_shown_where_it_was_measured(run: Path) -> None:
    (folder,) = run.glob("*-export-*")
    (folder / "parity.json").write_text(json.dumps({"formats": {"gguf-q8_0": {"answers": {"same": 19}}}}))
    card = prepare().card
    assert "- gguf-q8\\_0: answers same 19" in card
    assert "- gguf-f16: not measured" in card


def test_exported_folders_come_before_what_the_last_stage_left(hub_run: Path) -> None:
    (folder,) = hub_run.glob("*-export-*")
    record = json.loads((folder / "record.json").read_text())
    for name in (
        "safetensors/model.safetensors",
        "adapter/adapter_config.json",
        "adapter/adapter_model.safetensors",
    ):
        path = folder / f"demo-{name}"
        path.parent.mkdir(exist_ok=True)
        path.write_text('{"exported": true}')
        record["results"]["exported"][f"demo-{name}"] = 1
    (folder / "Modelfile-q8_0").write_text("FROM ./demo-q8_0.gguf")
    record["results"]["exported"]["Modelfile-q8_0"] = 1
    (folder / "record.json").write_text(json.dumps(record))
    files = prepare(formats=["safetensors", "adapter", "gguf-q8_0"]).files
    assert files["model.safetensors"].parent.name == "demo-safetensors"
    assert files["adapter/adapter_model.safetensors"].parent.name == "demo-adapter"
    assert json.loads(files["adapter/adapter_config.json"])["base_model_name_or_path"] == "owner/base"
    assert {"config.json", "tokenizer.json", "demo-q8_0.gguf", "Modelfile-q8_0"} <= set(files)
    assert not [path for path in files if path.endswith("f16.gguf")]


def test_adapter_that_stands_on_another_run_is_not_offered(hub_run: Path, work: Path) -> None:
    write_finished_run(
        work / "later", base=str(hub_run), stages=("dpo", "evaluate", "report"), identity="7d0c1f39be52"
    )
    with pytest.raises(PublishError, match="has safetensors to publish, asked for: adapter"):
        prepare_publication(str(work / "later/runs/demo"), "rosa/demo", formats=["adapter"], anyway=False)


def test_guard_that_says_no_needs_anyway_and_stands_on_the_card(work: Path) -> None:
    write_base(work / "basemodel", licence="mit")
    write_finished_run(work, base=str(work / "basemodel"), not_held=["English text: 1.01 → 1.04"])
    with pytest.raises(GuardError, match=r"not published without --anyway:\n  English text"):
        prepare()
    assert (
        "**Published although a check says no:**\n\n- English text: 1.01 → 1.04" in prepare(anyway=True).card
    )


def test_llama_3_wants_its_name_words_and_notice(work: Path) -> None:
    write_base(work / "basemodel", licence="llama3")
    write_finished_run(work, base=str(work / "basemodel"))
    with pytest.raises(
        PublishError, match="wants names that begin with 'Llama 3', given: demo; call it Llama-3-demo"
    ):
        prepare()
    shown = prepare("rosa/Llama-3-demo")
    assert "\n**Built with Meta Llama 3**\n" in shown.card
    assert "Meta Llama 3 Community License, Copyright © Meta Platforms" in shown.files["NOTICE"].decode()
    assert shown.files["LICENSE"].read_text() == "The terms.\n"
    assert metadata(shown)["license"] == "llama3"
    (work / "basemodel" / "LICENSE").unlink()
    assert any(
        "add the text of the base's licence" in line
        for line in prepare("rosa/llama3-x").lines(is_public=True)
    )


def test_base_without_a_licence_is_refused_unless_the_recipe_names_it(work: Path) -> None:
    write_base(work / "basemodel")
    run = write_finished_run(work, base=str(work / "basemodel"))
    with pytest.raises(
        PublishError, match="stands neither in its files nor on the Hub; name it in the recipe"
    ):
        prepare()
    shutil.rmtree(run)
    write_finished_run(work, base=str(work / "basemodel"), said="gemma")
    assert metadata(prepare())["license"] == "gemma"
    assert b"Gemma Terms of Use" in prepare().files["NOTICE"]


def test_licence_of_the_base_may_stand_in_the_recipe_of_an_earlier_run(work: Path) -> None:
    write_base(work / "basemodel")
    earlier = write_finished_run(
        work / "earlier", base=str(work / "basemodel"), stages=("sft", "report"), said="mit"
    )
    write_finished_run(work, base=str(earlier))
    assert metadata(prepare())["license"] == "mit"


def test_data_that_forbid_commerce_mark_the_release(work: Path) -> None:
    write_base(work / "basemodel", licence="apache-2.0")
    licences = {"sft": "cc-by-nc-sa-4.0", "dpo": "apache-2.0", "adapt": "cc0-1.0"}
    write_finished_run(work, base=str(work / "basemodel"), licences=licences)
    shown, told = prepare(), metadata(prepare())
    assert (told["license"], told["license_name"]) == ("other", "apache-2.0-with-non-commercial-data")
    assert told["license_link"] == "https://huggingface.co/rosa/demo#licence"
    assert told["tags"] == ["adatta", "non-commercial"]
    assert "**Not for commercial use**: sft.jsonl is under cc-by-nc-sa-4.0." in shown.card
    assert "marked as not for commercial use: sft.jsonl" in "\n".join(shown.lines(is_public=True))
    assert "Nobody named" not in shown.card


def test_licence_that_the_recipe_names_later_counts_without_training_again(run: Path) -> None:
    recipe = run / "recipe.yaml"
    text = recipe.read_text(encoding="utf-8").replace("license: # default", "license: cc-by-nc-4.0", 1)
    recipe.write_text(text, encoding="utf-8")
    assert metadata(prepare())["tags"] == ["adatta", "non-commercial"]


def test_data_of_a_run_that_was_the_base_count_too(work: Path, tmp_path: Path) -> None:
    write_base(work / "basemodel", licence="mit")
    earlier = write_finished_run(
        work / "earlier",
        base=str(work / "basemodel"),
        licences={"sft": "cc-by-nc-4.0"},
        stages=("sft", "report"),
    )
    write_finished_run(work, base=str(earlier))
    shown = prepare()
    assert "**Not for commercial use**: sft.jsonl is under cc-by-nc-4.0." in shown.card
    assert metadata(shown)["license_name"] == "mit-with-non-commercial-data"


def test_a_base_that_was_made_otherwise_since_is_told(work: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_base(work / "basemodel", licence="mit")
    earlier = write_finished_run(work / "earlier", base=str(work / "basemodel"), stages=("sft", "report"))
    current = json.loads((earlier / "current.json").read_text(encoding="utf-8"))
    (earlier / "current.json").write_text(json.dumps(current | {"model": "model"}), encoding="utf-8")
    write_finished_run(work, base=str(earlier), identity="0123456789ab")
    found = SimpleNamespace(fingerprint="0123456789ab")
    monkeypatch.setattr("adatta.model.files.locate", lambda name: found)
    prepare()
    found.fingerprint = "ba9876543210"
    with pytest.raises(PublishError, match=r"runs/demo was changed since; run its recipe as it was then"):
        prepare()


def test_adapter_on_a_dequantised_base_is_not_the_measured_model(hub_run: Path) -> None:
    folder = next(hub_run.glob("*-sft-*"))
    record = json.loads((folder / "record.json").read_text(encoding="utf-8"))
    record["settings"]["merge"]["into"] = "dequantised"
    (folder / "record.json").write_text(json.dumps(record), encoding="utf-8")
    with pytest.raises(PublishError, match="to publish, asked for: adapter"):
        prepare(formats=["adapter"])


def test_base_of_the_hub_is_named_at_its_commit_and_a_lost_folder_is_not_taken_for_one(
    hub_run: Path, work: Path
) -> None:
    told = metadata(prepare())
    assert (told["base_model"], told["license"]) == ("owner/base", "mit")
    shutil.rmtree(hub_run)
    write_finished_run(work, base="owner/base", identity="7d0c1f39be52")
    with pytest.raises(PublishError, match="owner/base was a folder or an adapter"):
        prepare()


@pytest.mark.parametrize(
    ("name", "error", "words"),
    [
        ("nowhere", ModelError, "no such run"),
        ("owner/model", PublishError, "isn't a run"),
        ("basemodel", PublishError, "isn't a run"),
    ],
)
def test_what_is_no_run_is_refused(run: Path, name: str, error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=words):
        prepare_publication(name, "rosa/demo", formats=(), anyway=False)


def test_run_that_did_not_end_or_trained_nothing_is_refused(run: Path) -> None:
    current = json.loads((run / "current.json").read_text())
    for kinds in (("evaluate", "report"), ("sft", "dpo", "adapt")):
        set_current(run, current | {"stages": [one for one in current["stages"] if one["kind"] in kinds]})
        with pytest.raises(PublishError, match="needs a training stage and `report"):
            prepare()
    (run / "current.json").unlink()
    with pytest.raises(ModelError, match="no finished model yet"):
        prepare()


def test_changed_file_is_not_published(run: Path) -> None:
    (model,) = run.glob("*-adapt-*/model/model.safetensors")
    model.write_bytes(b"changed")
    with pytest.raises(DriftError, match=r"model\.safetensors changed"):
        prepare()
