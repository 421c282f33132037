"""What can be wrong with a charter's papers; each message is one line, with the remedy."""


class PaperError(Exception):
    """A key, card, draft, charter or approval cannot be used; nothing was changed."""
