"""Hold what all figures share: the theme, panels, interval dots, tables and text of tokens.

Imports from `interp_steer` and plotly, and from no other package of `figures`.
"""
