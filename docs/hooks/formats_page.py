"""The table of formats, from the registry."""

from __future__ import annotations

from interp_steer.interchange import table as rows

HEADS = {
    "layers": "layers",
    "acts": "the tool",
    "kept": "kept",
    "lost": "lost",
    "refused": "refused",
}


def table() -> str:
    """Every format as a section with its facts, after a short table of all."""
    short = ["| `format=` | tool | file |", "|---|---|---|"]
    parts = []
    for row in rows():
        anchor = row["name"].replace("_", "-")
        short.append(f"| [`{row['name']}`](#{anchor}) | {row['tool']} | {row['file']} |")
        facts = [f"- **{head}**: {row[key]}" for key, head in HEADS.items()]
        parts.append("\n".join([f"### {row['name']} {{ #{anchor} }}", "", *facts]))
    return "\n".join(short) + "\n\n" + "\n\n".join(parts)
