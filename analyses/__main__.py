"""List the analyses, or run one: ``python -m analyses``."""

import sys

from analyses.kit.cli import command_line

if __name__ == "__main__":
    sys.exit(command_line(sys.argv[1:]))
