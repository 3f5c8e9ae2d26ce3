"""The charts of the page, as options of Apache ECharts: data in, plain mappings out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

# Of Okabe and Ito ("Color Universal Design", 2008): told apart with any common colour vision.
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9")
_SYMBOLS = ("circle", "rect", "triangle", "diamond", "pin", "arrow")
_DASHES = ("solid", "dashed", "dotted")
_GREY = "#888888"  # reads on light and on dark
_MOST_POINTS = 500  # of a line
_MOST_ABOVE = 4  # names above a chart; more stand in a column beside it
_SCALE = "score_scale_"

Row = Mapping[str, float]


def _thinned(points: list[list[float]]) -> list[list[float]]:
    """Every so many points, the last one among them."""
    step = -(-len(points) // _MOST_POINTS)
    return points[(len(points) - 1) % step :: step] if points else points


def points_of(rows: Sequence[Row], x: str, y: str) -> list[list[float]]:
    """Points [x, y] of the rows that have both."""
    return _thinned([[row[x], row[y]] for row in rows if x in row and y in row])


def _chart(title: str, x: str, y: str, series: list[dict[str, Any]], **options: Any) -> dict:
    named = [line["name"] for line in series if "name" in line]
    text = {"color": _GREY}
    axis = {"nameTextStyle": text, "axisLabel": text, "nameLocation": "middle"}
    return {
        "animation": False,
        "title": {"text": title, "textStyle": {"fontSize": 14, **text}},
        **_legend(named),
        "tooltip": {"trigger": "axis", "confine": True},
        "xAxis": {"type": "value", "name": x, "nameGap": 26, **axis},
        "yAxis": {"type": "value", "name": y, "nameGap": 38, "min": 0, **axis},
        "series": series,
        **options,
    }


def _legend(names: Sequence[str]) -> dict[str, Any]:
    """The legend, and the place it leaves for the chart: above it, or a column of many names."""
    legend: dict[str, Any] = {"data": names, "type": "scroll", "textStyle": {"color": _GREY}}
    if len(names) <= _MOST_ABOVE:
        grid = {"left": 56, "right": 16, "top": 62, "bottom": 44}
        return {"legend": {**legend, "top": 30}, "grid": grid}
    of_names = {"color": _GREY, "fontSize": 10, "width": 110, "overflow": "truncate"}
    column = {"orient": "vertical", "right": 0, "top": 24, "bottom": 8, "itemGap": 1}
    size = {"itemWidth": 18, "itemHeight": 8, "padding": 2}
    legend |= {**column, **size, "textStyle": of_names, "tooltip": {"show": True}}
    return {"legend": legend, "grid": {"left": 56, "right": 160, "top": 36, "bottom": 44}}


def curve_chart(title: str, runs: Mapping[str, Sequence[Row]], x: str, y: str) -> dict[str, Any]:
    """One line a run.

    Args:
        title: Of the chart.
        runs: Rows of metrics by name.
        x: `update` or `score_queries`.
        y: Name of the metric.
    """
    series = []
    for number, (name, rows) in enumerate(runs.items()):
        points = points_of(rows, x, y)
        series.append(
            {
                "name": name,
                "type": "line",
                "data": points,
                "symbol": _SYMBOLS[number % len(_SYMBOLS)],
                "symbolSize": 7,
                "showSymbol": len(points) < 40,
                "itemStyle": {"color": COLOURS[number % len(COLOURS)]},
                "lineStyle": {"type": _DASHES[number // len(COLOURS) % len(_DASHES)]},
            }
        )
    return _chart(title, x.replace("_", " "), "", series)


def scales_of(rows: Sequence[Row]) -> list[int]:
    """The scales whose scores the rows tell, coarse to fine."""
    ends = [name.removeprefix(_SCALE) for name in (rows[-1] if rows else ()) if _SCALE in name]
    return sorted((int(end) for end in ends if end.isdecimal()), reverse=True)


def spread_chart(rows: Sequence[Row], x: str) -> dict[str, Any]:
    """Means of the scores at each scale, and bands from their 10th to their 90th percentile."""
    series: list[dict[str, Any]] = []
    for number, scale in enumerate(scales_of(rows)):
        metric, colour = f"{_SCALE}{scale}", COLOURS[number % len(COLOURS)]
        known = [row for row in rows if f"{metric}_low" in row]
        bands = [{"x": row[x], "y": row[f"{metric}_high"] - row[f"{metric}_low"]} for row in known]
        shared = {"type": "line", "symbol": "none", "itemStyle": {"color": colour}}
        edge = {**shared, "stack": metric, "lineStyle": {"opacity": 0}, "silent": True}
        series += [
            {
                **shared,
                "name": f"{scale}x{scale}",
                "data": points_of(rows, x, metric),
                "lineStyle": {"type": _DASHES[number % len(_DASHES)]},
            },
            {**edge, "data": points_of(known, x, f"{metric}_low")},
            {**edge, "data": points_of(bands, "x", "y"), "areaStyle": {"opacity": 0.15}},
        ]
    return _chart("scores of the maps, by cell size", x.replace("_", " "), "", series)


def class_chart(class_iou: Mapping[str, float | None]) -> dict[str, Any]:
    """A bar a class; none for classes that do not occur."""
    names = [name for name, value in class_iou.items() if value is not None][::-1]
    values = [round(value, 3) for name in names if (value := class_iou[name]) is not None]
    bars = {
        "type": "bar",
        "data": values,
        "itemStyle": {"color": COLOURS[0]},
        "label": {"show": True, "position": "right", "color": _GREY},
    }
    text = {"axisLabel": {"color": _GREY}}
    return _chart(
        "IoU of each class, last validation",
        "",
        "",
        [bars],
        legend={"show": False},
        grid={"left": 8, "right": 48, "top": 32, "bottom": 24, "containLabel": True},
        xAxis={"type": "value", "min": 0, "max": 1, **text},
        yAxis={"type": "category", "data": names, **text},
    )
