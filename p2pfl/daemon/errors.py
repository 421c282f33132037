"""Why a peer cannot run; every message is for people."""


class MembershipError(Exception):
    """A charter that this peer cannot take part by."""


class ServiceError(Exception):
    """A peer that cannot run as it is set up."""


class RunsTwice(Exception):
    """Another process runs with this peer's key, and began earlier."""


class ControlError(Exception):
    """A peer that cannot be asked."""


class NotRunning(ControlError):
    """There is no peer to ask."""
