"""What can go wrong with a peer's files; each message is one line, with the remedy."""


class StoreError(Exception):
    """A file of a peer cannot be used; what was kept before is still there."""


class FolderLocked(StoreError):
    """Another process works in the folder."""


class DamagedJournal(StoreError):
    """A journal is not as it was left; nothing of it was changed."""


class KeyFileError(StoreError):
    """A key file cannot be read, or not by this passphrase."""
