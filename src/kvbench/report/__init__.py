"""From statements to pages: figures and tables.

in    records and rows        out    SVG, PNG, Markdown, CSV
never judges.
"""
