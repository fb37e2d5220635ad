"""A version made to run: generation, static steps, and the choice of kernels.

in    a model and its cache        out    tokens
never times itself.
"""
