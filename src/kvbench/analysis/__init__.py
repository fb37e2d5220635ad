"""From records to statements: pooled times, verdicts, fits. Neither torch nor matplotlib here.

in    records        out    rows and notes
never measures and never draws.
"""
