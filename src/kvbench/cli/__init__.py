"""Command-line programs.

in    arguments        out    one line of JSON, or one line that says what is wrong
"""
