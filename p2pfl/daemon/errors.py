"""Why a peer cannot run; every message is for people."""


class MembershipError(Exception):
    """A roster that this peer cannot take part by."""


class ServiceError(Exception):
    """A peer that cannot run as it is set up."""


class ControlError(Exception):
    """A peer that cannot be asked."""
