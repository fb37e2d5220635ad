"""Where the damage of a cache arises: by depth, by layer, and in what the probes still find."""

from __future__ import annotations

from typing import Any

from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from kvbench.analysis import findings
from kvbench.records.names import names_of
from kvbench.records.record import Record, measured
from kvbench.report.figures import scales, style
from kvbench.report.footer import footer


def draw(records: list[Record]) -> Figure:
    """KL over depth in the window, attention error over layers, accuracy of the probes."""
    named = style.labels(records)
    whole = sorted(measured(records), key=lambda record: list(named).index(record["version"]))
    question = f"Where does each cache harm {records[0]['pretrained']}?"
    if len(whole) < 2:
        return style.explained(question, f"{len(whole)} of {len(records)} cells measured", records)
    figure, (depth, layer, probe) = plt.subplots(1, 3, figsize=(11.0, style.tall(len(named), 3.2)))
    equal = [named[r["version"]] for r in whole if not r["paired"]["kl"]["mean"] > 0]
    for axes, title, label in (
        (depth, "divergence by depth", "KL from v1, nats a token"),
        (layer, "error of attention outputs by layer", "|cached - v1| / |v1|"),
    ):
        axes.set_title(title)
        drawn = [_curve(record, axes is layer) for record in whole]
        points = [_line(axes, record, *xy) for record, xy in zip(whole, drawn, strict=True)]
        scales.fit(axes, "y", [y for values in points for y in values], label)
        if not axes.lines:
            axes.text(0.5, 0.5, "no cache differs", ha="center", transform=axes.transAxes)
    first = whole[0]
    scales.lengths(depth, first["by_depth"]["depth"], "tokens before it in the window")
    layer.set_xlabel("layer")
    layer.xaxis.set_major_locator(scales.linear(integer=True))
    _probes(probe, whole)
    style.legend(probe, {record["version"]: named[record["version"]] for record in whole})
    foot = [f"means over {first['n_windows']} windows of {first['context']} tokens of"]
    foot = [f"{foot[0]} {first['text']}: the table has the intervals of the whole"]
    foot += [f"no difference at all, so no line: {', '.join(equal)}"] if equal else []
    tokens = [f"{n} {p['scored_tokens']}" for n, p in first["probes"].items()]
    foot += [f"probes, each one sample of so many tokens: {', '.join(tokens)}"]
    answer = findings.damage(whole, names_of(records))
    style.frame(figure, question, answer, [*foot, footer(whole)])
    return figure


def _curve(record: Record, by_layer: bool) -> tuple[Any, Any]:
    if by_layer:
        error = record["by_layer"]["attention_error"]
        return range(len(error)), error
    return record["by_depth"]["depth"], record["by_depth"]["kl"]


def _line(axes: Axes, record: Record, x: Any, y: Any) -> list[float]:
    """One version's line; zeros have no place on a log axis and are left out."""
    points = [(a, b) for a, b in zip(x, y, strict=True) if b > 0]
    if points:
        colour, marker = style.look(record["version"])
        dashes = (0, (4, 3)) if record["kv_cache_quant"] else "-"  # lines that coincide both show
        x, y = zip(*points, strict=True)
        axes.plot(x, y, marker=marker, color=colour, markersize=3.5, lw=1.4, ls=dashes)
    return [b for _, b in points]


def _probes(axes: Axes, whole: list[Record]) -> None:
    """Accuracy of each probe, a marker per version side by side; the line is v1's own."""
    names = list(whole[0]["probes"])
    for at, name in enumerate(names):
        plain = whole[0]["probes"][name]["accuracy_plain"]
        axes.plot([at - 0.4, at + 0.4], [100 * plain] * 2, color="#444444", linewidth=1)
        for place, record in enumerate(whole):
            colour, marker = style.look(record["version"])
            x = at + 0.7 * ((place + 0.5) / len(whole) - 0.5)
            share = 100 * record["probes"][name]["accuracy_cached"]
            axes.plot(x, share, marker, color=colour, markerfacecolor="white", markersize=6)
    axes.set_xticks(range(len(names)), names)
    axes.set_ylim(-5, 105)
    axes.set_title("probes (line: v1's plain forward)")
    axes.set_ylabel("right tokens, %")
