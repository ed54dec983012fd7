"""Print figures for a paper: columns, LaTeX, stamps and checks."""
