"""What can go wrong with privacy; each message is one line, with the remedy."""


class PrivacyError(Exception):
    """Parameters or a budget that do not fit; the message is for people."""


class EngineMissing(PrivacyError):
    """The accountant of the extra `privacy` is not installed."""


class AccountantsDisagree(PrivacyError):
    """Two accountants contradict each other: no figure is given."""
