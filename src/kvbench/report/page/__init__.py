"""The pages: one HTML file a study, with its answers, a table of its caches, and linked plots.

in    cells, verdicts, roofs        out    report.html, self-contained
asks nothing of the network, and judges nothing: its sentences are those of `analysis.answers`.
`compared.compare` writes the page of two studies.

Plots are Altair specifications, drawn in the browser by the Vega that vl-convert brings along: one
grammar for all of them, with shared selections, tooltips and SVG that prints.
"""
