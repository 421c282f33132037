"""Drawings as PDF, by svglib and reportlab: the one module that knows them (the extra "pdf")."""

import io
from importlib.util import find_spec
from pathlib import Path

_NOT_IN_FONT = str.maketrans({"−": "–", "…": "...", "\N{NARROW NO-BREAK SPACE}": " "})
"""PDF's own Helvetica has no minus sign; a dash of its width stands for it."""


def can_write_pdf() -> bool:
    """Tell whether the libraries are installed."""
    return find_spec("svglib") is not None


def write_pdf(svg: str, path: Path) -> None:
    """Write a drawing of ours, as `standalone` gives it, as a PDF of one page of its size."""
    from reportlab.graphics import renderPDF
    from svglib.svglib import svg2rlg

    drawing = svg2rlg(io.BytesIO(svg.translate(_NOT_IN_FONT).encode()))
    assert drawing is not None, "we wrote the SVG ourselves"
    content = renderPDF.drawToString(drawing)
    path.write_bytes(content)
