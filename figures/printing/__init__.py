"""Print figures for a paper: widths of columns, LaTeX tables, stamps and checks.

Imports from the packages that draw, and from `figures.style`.
"""
