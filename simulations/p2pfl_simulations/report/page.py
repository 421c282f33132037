"""The page around the charts: HTML with everything in it, no script and no network."""

from base64 import b64encode
from collections.abc import Iterable, Sequence
from html import escape
from importlib import resources

from p2pfl_simulations.report.drawing import Drawing
from p2pfl_simulations.report.standalone import chart_style


def page(page_title: str, *sections: str) -> str:
    """Write a whole document; its style sheet is inside."""
    style = chart_style() + (resources.files("p2pfl_simulations.report") / "style.css").read_text(
        encoding="utf-8"
    )
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{escape(page_title)}</title>\n<style>\n{style}</style>\n</head>\n<body>\n<main>\n"
        + "\n".join(part for part in sections if part)
        + "\n</main>\n</body>\n</html>\n"
    )


def section(heading: str, lead: str, *content: str) -> str:
    """Write a section with its heading and what to look for; nothing where it has no content."""
    body = "".join(content)
    if not body:
        return ""
    return f"<section>\n<h2>{escape(heading)}</h2>\n{_lead(lead)}{body}\n</section>"


def figure(heading: str, lead: str, drawing: Drawing) -> str:
    """Write a chart with its heading, to stand beside another; nothing where it is empty."""
    if not drawing:
        return ""
    return f"<div>\n<h3>{escape(heading)}</h3>\n{_lead(lead)}{box(drawing)}\n</div>"


def box(drawing: Drawing) -> str:
    """Show a chart, which scrolls on a narrow screen, and let it be saved."""
    if not drawing:
        return ""
    return (
        f'<div class="figure-box">{drawing.picture}</div>\n<p class="save">save as '
        f"{_file(drawing.name, 'svg', 'image/svg+xml', drawing.svg())}"
        f" {_file(drawing.name, 'csv', 'text/csv', drawing.csv())}</p>\n"
    )


def _file(name: str, ending: str, kind: str, content: str) -> str:
    """Link to a file whose content is in the link: the page needs nothing else."""
    inside = b64encode(content.encode()).decode()
    return (
        f'<a download="{escape(name)}.{ending}" href="data:{kind};charset=utf-8;base64,{inside}">'
        f"{ending.upper()}</a>"
    )


def pair(*figures: str) -> str:
    """Put figures side by side, those that there are."""
    shown = [part for part in figures if part]
    return f'<section class="pair">\n{"".join(shown)}\n</section>' if shown else ""


def tiles(entries: Iterable[tuple[str, str, str]]) -> str:
    """Write figures large: (what it is, the figure, a note)."""
    written = "".join(
        f'<div class="tile"><dt>{escape(name)}</dt><dd>{escape(value)}</dd>'
        f'<dd class="note">{escape(note) or "&nbsp;"}</dd></div>\n'
        for name, value, note in entries
    )
    return f'<dl class="tiles">\n{written}</dl>'


def table(header: Sequence[str], rows: Iterable[Sequence[str]], *, figures_from: int = 1) -> str:
    """Write a table; cells are HTML already, and those from `figures_from` on align right."""

    def cell(tag: str, index: int, content: str) -> str:
        return f"<{tag}{' class=figure' if index >= figures_from else ''}>{content}</{tag}>"

    head = "".join(cell("th", index, escape(name)) for index, name in enumerate(header))
    body = "".join(
        f"<tr>{''.join(cell('td', index, content) for index, content in enumerate(row))}</tr>\n"
        for row in rows
    )
    return (
        f'<div class="scroll"><table>\n<thead><tr>{head}</tr></thead>\n'
        f"<tbody>\n{body}</tbody></table></div>"
    )


def key_values(rows: Iterable[tuple[str, str]]) -> str:
    """Write keys with their values as a table."""
    body = "".join(
        f'<tr><td class="key">{escape(key)}</td><td class="wrap">{escape(value)}</td></tr>\n'
        for key, value in rows
    )
    return f"<table><tbody>\n{body}</tbody></table>"


def _lead(lead: str) -> str:
    return f'<p class="lead">{escape(lead)}</p>\n' if lead else ""
