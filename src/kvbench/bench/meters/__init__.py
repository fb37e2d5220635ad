"""Instruments: clocks, memory peaks, bandwidths, facts of the machine.

in    a device        out    numbers
never knows which version is measured.
"""
