"""Benchmarks. Each module measures one cell: `run(cell, weights) -> record`."""
