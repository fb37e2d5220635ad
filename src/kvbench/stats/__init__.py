"""Statistics of the measurements: what one process saw, how versions compare, lines over depth.

Import from the modules: a measuring job that needs `samples` then depends on (and is re-run by a
change to) nothing else here.

samples     one process: summary numbers of its raw samples
paired      one cell, and two versions of it compared block by block
decisions   the words: faster, slower, equivalent, inconclusive; what a machine could have seen
lines       TPOT over depth: slope, intercept, break-even
shift       two studies measured apart: what all cells moved by, and each cell beside the others
stopping    whether a study has measured enough
windows     means of serially dependent deltas (NLL per window)
"""
