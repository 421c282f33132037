"""Attributes of classes and modules replaced for a while: planted faults, and stand-ins."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

Change = tuple[Any, str, Any]
"""The class or module, the attribute's name, what it is to be."""


@contextmanager
def replaced(changes: Iterable[Change]) -> Iterator[None]:
    """Make changes, one after the other; take all of them back at the end."""
    before = []
    for owner, name, value in changes:
        before.append((owner, name, owner.__dict__[name]))
        setattr(owner, name, value)
    try:
        yield
    finally:
        for owner, name, value in before:
            setattr(owner, name, value)
