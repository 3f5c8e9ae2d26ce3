"""Charts of what is in the rows of a run."""

from __future__ import annotations

from pathlib import Path

import pytest

from rss_agents.live.charts import class_chart, curve_chart, points_of, scales_of, spread_chart
from rss_agents.live.run_reader import RunReader
from watched_runs import train_briefly


@pytest.fixture(scope="module")
def trained(tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("runs") / "inner" / "run"
    train_briefly(out)
    return out


def test_charts_show_what_is_in_the_rows(trained):
    rows = RunReader(trained, "mine").rows
    chart = curve_chart("mIoU", {"a": rows, "b": rows[:2]}, "score_queries", "miou")
    assert [line["name"] for line in chart["series"]] == ["a", "b"]
    assert chart["series"][0]["data"] == [
        [row["score_queries"], row["miou"]] for row in rows if "miou" in row
    ]
    assert scales_of(rows) == [8, 2]
    spread = spread_chart(rows, "update")["series"]
    assert [line.get("name") for line in spread] == ["8x8", None, None, "2x2", None, None]
    drawn = [row for row in rows if row["update"] > 0]  # before, nothing is scored
    assert 0 < len(drawn) == len(spread[4]["data"]) < len(rows)
    for at, row in enumerate(drawn):  # a band is stacked: from its low edge, as high as it is wide
        low, width = spread[4]["data"][at][1], spread[5]["data"][at][1]
        assert low == row["score_scale_2_low"] <= row["score_scale_2"]
        assert low + width == pytest.approx(row["score_scale_2_high"])
    bars = class_chart({"x": 0.25, "absent": None, "y": 0.5})
    assert bars["yAxis"]["data"] == ["y", "x"]
    assert bars["series"][0]["data"] == [0.5, 0.25]


def test_eighteen_runs_have_a_legend_of_one_page():
    rows: list[dict[str, float]] = [{"update": 1, "miou": 0.5}]
    few = curve_chart("mIoU", {f"run-{i}": rows for i in range(3)}, "update", "miou")
    many = curve_chart("mIoU", {f"run-{i}": rows for i in range(18)}, "update", "miou")
    assert few["legend"].get("orient") is None
    legend, high = many["legend"], 18 * 16  # pixels of a chart: h-72
    assert len(legend["data"]) == 18
    assert legend["orient"] == "vertical"
    line = max(legend["textStyle"]["fontSize"] + 3, legend["itemHeight"]) + legend["itemGap"]
    assert 18 * line <= high - legend["top"] - legend["bottom"]
    assert many["grid"]["right"] >= legend["textStyle"]["width"] + legend["itemWidth"]


def test_long_curves_are_thinned_and_keep_their_end():
    rows = [{"update": float(n), "score": n / 1e4} for n in range(1, 10001)]
    points = points_of(rows, "update", "score")
    assert 250 < len(points) <= 500
    assert points[-1] == [10000.0, 1.0]
    assert points_of([], "update", "score") == []
