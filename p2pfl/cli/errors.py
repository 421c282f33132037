"""How a command ends: exit codes, and what is the user's to correct."""

from collections.abc import Iterator
from contextlib import contextmanager

DIFFERENT = 1  # A replay whose digest is another one; a check that has found a problem.
CANNOT_GO_ON = 3  # A peer whose disk is full or journal damaged, or whose key runs elsewhere too.
NONE_ENDED = 1  # A run in which no round ended.
WRONG_INPUT = 2  # As shells and argument parsers have it.
INTERRUPTED = 130  # 128 + SIGINT, as shells have it.


class BadInput(Exception):
    """Something the user can correct; the message is shown as it is, without a traceback."""


@contextmanager
def peer_errors() -> Iterator[None]:
    """Turn what a peer's libraries raise for wrong input into `BadInput`."""
    from p2pfl.charter.errors import PaperError
    from p2pfl.daemon.config import ConfigError
    from p2pfl.daemon.errors import ControlError, MembershipError, ServiceError
    from p2pfl.group.averaging import AveragingError
    from p2pfl.learner.errors import LearningError
    from p2pfl.plugins import PluginError
    from p2pfl.store.errors import KeyFileError
    from p2pfl_gossip.topology import TopologyError

    try:
        yield
    except (
        AveragingError,
        ConfigError,
        ControlError,
        KeyFileError,
        LearningError,
        MembershipError,
        PaperError,
        PluginError,
        ServiceError,
        TopologyError,
    ) as error:
        raise BadInput(str(error)) from error
