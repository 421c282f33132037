"""SVG as text: elements, escaping, and how wide a text will be."""

from html import escape

CHARACTER_WIDTH = 0.56
"""Of a font's size, on average; sans-serif fonts lie between .50 and .58. Labels are placed for
it, since nobody measures text when the page is written."""


def element(tag: str, *content: str, **attributes: str | float | None) -> str:
    """Write one element; ``class_`` gives ``class``, ``_`` gives ``-``; None leaves one out."""
    written = "".join(
        f' {name.rstrip("_").replace("_", "-")}="{_value(value)}"'
        for name, value in attributes.items()
        if value is not None
    )
    if not content:
        return f"<{tag}{written}/>"
    return f"<{tag}{written}>{''.join(content)}</{tag}>"


def text(x: float, y: float, content: str, **attributes: str | float | None) -> str:
    """Write a line of text; the content is escaped."""
    return element("text", escape(content), x=x, y=y, **attributes)


def title(content: str) -> str:
    """Write what a pointer that rests on the parent element shows."""
    return element("title", escape(content))


def picture(width: float, height: float, label: str, *content: str) -> str:
    """Write a whole drawing; `label` tells those who cannot see it what it shows."""
    return element(
        "svg",
        *content,
        viewBox=f"0 0 {number(width)} {number(height)}",
        role="img",
        aria_label=label,
        class_="wide" if width > 700 else "narrow",
    )


def text_width(content: str, size: float = 12) -> float:
    """Estimate how wide a text is drawn."""
    return len(content) * size * CHARACTER_WIDTH


def number(value: float) -> str:
    """Write a coordinate: a tenth of a unit is finer than anybody sees."""
    written = f"{value:.1f}"
    return written.removesuffix(".0")


def point(x: float, y: float) -> str:
    """Write a point of a path."""
    return f"{number(x)} {number(y)}"


def _value(value: str | float | None) -> str:
    return number(value) if isinstance(value, (int, float)) else escape(str(value), quote=True)
