"""Stamp a printed figure: record in the file's own metadata where its numbers are from."""

from __future__ import annotations

import io
import json
import struct
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any
from xml.etree import ElementTree
from xml.sax.saxutils import escape

from interp_steer.errors import FigureError, RunError
from interp_steer.results import AGAIN, checksum, document_hash, read_json

KEY = "interp_steer"
"""Name of the stamp in every kind of file."""

PNG = b"\x89PNG\r\n\x1a\n"
INCH = 0.0254
"""Length of an inch in metres."""


@dataclass(frozen=True)
class Stamp:
    """Origin of a figure. A field that is unknown is None, or empty."""

    figure: str
    """Name of the figure in the results folder."""
    drawing: str
    """SHA-256 of the plotly JSON of the figure."""
    caption: str = ""
    analysis: str | None = None
    model: str | None = None
    fingerprint: str | None = None
    """Fingerprint of the model's weights."""
    config: str | None = None
    """Hash of the config, which is the name of the results folder."""
    seed: int | None = None
    data: Mapping[str, str] = field(default_factory=dict)
    """Hash of each contrast set or other data, by name."""
    commit: str | None = None
    """Commit of the source that ran."""
    dirty: bool | None = None
    """Whether files differed from the commit."""
    version: str | None = None
    """Version of interp_steer."""

    @property
    def title(self) -> str:
        """Return the analysis and the figure, for viewers that show a title."""
        return f"{self.analysis}: {self.figure}" if self.analysis else self.figure

    def text(self) -> str:
        """Return the stamp as one line of JSON, in ASCII."""
        return json.dumps(asdict(self), sort_keys=True)


def stamp_of(figure: Path) -> Stamp:
    """Return the stamp of a figure, from the results folder that holds the figure.

    Args:
        figure: the plotly JSON, ``<results folder>/figures/<name>.json``. Outside of a results
            folder the stamp has only the name, the hash and the caption of the figure.

    Raises:
        RunError: when the folder's config or provenance cannot be read.
    """
    folder = figure.parent.parent
    captions = figure.parent / "captions.json"
    stamp = Stamp(
        figure.stem,
        checksum(figure),
        caption=_document(captions).get(figure.stem, "") if captions.is_file() else "",
    )
    if not (folder / "config.json").is_file():
        return stamp
    document = _document(folder / "config.json")
    stamp = replace(
        stamp,
        analysis=document.get("analysis"),
        config=document_hash(document),
        seed=document.get("seed"),
    )
    if not (folder / "provenance.json").is_file():
        return stamp
    path = folder / "provenance.json"
    origin = _document(path)
    model, data, source, versions = (
        _fields(origin.get(name) or {}, path) for name in ("model", "data", "source", "versions")
    )
    return replace(
        stamp,
        model=model.get("name"),
        fingerprint=model.get("fingerprint"),
        data=data,
        commit=source.get("commit"),
        dirty=source.get("dirty"),
        version=versions.get("interp-steer"),
    )


def _document(path: Path) -> Mapping[str, Any]:
    """Read a document of a results folder."""
    return _fields(read_json(path), path)


def _fields(document: Any, path: Path) -> Mapping[str, Any]:
    if not isinstance(document, dict):
        raise RunError(f"{path} does not have the form that a run writes; {AGAIN}.")
    return document


def add_stamp(file: bytes, kind: str, stamp: Stamp, scale: int = 1) -> bytes:
    """Return a printed figure with its stamp.

    Args:
        file: the printed figure.
        kind: ``pdf``, ``svg`` or ``png``.
        stamp: written into the metadata: the document information and XMP of a PDF, the title,
            desc and metadata of an SVG, the text chunks of a PNG.
        scale: pixels of a PNG per 1/96 inch, so that the PNG has the size of the figure.

    Raises:
        FigureError: for a PDF when pypdf is not installed.
    """
    return {"pdf": _pdf, "svg": _svg, "png": _png}[kind](file, stamp, scale)


def read_stamp(path: str | Path) -> Stamp:
    """Read the stamp of a printed figure.

    Raises:
        FigureError: when the file is missing, is not a PDF, SVG or PNG, is damaged, or has no
            stamp.
    """
    path = Path(path)
    read = {".pdf": _read_pdf, ".svg": _read_svg, ".png": _read_png}.get(path.suffix.lower())
    if read is None:
        raise FigureError(f"{path} is not a PDF, SVG or PNG; give a printed figure.")
    try:
        text = read(path.read_bytes())
        return Stamp(**json.loads(text)) if text else _refuse_unstamped(path)
    except FigureError:
        raise
    except Exception as error:  # each kind of file has other errors
        raise FigureError(
            f"{path} cannot be read as a figure ({type(error).__name__}: {error}); print it again."
        ) from None


