"""Before anything runs: from a configuration file to cells, targets and resources. No torch here.

in    a configuration file, the registries        out    cells and their order, for the rules
never reads or writes a result.
"""
