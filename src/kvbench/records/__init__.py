"""Records on disk: whole or not at all, of one schema, with their provenance. No torch here.

in    what a job measured        out    JSON files, and the same read back
never works a number out.
"""
