"""The command line, a file a subcommand: each thin over the workflow and the package.

in    arguments        out    what was asked for, or one line on stderr that says what is wrong
Nothing is measured or judged here.
"""
