"""Write pages that open without a network: reports and galleries.

May import from every other package of `figures`.
"""