def _refuse_unstamped(path: Path) -> Stamp:
    raise FigureError(
        f"{path} has no stamp of {KEY}: another program made it, or saved it again; print it with "
        "python -m figures.printing.export."
    )


def need_pypdf() -> Any:
    """Import the library that reads and writes PDFs.

    Raises:
        FigureError: when pypdf is not installed.
    """
    try:
        import pypdf
    except ImportError:
        raise FigureError(
            "PDFs need pypdf, which is not installed; pip install 'interp_steer[export]'"
        ) from None
    return pypdf


def _pdf(file: bytes, stamp: Stamp, scale: int) -> bytes:
    pypdf = need_pypdf()
    reader = pypdf.PdfReader(io.BytesIO(file))
    writer = pypdf.PdfWriter(clone_from=reader)
    writer.pdf_header = reader.pdf_header
    creator = f"{KEY} {stamp.version or ''}".strip()
    writer.add_metadata(
        {
            "/Title": stamp.title,
            "/Subject": stamp.caption,
            "/Creator": creator,
            "/Keywords": stamp.text(),
        }
    )
    xmp = pypdf.xmp.XmpInformation.create()
    xmp.dc_title = {"x-default": stamp.title}
    xmp.dc_description = {"x-default": stamp.caption}
    xmp.xmp_creator_tool = creator
    xmp.pdf_keywords = stamp.text()
    writer.xmp_metadata = xmp
    name = pypdf.generic.NameObject
    writer.root_object["/Metadata"].get_object().update(
        {name("/Type"): name("/Metadata"), name("/Subtype"): name("/XML")}
    )
    stamped = io.BytesIO()
    writer.write(stamped)
    return stamped.getvalue()


def _read_pdf(file: bytes) -> str:
    reader = need_pypdf().PdfReader(io.BytesIO(file))
    information, xmp = reader.metadata or {}, reader.xmp_metadata
    candidates = (information.get("/Keywords"), xmp.pdf_keywords if xmp else None)
    return next((str(text) for text in candidates if text and str(text).startswith("{")), "")


def _svg(file: bytes, stamp: Stamp, scale: int) -> bytes:
    text = file.decode("utf-8")
    start = text.index("<svg")
    inside = text.index(">", start) + 1
    elements = (
        f"<title>{escape(stamp.title)}</title><desc>{escape(stamp.caption)}</desc>"
        f'<metadata id="{KEY}">{escape(stamp.text())}</metadata>'
    )
    return (text[:inside] + elements + text[inside:]).encode("utf-8")


def _read_svg(file: bytes) -> str:
    for element in ElementTree.fromstring(file).iter():
        if element.tag.endswith("metadata") and element.get("id") == KEY:
            return element.text or ""
    return ""


def _png(file: bytes, stamp: Stamp, scale: int) -> bytes:
    pixels = round(96 * scale / INCH)
    own_chunks = [
        (b"pHYs", struct.pack(">IIB", pixels, pixels, 1)),
        (b"iTXt", _international("Title", stamp.title)),
        (b"iTXt", _international("Description", stamp.caption)),
        (b"tEXt", b"Software\0" + f"{KEY} {stamp.version or ''}".strip().encode("latin-1")),
        (b"tEXt", KEY.encode() + b"\0" + stamp.text().encode("ascii")),
    ]
    chunks = list(_chunks(file))
    header, rest = chunks[0], [chunk for chunk in chunks[1:] if chunk[0] != b"pHYs"]
    return PNG + b"".join(_chunk(*one) for one in (header, *own_chunks, *rest))


def _read_png(file: bytes) -> str:
    for kind, data in _chunks(file):
        keyword, _, text = data.partition(b"\0")
        if kind == b"tEXt" and keyword == KEY.encode():
            return text.decode("ascii")
    return ""


def _international(keyword: str, text: str) -> bytes:
    """Encode a text of any script, uncompressed and without a language (PNG specification,
    iTXt)."""
    return keyword.encode("latin-1") + b"\0\0\0\0\0" + text.encode("utf-8")


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def _chunks(file: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Yield kind and data of each chunk, after a check of its checksum.

    Raises:
        ValueError: for a file that is not a PNG, or is truncated or changed.
    """
    if not file.startswith(PNG):
        raise ValueError("no PNG signature")
    at = len(PNG)
    while at < len(file):
        length, kind = struct.unpack(">I4s", file[at : at + 8])
        data, crc = file[at + 8 : at + 8 + length], file[at + 8 + length : at + 12 + length]
        if struct.unpack(">I", crc)[0] != zlib.crc32(kind + data):
            raise ValueError(f"chunk {kind.decode('latin-1')} is damaged")
        yield kind, data
        at += 12 + length
