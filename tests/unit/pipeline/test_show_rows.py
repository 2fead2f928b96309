"""Rows as they are shown: the right ones, with mask, place and forest; nothing in them is markup."""

from __future__ import annotations

import io
import json
import re
from html.parser import HTMLParser
from pathlib import Path

import pytest
from rich.console import Console

from adatta.core.errors import RecipeError
from adatta.core.recipe import dump_recipe
from adatta.pipeline import show
from adatta.pipeline.context import Context, open_context
from adatta.pipeline.rows_page import print_rows, write_rows
from adatta.pipeline.rows_view import RowView, view_rows
from tests.toys.command import call
from tests.toys.recipes import write_toy_recipe

pytestmark = pytest.mark.torch

HOSTILE = "Cos'è <script>alert(1)</script>, [red]rosso[/red], :smile: o &lt;b&gt;?  Due\u00a0\x1b[31mspazi"
LONG = " ".join(f"Frase numero {number}, perché no." for number in range(60))


@pytest.fixture(scope="module")
def recipe(toy_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The toy recipe with a row of markup and a text of several windows."""
    path = write_toy_recipe(tmp_path_factory.mktemp("show"), toy_folder, num_rows=24, steps=6)
    add(path.parent / "sft.jsonl", {"messages": [said("user", HOSTILE), said("assistant", HOSTILE)]})
    add(path.parent / "text.jsonl", {"text": LONG})
    return path


@pytest.fixture(scope="module")
def context(recipe: Path) -> Context:
    """The checked recipe."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ADATTA_HOME", str(recipe.parent))
        overrides = [
            "on_overlong=split",
            "stages.adapt.budget={epochs: 1}",
            "stages.dpo.batch.forest_tokens=460",
        ]
        return open_context(recipe, overrides)


def said(role: str, content: str) -> dict[str, str]:
    return {"role": role, "content": content}


def add(path: Path, row: dict[str, object]) -> None:
    with path.open("a", encoding="utf-8") as file:
        file.write(json.dumps(row, ensure_ascii=False) + "\n")


def printed(stages: dict[str, list[RowView]], *, folds: bool = False, color: bool = False) -> str:
    file = io.StringIO()
    console = Console(file=file, force_terminal=color, color_system="truecolor" if color else None, width=80)
    print_rows(stages, console, choice="", folds=folds)
    return file.getvalue()


def test_first_rows_are_those_that_the_first_steps_see(context: Context) -> None:
    views = view_rows(context, num=4)
    assert list(views) == ["sft", "dpo", "adapt"]
    for name in ("sft", "dpo"):
        assert len(views[name]) == 4
        assert all(branch.forest.startswith("step 1,") for row in views[name] for branch in row.branches)
    assert view_rows(context, num=4) == views


def test_place_is_the_line_that_holds_the_row(context: Context) -> None:
    for rows in view_rows(context, num=3).values():
        for row in rows:
            path, _, line = row.place.rpartition(":")
            fields = json.loads(Path(path).read_text(encoding="utf-8").splitlines()[int(line) - 1])
            last = fields.get("text") or fields.get("chosen") or fields["messages"][-1]
            text = last if isinstance(last, str) else last["content"]
            assert text[:100] in "".join(piece.text for _, piece in row.branches[0].parts)


def test_forest_has_the_tokens_that_training_computes(context: Context) -> None:
    from adatta.train.stage import plan_order

    stage = next(stage for stage in context.recipe.stages if stage.kind == "dpo")
    order = plan_order(stage.training, context.rows["dpo"].train, kind="dpo", seed=context.recipe.seed)
    batches = list(order.packing.batches([order.rows[index] for index in order.steps[0]]))
    told = {}
    for row in view_rows(context, num=4)["dpo"]:
        place, total, tokens, rows = map(int, re.findall(r"\d+", row.branches[0].forest)[1:5])
        told[place] = (total, tokens, rows)
    want = {
        number: (len(batches), batch.forest.num_tokens, len(batch.places))
        for number, batch in enumerate(batches, start=1)
    }
    assert told == want
    assert len(want) > 1


def test_answers_of_a_preference_share_their_prompt(context: Context) -> None:
    row = view_rows(context, num=1)["dpo"][0]
    assert [branch.name for branch in row.branches] == ["chosen", "rejected"]
    ids = [[number for _, piece in branch.parts for number in piece.ids] for branch in row.branches]
    pairs = list(zip(*ids, strict=False))
    common = next(place for place, (left, right) in enumerate(pairs) if left != right)
    assert common > 10
    for branch in row.branches:
        shared = int(re.search(r"its first (\d+) tokens", branch.forest)[1])
        assert shared >= common


def test_windows_of_a_document_are_numbered(context: Context) -> None:
    (row,) = view_rows(context, num=1, name=f"{context.path.parent / 'text.jsonl'}:25")["adapt"]
    names = [branch.name for branch in row.branches]
    assert names == [f"window {number} of {len(names)}" for number in range(1, len(names) + 1)]
    assert len(names) > 1
    assert sum(branch.num_scored for branch in row.branches) == sum(
        branch.num_tokens - 1 for branch in row.branches
    )


