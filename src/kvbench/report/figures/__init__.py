"""Figures: one module per family, each `draw(records) -> Figure`; the look is in `style`."""
