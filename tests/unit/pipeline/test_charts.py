"""The plots: well-formed SVG, marks where the numbers say, held-out points beside the curve."""

from __future__ import annotations

from xml.etree import ElementTree

import pytest

from adatta.pipeline.charts import LEFT, MAX_POINTS, RIGHT, Whisker, draw_forest, draw_losses, nice_ticks

SVG = "{http://www.w3.org/2000/svg}"


def read(svg):
    return ElementTree.fromstring(svg)


def marks(root):
    return [float(mark.get("cx")) for mark in root.iter(f"{SVG}circle") if "mark" in mark.get("class", "")]


def test_forest_places_values_in_proportion():
    rows = [
        Whisker(label="base", value=1.0, interval=(0.5, 1.5), shape="base"),
        Whisker(label="sft", value=2.0, interval=(1.5, 2.5), shape="stage", tone="better", word="better"),
        Whisker(label="dpo", value=4.0, interval=(3.5, 4.5), shape="stage"),
    ]
    base, sft, dpo = marks(read(draw_forest(rows, title="t", unit="bits/byte")))
    assert LEFT < base < sft < dpo < RIGHT
    assert dpo - sft == pytest.approx(2 * (sft - base), abs=0.2)


def test_forest_whisker_ends_at_the_interval():
    rows = [Whisker(label="a", value=0.5, interval=(0.25, 0.75), shape="stage", tone="worse")]
    root = read(draw_forest(rows, title="t", unit="share"))
    (x,) = marks(root)
    ends = sorted(
        float(line.get(side))
        for line in root.iter(f"{SVG}line")
        if "whisker" in line.get("class") and line.get("x1") != line.get("x2")
        for side in ("x1", "x2")
    )
    assert x - ends[0] == pytest.approx(ends[1] - x, abs=0.2)
    assert LEFT <= ends[0] < x < ends[1] <= RIGHT


def test_forest_escapes_labels_and_draws_without_intervals():
    rows = [Whisker(label="<b>&", value=0.0, interval=None, shape="control")]
    root = read(draw_forest(rows, title='"><script>', unit="share"))
    assert "<b>&" in [text.text for text in root.iter(f"{SVG}text")]
    assert not list(root.iter(f"{SVG}script"))


def test_losses_are_drawn_with_held_out_points():
    lines = [{"step": step, "loss": 3.0 - step / 10} for step in range(1, 11)]
    lines += [{"step": 5, "holdout_loss": 2.7}, {"step": 10, "holdout_loss": 2.2}]
    root = read(draw_losses(lines, title="sft", unit="nats per token"))
    curve = next(iter(root.iter(f"{SVG}polyline"))).get("points").split()
    assert len(curve) == 10
    heights = [float(point.split(",")[1]) for point in curve]
    assert heights == sorted(heights)  # the loss falls, so the line goes down the page
    hints = [title.text for title in root.iter(f"{SVG}title")]
    assert hints == ["held-out loss 2.70 at step 5", "held-out loss 2.20 at step 10"]
    assert "loss, nats per token" in [text.text for text in root.iter(f"{SVG}text")]


def test_long_curve_is_thinned_to_group_means():
    lines = [{"step": step, "loss": float(step % 2)} for step in range(1, 4 * MAX_POINTS + 1)]
    root = read(draw_losses(lines, title="t", unit="u"))
    points = next(iter(root.iter(f"{SVG}polyline"))).get("points").split()
    assert len(points) == MAX_POINTS
    assert len({point.split(",")[1] for point in points}) == 1


@pytest.mark.parametrize("lines", [[], [{"step": 1, "loss": float("nan")}], [{"step": 1}]])
def test_no_losses_no_plot(lines):
    assert draw_losses(lines, title="t", unit="u") == ""


def test_one_step_is_drawn():
    assert read(draw_losses([{"step": 1, "loss": 0.6931}], title="t", unit="u")) is not None


@pytest.mark.parametrize(
    ("low", "high"), [(0.0, 1.0), (1.62, 2.25), (-3.0, 7.0), (0.0, 100.0), (1e-5, 3e-5), (0.0, 28.0)]
)
def test_ticks_are_round_and_inside(low, high):
    ticks = nice_ticks(low, high)
    assert 2 <= len(ticks) <= 8
    assert all(low - 1e-12 <= tick <= high + 1e-12 for tick in ticks)
    step = ticks[1] - ticks[0]
    assert all(abs(tick / step - round(tick / step)) < 1e-6 for tick in ticks)
