"""Phrases on the command line: shown to be read aloud, and asked for as somebody has heard them."""

import sys
from collections.abc import Sequence

from p2pfl.charter.words import read_phrase
from p2pfl.cli.errors import BadInput


def print_words(words: Sequence[str]) -> None:
    """Print the words that people compare."""
    lines = ["   ".join(words[start : start + 3]) for start in range(0, len(words), 3)]
    print(f"phrase     {lines[0]}")
    for line in lines[1:]:
        print(f"           {line}")


def require_phrase(words: Sequence[str], given: str | None, *, by: str, fault: str) -> None:
    """Require the words, as given or as typed at the terminal.

    Args:
        words: the right ones.
        given: as they were heard; None to ask.
        by: who has read them, for the question.
        fault: what a wrong word means.

    Raises:
        BadInput: they are others, or nobody can be asked.
    """
    if given is None:
        if not sys.stdin.isatty():
            raise BadInput(f"give the words that {by}: --phrase")
        given = input(f"The nine words that {by}: ")
    try:
        typed = read_phrase(given)
    except ValueError as error:
        raise BadInput(str(error)) from None
    if typed != tuple(words):
        place = next(place for place, word in enumerate(words) if typed[place] != word)
        raise BadInput(f"word {place + 1} is {typed[place]!r}, and {fault}")