def test_rows_held_out_say_so(context: Context) -> None:
    held = context.rows["sft"].holdout[0][0].row_id
    (row,) = view_rows(context, num=1, name=held)["sft"]
    assert row.use == "held out, never trained"
    assert [branch.forest for branch in row.branches] == [""]


def test_without_colors_the_scored_text_is_marked(context: Context) -> None:
    text = printed(view_rows(context, num=1, name=f"{context.path.parent / 'sft.jsonl'}:1"))
    scored = re.findall(r"⟦(.*?)⟧", text, re.DOTALL)
    assert scored[0] == "Volentieri: il pane numero 0 è importante.<|im_end|>"
    assert scored[1].split()[-1] == "2"  # the id of <|im_end|>
    assert "<|im_start|>assistant↵" in text


def test_colors_say_what_is_scored(context: Context) -> None:
    text = printed(view_rows(context, num=1, name=f"{context.path.parent / 'sft.jsonl'}:1"), color=True)
    scored = "".join(re.findall(r"\x1b\[32m([^\x1b]*)", text))
    assert scored.startswith("scoredVolentieri: il pane numero 0 è importante.")  # after the legend's
    assert "Parlami" not in scored
    assert text.count("\x1b[1;7;32m<|im_end|>") == 1
    assert text.count("\x1b[36m<|im_end|>") == 2  # of system prompt and user


@pytest.mark.parametrize("color", [False, True])
def test_markup_of_rows_is_shown_as_it_is_on_the_terminal(context: Context, color: bool) -> None:
    text = printed(view_rows(context, num=1, name=f"{context.path.parent / 'sft.jsonl'}:25"), color=color)
    plain = re.sub(r"\x1b\[[\d;]*m", "", text)
    visible = HOSTILE.replace("?  Due\u00a0\x1b", "?␣␣Due⟨U+00A0⟩⟨U+001B⟩")
    assert plain.count(visible) == 2
    assert "\x1b[31m" not in text


class _Page(HTMLParser):
    """Collects the text and the tags of a page."""

    def __init__(self) -> None:
        super().__init__()
        self.said: list[str] = []
        self.tags: set[str] = set()

    def handle_starttag(self, tag: str, attrs: object) -> None:
        self.tags.add(tag)

    def handle_data(self, data: str) -> None:
        self.said.append(data)


def test_page_escapes_rows_and_needs_nothing_else(context: Context, tmp_path: Path) -> None:
    stages = view_rows(context, num=1, name=f"{context.path.parent / 'sft.jsonl'}:25")
    write_rows(stages, tmp_path / "rows.html", title="<i>toy", choice="<b>")
    text = (tmp_path / "rows.html").read_text(encoding="utf-8")
    page = _Page()
    page.feed(text)
    assert not page.tags & {"script", "red", "i", "link", "img", "iframe"}
    assert "".join(page.said).count(HOSTILE.replace("?  Due\u00a0\x1b", "?␣␣Due⟨U+00A0⟩⟨U+001B⟩")) == 2
    assert not re.search(r"https?:|url\(|@import|src=|href=", text)


def test_long_rows_fold_unless_asked_for(context: Context, tmp_path: Path) -> None:
    stages = view_rows(context, num=1, name=f"{context.path.parent / 'text.jsonl'}:25")
    whole, folded = printed(stages), printed(stages, folds=True)
    left_out = [int(number) for number in re.findall(r"\[\.\.\. (\d+) more \.\.\.\]", folded)]
    longest = max(len(branch.parts) for branch in stages["adapt"][0].branches)
    assert max(left_out) == longest - 320
    assert "Frase numero 20, perché" in whole
    assert "Frase numero 20, perché" not in folded
    write_rows(stages, tmp_path / "rows.html", title="toy", choice="")
    assert f"<summary>{longest - 320} more tokens</summary>" in (tmp_path / "rows.html").read_text("utf-8")


def test_row_of_a_run_is_found_by_its_id_from_anywhere(
    context: Context, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "recipe.yaml").write_text(dump_recipe(context.recipe, {}), encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("ADATTA_HOME", str(tmp_path))
    row_id = context.rows["dpo"].train[0][0].row_id
    assert call("show", str(tmp_path), "--row", row_id) == 0
    said = capsys.readouterr().out
    assert re.search(rf"dpo: \S+dpo\.jsonl:\d+  {row_id}  for training", said)
    assert call("show", str(tmp_path), "--row", "dpo.jsonl:9999") == 2
    assert "no training stage reads this row" in capsys.readouterr().err


def test_unknown_row_is_a_mistake(context: Context) -> None:
    with pytest.raises(RecipeError, match="0000000000000000: no training stage"):
        view_rows(context, num=1, name="0" * 16)


@pytest.mark.parametrize(("name", "what"), [("", "a folder, not a file"), ("no/rows.html", "no such folder")])
def test_page_that_cannot_be_written_is_refused_before_rows_are_read(
    name: str, what: str, recipe: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(show, "open_context", lambda *_: pytest.fail("rows were read"))
    with pytest.raises(RecipeError, match=what):
        show.show_rows(recipe, num=1, row=None, html=tmp_path / name)
