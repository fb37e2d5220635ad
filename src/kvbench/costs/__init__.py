"""Bytes and FLOP of a forward from a model's shape alone. Standard library only.

in    a shape, a layer map, a cache's layout        out    lower bounds of traffic and work
never measures.
"""
