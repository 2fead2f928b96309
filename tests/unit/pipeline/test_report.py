"""The report: what each reader finds, in order; texts escaped; nothing fetched; missing figures loud."""

from __future__ import annotations

import json
import re
from html.parser import HTMLParser
from xml.etree import ElementTree

import pytest

from adatta.core.errors import ArtefactError
from adatta.core.recipe import Recipe
from adatta.pipeline.plan import list_evaluated
from adatta.pipeline.report import escape_markdown, not_held, write_report
from tests.unit.pipeline.made_up_run import (
    LONG_TEXT,
    entry,
    figure,
    make_inputs,
    make_metrics,
    make_record,
    make_training_record,
)

VOID = {"meta", "br", "hr", "img", "link", "input"}


class Page(HTMLParser):
    """Collects elements, visible text and whether every element is closed."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.attributes, self.open, self.pieces, self.faults = [], [], [], [], []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += [(tag, name, value or "") for name, value in attrs]
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append(tag)

    def handle_endtag(self, tag):
        if not self.open or self.open.pop() != tag:
            self.faults.append(tag)

    def handle_data(self, data):
        if "style" not in self.open:
            self.pieces.append(data)

    @property
    def text(self):
        return " ".join(" ".join(self.pieces).split())


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    folder = tmp_path_factory.mktemp("report")
    report = write_report(make_inputs(), folder)
    return folder, report, Page((folder / "report.html").read_text(encoding="utf-8"))


NOTHING = {"controls": {}, "clean": [], "regressions": [], "answers": [], "forgetting": [], "calibration": []}


def write_page(folder, **changes):
    report = write_report(make_inputs(**changes), folder)
    return report, Page((folder / "report.html").read_text(encoding="utf-8"))


def test_page_has_every_section_in_order(made):
    _, _, page = made
    sections = [value for tag, name, value in page.attributes if tag == "section" and name == "id"]
    assert sections == [
        "verdict",
        "changes",
        "comparison",
        "clean",
        "forgetting",
        "measures",
        "regressions",
        "plot",
        "losses",
        "stages",
        "data",
        "answers",
        "cost",
        "use",
        "provenance",
        "merging",
        "reading",
        "limits",
    ]
    assert page.faults == []
    assert page.open == []


def test_page_fetches_nothing_and_runs_nothing(made):
    folder, _, page = made
    text = (folder / "report.html").read_text(encoding="utf-8")
    assert not {"script", "link", "img", "iframe", "object"} & set(page.tags)
    assert not [
        value for _, name, value in page.attributes if name in {"src", "href"} or name.startswith("on")
    ]
    assert not re.search(r"url\(|@import", text)
    assert set(re.findall(r"https?://[^\s\"<]+", text)) == {"http://www.w3.org/2000/svg"}
    assert "prefers-color-scheme: dark" in text
    assert "@media print" in text


def test_page_says_what_a_reader_asks(made):
    _, report, page = made
    for words in (
        report["verdict"]["headline"],
        "Italian text, bits per byte",
        "2.18 → 1.71 bits/byte (−21.6%)",
        "one training run, one seed",
        "adapt against control-1-shot: better",
        "Italian pairs, accuracy was worse than base after sft",
        "1 unscored: output is code only",
        "17 min 31 s",
        "271 MB",
        "adatta chat runs/demo",
        "adatta run recipes/demo.yaml",
        "7d0c1f39be52a418",
        "3.1e−7",
        "8-bit weights answer a little differently",
        "rows (messages); keys that nothing reads: score (7)",
        "Preferences in data/dpo.jsonl: 40 pairs: chosen longer in 38 [24, 55]%",
        "By kind of item (2), with 95% intervals kind n base sft adapt verb agreement 20 55.0 [35.0, 75.0]",
        "difference to base 95% interval, paired, unadjusted",
        "the primary figures of a language (Italian 4, English 1)",
        "1. questions_it accuracy 1 → 0 asked Quale mare bagna Bari? options l'Adriatico il Tirreno lo Ionio "
        "right l'Adriatico base l'Adriatico adapted il Tirreno",
        "2. pairs_it verb agreement accuracy 1 → 0.5 options",
        "weak, 9 words of offline/text_it 1f in data/sft.jsonl:7: il faro è una torre",
    ):
        assert words in page.text.replace("\N{NO-BREAK SPACE}", " ")


def test_long_text_of_a_regression_is_cut_and_stands_whole_behind_it(made):
    folder, report, page = made
    assert "with a lamp. A … Less A lighthouse" in page.text
    assert page.text.count("The last sentence ends here.") == 1
    markdown = (folder / "report.md").read_text(encoding="utf-8")
    assert "with a lamp. A …\n" in markdown
    assert "The last sentence ends here." not in markdown
    assert report["regressions"][2]["question"] == LONG_TEXT


def test_markdown_shows_regressions_and_kinds_of_items(made):
    text = (made[0] / "report.md").read_text(encoding="utf-8").replace("\N{NO-BREAK SPACE}", " ")
    assert (
        "**2. pairs\\_it**, verb agreement: accuracy 1 → 0.5\n\n- options:\n    - Le barche tornano" in text
    )
    assert "- right: l'Adriatico\n- base: l'Adriatico\n- adapted: il Tirreno\n" in text
    assert "| verb agreement | 20 | 55.0 [35.0, 75.0] |" in text


def test_model_without_template_is_told_as_not_run_and_makes_no_problem(tmp_path):
    metrics = make_metrics()
    missed = {"value": None, "ci95": None, "not_run": "no chat template"}
    (prompts,) = (entry for entry in metrics if entry["metric"] == "language_fidelity")
    prompts["stages"]["adapt"] = missed | {"difference": None}
    prompts |= {"adapted": missed, "difference": None, "unscored": {"no chat template": 40}}
    report, page = write_page(tmp_path, metrics=metrics)
    assert report["problems"] == []
    assert "adapt not run: no chat template" in page.text
    assert "Not run: prompts_it of adapt: no chat template." in page.text
    assert "not run: no chat template, so nothing is claimed" in page.text
    markdown = (tmp_path / "report.md").read_text(encoding="utf-8")
    assert "| adapt | not run: no chat template |" in markdown
    prompts["adapted"] = prompts["stages"]["adapt"] = {"value": None, "ci95": None}
    report, _ = write_page(tmp_path, metrics=metrics)
    assert "prompts_it language_fidelity: adapted: no value" in report["problems"]


def test_nothing_is_said_of_differences_to_a_base_that_was_not_run(tmp_path):
    (prompts,) = (entry for entry in make_metrics() if entry["metric"] == "language_fidelity")
    for stage in prompts["stages"].values():
        stage["difference"] = None
    missed = {"value": None, "ci95": None, "not_run": "no chat template"}
    prompts |= {"base": missed, "difference": None, "primary": False, "unscored": {"no chat template": 40}}
    report, page = write_page(tmp_path, metrics=[make_metrics()[0], prompts], **NOTHING)
    assert report["problems"] == []
    assert "base not run: no chat template sft 87.5 [77.5, 97.5] dpo" in page.text.replace(
        "\N{NO-BREAK SPACE}", " "
    )
    assert "Italian prompts, language fidelity – → 92.5%" in page.text


def test_protocol_stands_beside_each_figure(tmp_path):
    metrics = [entry | {"protocol": "plain text, 5-shot"} for entry in make_metrics()]
    _, page = write_page(tmp_path, metrics=metrics)
    assert page.text.count("plain text, 5-shot · ") == len(metrics)
    assert "plain text, 5-shot" in (tmp_path / "report.md").read_text(encoding="utf-8")


def test_figures_outside_a_family_are_called_unadjusted(tmp_path):
    metrics = make_metrics()
    secondary = next(entry for entry in metrics if entry["metric"] == "stop_share")
    for stage in secondary["stages"].values():
        stage["difference"]["p_holm"] = None
    _, page = write_page(tmp_path, metrics=metrics)
    assert "better, unadjusted" in page.text


def test_answers_show_ten_and_fold_the_rest(made):
    _, _, page = made
    assert page.tags.count("article") == 5 + 40 + 3  # stages, prompts, regressions
    assert "The first 10 prompts" in page.text
    assert "The other 30 prompts" in page.text


def test_figures_are_files_with_their_own_style(made):
    folder, _, _ = made
    names = sorted(path.name for path in (folder / "figures").iterdir())
    assert "forest-text-it-bits-per-byte.svg" in names
    assert {"loss-sft.svg", "loss-dpo.svg", "loss-adapt.svg"} <= set(names)
    for name in names:
        root = ElementTree.parse(folder / "figures" / name).getroot()
        assert root[0].tag.endswith("style")


def test_markdown_links_its_figures_and_tables_have_equal_columns(made):
    folder, _, _ = made
    text = (folder / "report.md").read_text(encoding="utf-8")
    links = re.findall(r"!\[[^\]]*\]\((figures/[^)]+)\)", text)
    assert len(links) == 10
    assert all((folder / link).is_file() for link in links)
    for block in re.findall(r"(?:^\|.*\n)+", text, flags=re.MULTILINE):
        assert len({len(re.findall(r"(?<!\\)\|", line)) for line in block.splitlines()}) == 1


def test_json_is_what_is_returned(made):
    folder, report, _ = made
    assert json.loads((folder / "report.json").read_text(encoding="utf-8")) == report
    assert report["cost"]["time_s"] == pytest.approx(251 + 282 + 313 + 141 + 64.2)
    assert report["cost"]["peak_memory_bytes"] == 2_440_000_000
    assert report["problems"] == []


def test_same_inputs_give_same_files(made, tmp_path):
    folder, _, _ = made
    write_report(make_inputs(), tmp_path)
    for path in folder.rglob("*.*"):
        assert path.read_bytes() == (tmp_path / path.relative_to(folder)).read_bytes()


HOSTILE = '<script>alert("x")</script>'
RIGHT_TO_LEFT = "مرحبا بالعالم"
LONG = "a" * 3000


def test_texts_are_escaped_everywhere(tmp_path):
    answers = [
        {
            "prompt": HOSTILE + LONG,
            "topic": HOSTILE,
            "answers": {"base": RIGHT_TO_LEFT, HOSTILE: HOSTILE, "adapt": ""},
        }
    ]
    metrics = make_metrics()
    metrics[0] |= {"task": HOSTILE, "unscored": {HOSTILE: 1}}
    metrics[0]["stages"][HOSTILE] = metrics[0]["stages"]["sft"]
    found = {"rows": 1, "shapes": {HOSTILE: 1}, "ignored": {HOSTILE: 1}}
    source = {"path": HOSTILE, "sha256": HOSTILE, **found}
    records = [
        make_record("sft", 1, name=HOSTILE, warnings=[HOSTILE], settings={"method": HOSTILE, "x": HOSTILE}),
        make_record("evaluate", 2, inputs={"data": [source]}),
    ]
    _, page = write_page(
        tmp_path,
        metrics=metrics,
        answers=answers,
        records=records,
        curves={HOSTILE: [{"step": 1, "loss": 1.0}]},
        exported={HOSTILE: 1},
        versions={HOSTILE: HOSTILE},
        command=HOSTILE,
        created=HOSTILE,
        overlap={
            "counts": [make_inputs().overlap["counts"][0] | {"source": HOSTILE, "suite": HOSTILE}],
            "dirty": [],
            "longest": [
                make_inputs().overlap["longest"][0] | {"item": HOSTILE, "rows": [HOSTILE], "text": HOSTILE}
            ],
        },
        recipe=make_inputs().recipe | {"model": {"name": HOSTILE}},
    )
    assert "script" not in page.tags
    assert page.faults == []
    assert page.text.count(HOSTILE) > 10
    assert RIGHT_TO_LEFT in page.text
    assert LONG in page.text
    assert "(empty answer)" in page.text
    assert ("p", "dir", "auto") in page.attributes
    markdown = (tmp_path / "report.md").read_text(encoding="utf-8")
    assert "<script" not in markdown
    for figure_path in (tmp_path / "figures").iterdir():
        assert not [node for node in ElementTree.parse(figure_path).iter() if node.tag.endswith("script")]


def test_markdown_escape_leaves_no_markup():
    assert escape_markdown("a | [b](c)\n<i>*d* `e`") == r"a \| \[b\](c) &lt;i&gt;\*d\* \`e\`"


def test_plain_model_report_has_no_adapted_column(tmp_path):
    metrics = [
        entry("text_it", "bits_per_byte", base=figure(2.184, 0.061), stages={}, n=25),
        entry("questions_it", "accuracy", base=figure(0.3, 0.1), stages={}, n=60),
    ]
    recipe = make_inputs().recipe | {"stages": [{"evaluate": {"suites": ["offline"]}}, {"report": {}}]}
    report, page = write_page(
        tmp_path,
        recipe=recipe,
        stages=["evaluate"],
        evaluated=["base"],
        metrics=metrics,
        controls={},
        clean=[],
        regressions=[],
        forgetting=[],
        calibration=[],
        records=[make_record("evaluate", 1)],
        curves={},
        exported={},
    )
    assert report["problems"] == []
    assert report["expected"] == {"stages": ["evaluate"], "evaluated": ["base"]}
    assert "nothing to compare" in page.text
    assert "difference to base" not in page.text
    assert "This recipe exports no file" in page.text


def test_chain_without_evaluation_still_reports(tmp_path):
    records = [record for record in make_inputs().records if record["kind"] != "evaluate"]
    report, page = write_page(
        tmp_path, stages=["sft", "dpo"], evaluated=[], records=records, metrics=[], **NOTHING
    )
    assert report["problems"] == []
    assert "What was done" in page.text
    assert "Nothing was measured" in page.text


def test_missing_figures_are_loud_on_the_page(tmp_path):
    metrics = make_metrics()
    metrics[0] |= {"adapted": None, "difference": None}
    metrics[1]["base"] = {"value": 1.0, "ci95": None}
    report, page = write_page(tmp_path, metrics=metrics)
    assert "text_it bits_per_byte: adapted: missing" in report["problems"]
    assert "This report is incomplete" in page.text
    assert "text_en bits_per_byte: base: no 95% interval" in page.text
    assert "no interval" in page.text
    assert "This report is incomplete" in (tmp_path / "report.md").read_text(encoding="utf-8")


def test_value_that_is_not_a_number_is_refused(tmp_path):
    metrics = make_metrics()
    metrics[0]["base"]["value"] = float("nan")
    with pytest.raises(ArtefactError, match=r"report\.json"):
        write_report(make_inputs(metrics=metrics), tmp_path)


@pytest.mark.parametrize(
    ("stages", "evaluated"),
    [
        (["sft", "evaluate", "dpo", "report"], ["base", "sft"]),
        (["sft", "evaluate", "dpo", "evaluate", "report"], ["base", "sft", "dpo"]),
        (["evaluate", "report"], ["base"]),
        (["sft", "report"], []),
    ],
)
def test_models_are_expected_where_an_evaluation_measures_them(stages, evaluated):
    entries = [
        {kind: {"data": [{"path": "rows.jsonl"}]} if kind in ("sft", "dpo") else {}} for kind in stages
    ]
    recipe = Recipe.model_validate({"name": "demo", "model": {"name": "base"}, "stages": entries})
    assert list_evaluated(recipe) == evaluated


def test_models_of_one_evaluation_and_others_are_expected():
    evaluation = {"evaluate": {"models": ["sft"], "others": {"rival": "owner/rival"}}}
    entries = [
        {"sft": {"data": [{"path": "rows.jsonl"}]}},
        {"sft": {"data": [{"path": "rows.jsonl"}]}},
        evaluation,
    ]
    recipe = Recipe.model_validate({"name": "demo", "model": {"name": "base"}, "stages": entries})
    assert list_evaluated(recipe) == ["base", "rival", "sft"]


def test_rows_that_were_split_are_counted(tmp_path):
    record = make_training_record("adapt", 1, rows=60, steps=28)
    record["counts"]["split"] = 4321
    _, page = write_page(tmp_path, records=[record, *make_inputs().records[1:]])
    assert re.search(r"split, as longer than the context\W+4,321", page.text)
    header, _, row = (
        [cell.strip() for cell in line.split("|")]
        for line in (tmp_path / "report.md")
        .read_text(encoding="utf-8")
        .split("## What was done")[1]
        .split("\n")[2:5]
    )
    assert row[header.index("split")] == "4,321"
    assert row[header.index("quarantined")] == "0"


def test_quarantined_rows_stand_there_with_reasons_and_target_tokens_lost(tmp_path):
    aside = {"quarantined": 3, "quarantined_by_reason": {"empty": 2, "mojibake": 1}}
    record = make_training_record("sft", 1, rows=60, steps=28)
    record["counts"] |= aside | {"lost_scored_tokens": 1234, "lost_bytes": 56}
    _, page = write_page(tmp_path, records=[record, *make_inputs().records[1:]])
    lost = "1,234 scored tokens lost, and 56 bytes of rows that can't be turned into tokens"
    told = f"3 (empty 2, mojibake 1; {lost})"
    assert told in page.text
    assert told in (tmp_path / "report.md").read_text(encoding="utf-8")


def test_a_guard_counts_what_was_to_be_measured_and_has_no_figure():
    (english,) = (entry for entry in make_metrics() if entry["task"] == "text_en")
    better = {**english, "difference": english["difference"] | {"ci95": [-0.2, -0.1]}}
    lost = {**english, "adapted": None, "difference": None}
    assert not_held({"language": "it", "metrics": [better]}) == []
    assert len(not_held({"language": "it", "metrics": [better, lost]})) == 1
    assert not_held({"language": "it", "metrics": []}) == ["nothing was measured in another language"]
