"""Around one job of the workflow: its log, its device, the environment it may use. No torch here.

in    what a rule hands to a script        out    a log, a lock, one line where it fails
never knows what is measured.
"""
