"""Statistics of the measurements: how versions compare, lines over depth.

Import from the modules: a job then depends on (and is re-run by a change to) nothing else here.

samples     numbers that a function is given, checked
paired      one cell, and two versions of it compared block by block
decisions   the words: faster, slower, equivalent, inconclusive; what a machine could have seen
lines       TPOT over depth: slope, intercept, break-even
shift       two studies measured apart: what all cells moved by, and each cell beside the others
stopping    whether a study has measured enough
windows     means of serially dependent deltas (NLL per window)
"""
