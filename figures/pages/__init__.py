"""Write pages that open offline: reports and galleries."""
