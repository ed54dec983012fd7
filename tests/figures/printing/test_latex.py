"""LaTeX tables: whatever a name holds is printed as it is, and LaTeX reads what is written."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from figures.printing import latex
from figures.printing.latex import LONG, escape_latex, summary_table
from interp_steer.errors import FigureError, RunError
from interp_steer.results.run import Run
from interp_steer.statistics.intervals import wilson
from tests.support.latex import check_grammar, finish_run

SPECIAL = "\\{}$&#^_%~"
NASTY = 'a_b%c&d#e$f{g}h~i^j\\k<l>m|n"o\u201cp\u201dq\u2014r\u2264\u00e9\u00df\u4e2d\u03b1'

pdflatex = shutil.which("pdflatex")


@settings(max_examples=200)
@given(st.text(max_size=30))
def test_any_text_is_escaped(text: str) -> None:
    said = escape_latex(text)
    bare = re.sub(r"\\[a-zA-Z]+\{\}|\\[a-zA-Z]+|\\.", "", said)
    assert not set(SPECIAL) - {"$"} & set(bare.replace("{", "").replace("}", ""))
    assert bare.count("$") % 2 == 0 and bare.count("{") == bare.count("}")
    assert escape_latex(text) == escape_latex(" ".join(text.split()))


def test_letters_are_kept_or_named() -> None:
    assert escape_latex("english_lowercase") == r"english\_lowercase"
    assert escape_latex("50% & more") == r"50\% \& more"
    assert escape_latex("a\\b") == r"a\textbackslash{}b"
    assert escape_latex("été") == "été"
    assert escape_latex("α ≤ 中\x00") == r"$\alpha$ $\le$ U+4E2D"


def test_a_summary_as_a_table(tmp_path: Path) -> None:
    run = finish_run(
        tmp_path,
        {
            f"accuracy.{NASTY}": wilson(3, 4),
            "accuracy.steered": wilson(1, 9),
            "kl": -0.1234,
            "n": 123456,
            "p": 1.2e-9,
        },
    )
    table = summary_table(run)
    assert check_grammar(table) == 7  # the header, five numbers, and a name over two of them
    assert rf"\quad {escape_latex(NASTY)} & 0.750 & {{[0.301, 0.954]}} & 4 \\" in table
    assert r"kl & $-$0.123 &  & \\" in table
    assert r"n & 123\,456 &  & \\" in table
    assert r"p & $1.2\times 10^{-9}$ &  & \\" in table
    head = table[: table.index("\\begin")]
    assert "% data case fit: ab12\n" in head and run.path.name in head and "seed 2" in head
    assert "\\usepackage{booktabs}\n" in head
    only = summary_table(run, "accuracy.s*")
    assert check_grammar(only) == 2 and "accuracy.steered & 0.111" in only
    with pytest.raises(FigureError, match=r"no number called 'x\*'; it has 5"):
        summary_table(run, "x*")


def test_a_long_table_may_break(tmp_path: Path) -> None:
    table = summary_table(finish_run(tmp_path, {f"x{at}": at for at in range(LONG + 1)}))
    assert check_grammar(table) == LONG + 2
    assert "\\begin{longtable}" in table and "\\usepackage{longtable}" in table


def test_the_command_writes_beside_and_elsewhere(tmp_path: Path) -> None:
    root = tmp_path / "results"
    with pytest.raises(RunError, match="no finished results"):
        latex.main(latex.Config(root))
    run = finish_run(root, {"accuracy": wilson(3, 4)})
    assert latex.main(latex.Config(root)) == str(run.path / "print" / "summary.tex")
    out = tmp_path / "paper"
    said = latex.main(latex.Config(root, out=out))
    assert Path(said) == out / run.path.relative_to(root) / "summary.tex"
    assert Run.read(run.path).summary == run.summary  # the folder is still whole
    with pytest.raises(FigureError, match="no number called"):
        latex.main(latex.Config(root, match="nothing"))


@pytest.mark.skipif(pdflatex is None, reason="no pdflatex to compile with")
@pytest.mark.parametrize("many", [1, LONG + 5])
def test_latex_compiles_it(many: int, tmp_path: Path) -> None:
    names = {
        "ascii": "".join(map(chr, range(33, 127))),
        "latin": "".join(map(chr, range(0xA0, 0x180))),
        "greek": "".join(map(chr, range(0x3B1, 0x3CA))),
        "nasty": NASTY,
    }
    run = finish_run(tmp_path, {f"{k}.{v}": wilson(1, 3) for k, v in names.items()}
                   | {f"x.{at}": at / 7 for at in range(many)})  # fmt: skip
    (tmp_path / "table.tex").write_text(summary_table(run), "utf-8")
    (tmp_path / "document.tex").write_text(
        "\\documentclass{article}\\usepackage{booktabs}\\usepackage{longtable}\n"
        "\\begin{document}\\input{table.tex}\\end{document}\n"
    )
    done = subprocess.run(
        [str(pdflatex), "-interaction=nonstopmode", "-halt-on-error", "document.tex"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        errors="replace",
    )
    assert done.returncode == 0, done.stdout[-800:]
    assert "Missing character" not in done.stdout
