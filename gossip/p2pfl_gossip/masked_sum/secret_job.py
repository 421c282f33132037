"""Jobs that hold secrets."""

from p2pfl_gossip.actions import Job


class SecretJob(Job, frozen=True):
    """A job whose fields are not shown."""

    def __repr__(self) -> str:
        return f"{type(self).__name__}(...)"
