"""A drawing as an SVG file of its own: colours written out, and nothing that needs a pointer.

On the page, a drawing takes its colours from the style sheet, by variables that change with the
reader's light or dark mode. Few programs beside browsers know such variables, and some no style
sheet in an SVG at all. So every element's style is worked out here, and written as attributes.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import TypeAlias
from xml.etree import ElementTree

FONT = "Helvetica, Arial, sans-serif"
MARGIN = 14  # Around the drawing; on the page, text may reach as far into the margin there.
HIDDEN = frozenset({"spot", "touch"})  # Classes of what shows only under a pointer.
ATTRIBUTES = frozenset(
    {
        *("fill", "fill-opacity", "font-size", "font-weight", "text-anchor"),
        *("stroke", "stroke-dasharray", "stroke-linecap", "stroke-linejoin"),
        *("stroke-opacity", "stroke-width"),
    }
)
"""What a style sheet may say of an element that is an attribute of SVG too."""

Kind: TypeAlias = tuple[str, frozenset[str]]
"""Of an element: its tag and its classes."""

Style: TypeAlias = Mapping[str, str]


@dataclass(frozen=True, slots=True)
class _Rule:
    """One selector, outermost part first, with what it declares; `weight` is its specificity."""

    parts: tuple[Kind, ...]
    weight: tuple[int, int]
    declared: Style

    def matches(self, element: Kind, above: tuple[Kind, ...]) -> bool:
        *outer, last = self.parts
        if not _covers(last, element):
            return False
        left = iter(above)
        return all(any(_covers(part, kind) for kind in left) for part in outer)


def chart_style() -> str:
    """Return the style sheet of drawings."""
    return (resources.files("p2pfl_simulations.report") / "chart.css").read_text(encoding="utf-8")


def standalone(drawing: str) -> str:
    """Write a drawing of the page as a file of its own, in light colours on white paper."""
    root = ElementTree.fromstring(drawing)  # noqa: S314 - we wrote it ourselves
    left, top, width, height = (float(it) for it in str(root.get("viewBox")).split())
    _inline_styles(root, ())
    left, top, width, height = left - MARGIN, top - MARGIN, width + 2 * MARGIN, height + 2 * MARGIN
    corner = {"x": f"{left:g}", "y": f"{top:g}"}
    size = {"width": f"{width:g}", "height": f"{height:g}"}
    root.attrib |= size | {
        "xmlns": "http://www.w3.org/2000/svg",
        "viewBox": f"{left:g} {top:g} {width:g} {height:g}",
        "font-family": FONT,
    }
    paper = ElementTree.Element("rect", corner | size | {"fill": "#ffffff"})
    root.insert(0, paper)
    return '<?xml version="1.0" encoding="UTF-8"?>\n' + ElementTree.tostring(root, "unicode")


def _inline_styles(element: ElementTree.Element, above: tuple[Kind, ...]) -> None:
    """Replace the classes of an element, and of all within it, by attributes."""
    kind = (element.tag, frozenset((element.get("class") or "").split()))
    element.attrib.pop("class", None)
    own = dict(_declarations(element.attrib.pop("style", "")))
    for name, value in {**_style(kind, above), **own}.items():
        element.set(name, value)
    for child in list(element):
        if child.tag == "title" or HIDDEN & set((child.get("class") or "").split()):
            element.remove(child)
        else:
            _inline_styles(child, (*above, kind))


@cache
def _style(element: Kind, above: tuple[Kind, ...]) -> Style:
    found: dict[str, str] = {}
    for rule in _rules():
        if rule.matches(element, above):
            found.update(rule.declared)
    variables = {**_variables(), **found}
    return {name: _value(found[name], variables) for name in sorted(ATTRIBUTES & found.keys())}


def _value(value: str, variables: Style) -> str:
    while (used := re.fullmatch(r"var\((--[\w-]+)\)", value)) is not None:
        value = variables[used[1]]
    return value.removesuffix("px")


@cache
def _rules() -> tuple[_Rule, ...]:
    """Read the style sheet's rules for elements, those that win last."""
    rules = [
        _Rule(parts, (sum(len(c) for _, c in parts), sum(bool(t) for t, _ in parts)), declared)
        for selectors, declared in _blocks()
        for selector in selectors
        if ":" not in selector  # The page's own: the root, and what a pointer does.
        for parts in [tuple(map(_kind, selector.split()))]
    ]
    return tuple(sorted(rules, key=lambda rule: rule.weight))


@cache
def _variables() -> Style:
    return next(declared for selectors, declared in _blocks() if selectors == [":root"])


def _blocks() -> Iterator[tuple[list[str], Style]]:
    sheet = re.sub(r"/\*.*?\*/", "", chart_style(), flags=re.DOTALL)
    for selectors, body in re.findall(r"([^{}]+)\{([^{}]*)\}", sheet):
        yield [it.strip() for it in selectors.split(",")], dict(_declarations(body))


def _declarations(body: str) -> Iterator[tuple[str, str]]:
    for declaration in filter(str.strip, body.split(";")):
        name, _, value = declaration.partition(":")
        yield name.strip(), value.strip()


def _kind(selector: str) -> Kind:
    tag, *classes = selector.split(".")
    return tag, frozenset(classes)


def _covers(part: Kind, element: Kind) -> bool:
    """Tell whether a part of a selector means an element."""
    return part[0] in ("", element[0]) and part[1] <= element[1]
