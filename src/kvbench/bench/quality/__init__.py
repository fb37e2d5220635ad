"""Quality: how well a version still predicts text.

in    a model, tokens        out    losses, divergences, retrieval scores
never times anything.
"""
