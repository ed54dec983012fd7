"""Check the grammar of LaTeX tables, and finish a run to write tables of."""

from __future__ import annotations

import re
from pathlib import Path

from interp_steer.results.finished import Results
from interp_steer.results.run import Run, open_run


def finish_run(root: Path, summary: dict[str, object]) -> Results:
    with open_run("layer_sweep", {"model": "burattino-instruct"}, root=root, seed=2) as run:
        run._provenance["data"]["case\nfit"] = "ab12"
        run.leave(summary=summary)
    return Run.read(run.path)


def check_grammar(table: str) -> int:
    """Check braces, cells and escapes of a table, and return its number of rows."""
    comments = [line for line in table.splitlines() if line.startswith("%")]
    lines = [line for line in table.splitlines() if not line.startswith("%")]
    assert comments and all("\n" not in line for line in comments)
    opening, closing = lines[0], lines[-1]
    found = re.fullmatch(r"\\begin\{(tabular|longtable)\}\{@\{\}([lr]+)@\{\}\}", opening)
    assert found and closing == rf"\end{{{found[1]}}}"
    rules = {"\\toprule", "\\midrule", "\\bottomrule", "\\endhead", "\\addlinespace"}
    body = [line.strip() for line in lines[1:-1] if line.strip() not in rules]
    for line in body:
        assert line.endswith("\\\\")
        inside = line[:-2]
        bare = re.sub(r"\\[a-zA-Z]+|\\.", "", inside)  # commands, and what is escaped
        assert bare.count("{") == bare.count("}")
        assert not re.search(r"[#%~]", bare)
        assert bare.count("$") % 2 == 0
        outside = re.sub(r"\$[^$]*\$", "", bare)
        assert "_" not in outside and "^" not in outside
        if "multicolumn" not in line:
            assert outside.count("&") == len(found[2]) - 1
        assert all(letter.isprintable() for letter in line)
    return len(body)
