"""What mkdocs calls: pages made from the code, pictures, and a check that nothing is fetched."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import analyses_pages
import formats_page
import nouns
from mkdocs.exceptions import PluginError
from mkdocs.structure.files import File, Files
from notebooks import as_page

_PICTURE = re.compile(r"^!\[(?P<said>[^\]]*)\]\((?P<path>(?:\.\./)?pictures/[\w-]+\.svg)\)$", re.M)
_STYLE = re.compile(r"<style>.*?</style>", re.S)
_FETCHED = re.compile(r"<(?:script|link|img|iframe|source)\b[^>]*?(?:src|href)=[\"'](https?:)?//")


def on_config(config: Any) -> Any:
    """Put the pages that are made into the menu."""
    made = {
        "Analyses": ["analyses/index.md", *analyses_pages.navigation()],
        "API": ["api/index.md", *({group: nouns.path(group)} for group in nouns.GROUPS)],
    }
    for entry in config.nav:
        (name,) = entry
        entry[name] = made.get(name, entry[name])
    return config


def on_files(files: Files, config: Any) -> Files:
    """Add the pages that are made from the code; the notebook becomes a page."""
    pages = analyses_pages.pages() | nouns.pages()
    made: dict[str, str | bytes] = {**pages}
    for notebook in [file for file in files if file.src_uri.endswith(".ipynb")]:
        files.remove(notebook)
        assert notebook.abs_src_path is not None
        text, pictures = as_page(Path(notebook.abs_src_path))
        made |= {notebook.src_uri.replace(".ipynb", ".md"): text, **pictures}
    for path, content in made.items():
        files.append(File.generated(config, path, content=content))
    return files


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """Put generated tables and pictures where a page asks for them."""
    if page.file.src_uri == "interchange.md":
        markdown = markdown.replace("<!-- formats -->", formats_page.table())
    return _PICTURE.sub(lambda found: _inlined(found, page.file.abs_src_path), markdown)


def on_post_build(config: Any) -> None:
    """Nothing on any page may be fetched from elsewhere.

    Raises:
        PluginError: naming what would be.
    """
    for path in sorted(Path(config.site_dir).rglob("*.html")):
        for found in _FETCHED.finditer(path.read_text("utf-8")):
            raise PluginError(f"{path} would fetch {found[0]!r}...; the site must stand alone")


def _inlined(found: re.Match[str], page: str) -> str:
    """A picture as part of the page, so that it takes the page's colours."""
    drawing = (Path(page).parent / found["path"]).read_text("utf-8")
    drawing = _STYLE.sub("", drawing)  # its colours when it stands alone
    drawing = re.sub(r"\s*\n\s*", " ", drawing.strip())
    return f'<figure class="picture">{drawing}<figcaption>{found["said"]}</figcaption></figure>'
