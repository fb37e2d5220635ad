"""Plots of why a step takes its time: parts of the model, floors of the machine, the roofline."""

from __future__ import annotations

import altair as alt

from kvbench.analysis import attribution
from kvbench.analysis.findings import roof_share
from kvbench.analysis.roofline import point
from kvbench.analysis.verdict_notes import at
from kvbench.records.record import Record, Row, apart, measured
from kvbench.report.page.plots.spec import (
    HEIGHT,
    Plot,
    about,
    chart_of,
    log,
    looks,
    most_rows,
    of_batch,
    sized,
    stacked,
)
from kvbench.report.page.study import Study, place_of, ran
from kvbench.stats.digits import short

MOST = 4000  # points of one plot
PHASES = ("attention", "mlp", "head", "embedding", "other")
PARTS = {
    "bandwidth_ms": "moving bytes",
    "compute_ms": "arithmetic beyond it",
    "dispatch_ms": "launching",
    "rest_ms": "unexplained",
}


def phases(study: Study) -> Plot:
    """Where the time of one generation goes, by part of the model."""
    title = "Time by part of the model"
    cells = measured(study.of("phase"))
    if not cells:
        return Plot("phases", title, "Not measured: the study's benchmarks do not name phase.")
    values: list[Row] = []
    for place in {place.series: place for place in study.places}.values():
        for cell in of_batch(cells, place.preset, place.batch):
            values += _phases(study, cell, place.series)
    if not values:
        return Plot("phases", title, "No model was both timed and instrumented.")
    chart = stacked(values, PHASES, "ms", "ms per generation")
    chart = chart.transform_filter("datum.series === series")
    caption = (
        "One generation, instrumented: read the shares of one cache, not the difference of two. A "
        "batch that was not instrumented shows the largest that was."
    )
    return Plot("phases", title, caption, sized(study, chart, rows=most_rows(values, "series")))


def _phases(study: Study, cell: Record, series: str) -> list[Row]:
    """The parts of one cell's generation, as the places of a series show them."""
    whole = cell["time_phase_ms"]["total"]
    return [
        about(study, cell["version"], None)
        | {
            "series": series,
            "row": study.names[cell["version"]],
            "ms": ms,
            "part": phase,
            "value": f"{phase}: {short(ms)} ms, {100 * ms / whole:.0f} %",
            "interval": f"instrumented run {short(cell['instrumented_ratio'])} × the plain",
            "n": f"{len(cell['runs'])} runs, {at(cell)}",
            "ran": ran(cell),
        }
        for phase in PHASES
        for ms in [cell["time_phase_ms"].get(phase, 0.0)]
    ]


def attributed(study: Study) -> Plot:
    """What bytes, arithmetic and launches take of a step, and what none of them explains."""
    title = "Why a step takes its time"
    others, dispatch = apart(study.of("decode", "dispatch"), "dispatch")
    if not others or not dispatch or study.roofs is None:
        why = "Needs benchmarks decode and dispatch, as in config/depth_batch.yaml."
        return Plot("attribution", title, why)
    values: list[Row] = []
    for cell in (c for c in measured(others) if place_of(c) in study.places):
        empty = [d for d in dispatch if d["pretrained"] == cell["pretrained"]]
        for row in attribution.rows([cell], empty, study.roofs):
            for key, part in PARTS.items():
                if row[key] is None:
                    continue
                values.append(
                    about(study, cell["version"], place_of(cell))
                    | {
                        "row": study.names[cell["version"]],
                        "ms": max(0.0, row[key]),
                        "part": part,
                        "value": f"{part}: {short(row[key])} ms",
                        "interval": f"of {short(row['tpot_ms'])} ms per token",
                        "n": f"{cell['replicates']} processes",
                        "ran": ran(cell),
                    }
                )
    if not values:
        return Plot("attribution", title, "No decode step was measured whole.")
    chart = stacked(values, tuple(PARTS.values()), "ms", "ms per token")
    chart = chart.transform_filter("datum.place === place")
    caption = (
        f"Floors at this machine's own rates ({short(study.roofs['read_gb_s'])} GB/s, "
        f"{short(study.roofs['gemm_gflop_s'])} GFLOP/s), launches measured on a tiny model. What "
        "remains is what a better kernel could win."
    )
    return Plot("attribution", title, caption, sized(study, chart, rows=most_rows(values)))


def roofline(study: Study) -> Plot:
    """Rate against arithmetic intensity, under the roofs that this machine showed."""
    title = "Roofline"
    cells, roofs = measured(study.of("roofline")), study.roofs
    if not cells or roofs is None:
        return Plot("roofline", title, "Not measured: the study's benchmarks do not name roofline.")
    values: list[Row] = []
    for cell in cells[:MOST]:
        at = point(cell, roofs)
        several = cell.get("replicates", 1)
        timed = f"{several} processes" if several > 1 else "one process or profile"
        values.append(
            about(study, cell["version"], None)
            | {
                "preset": cell["pretrained"],
                "intensity": at.intensity,
                "rate": at.gflop_s,
                "phase": cell["phase"],
                "value": f"{cell['phase']}: {short(at.gflop_s)} GFLOP/s, {short(at.gb_s)} GB/s",
                "interval": f"{roof_share(cell, roofs)} of the roof above it, held by {at.bound}",
                "n": f"batch {cell['batch_size']}, P {cell['P']}, bytes {at.bytes_is}, {timed}",
                "ran": ran(cell),
            }
        )
    top, slope = roofs["gemm_gflop_s"], roofs["read_gb_s"]
    least = min(value["intensity"] for value in values) / 3
    most = max(*(value["intensity"] for value in values), top / slope) * 3
    roof = [{"x": x, "y": min(top, slope * x)} for x in (least, top / slope, most)]
    x = alt.X("intensity:Q", scale=log(nice=False), title="FLOP per byte")
    y = alt.Y("rate:Q", scale=log(), title="GFLOP/s")
    shape = alt.Shape(
        "phase:N",
        scale=alt.Scale(domain=["prefill", "decode"], range=["square", "circle"]),
        legend=alt.Legend(orient="bottom-right", title=None),
    )
    line = alt.Chart(alt.Data(values=roof)).mark_line(color="var(--ink)", strokeWidth=1.5)
    layers = [
        line.encode(
            x=alt.X("x:Q", scale=log(nice=False), title="FLOP per byte"),
            y=alt.Y("y:Q", scale=log(), title="GFLOP/s"),
        ),
        chart_of(values)
        .transform_filter("datum.preset === split(series, '|')[0]")
        .mark_point(filled=True, size=90)
        .encode(x=x, y=y, shape=shape, **looks(study, values)),
    ]
    caption = (
        f"Roofs measured here: {short(slope)} GB/s by {roofs.get('read_by', 'a read')}, "
        f"{short(top)} GFLOP/s by {roofs.get('gemm_by', 'a product')}. On the slope memory holds a "
        "step, on the flat arithmetic does."
    )
    return Plot("roofline", title, caption, sized(study, alt.layer(*layers), height=HEIGHT))
