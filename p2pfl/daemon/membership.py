"""What a peer's folder says of its group, for commands that run beside the peer, or without it."""

from dataclasses import dataclass
from pathlib import Path

from p2pfl.charter.chain import chain_of
from p2pfl.charter.charter_file import CharterFile
from p2pfl.charter.errors import PaperError
from p2pfl.charter.papers import Papers
from p2pfl.daemon.config import PeerConfig, PeerFolder
from p2pfl.daemon.directory import Directory, agreed_in
from p2pfl.daemon.errors import MembershipError, ServiceError
from p2pfl.daemon.task_in_hand import TaskInHand, code_of
from p2pfl.group.agreed import Agreed
from p2pfl.learner.learner import Learner
from p2pfl.store.keys import PeerKeys

NO_CHARTER = (
    "there is no charter in {folder}: put the founding charter there that all founders have signed,"
    " and the first state (docs/consortium.md)"
)


@dataclass(frozen=True)
class Membership:
    """A peer's group, by its newest charter here.

    Attributes:
        agreed: members, and what they agree on.
        group: names the group.
        charter: the charter.
    """

    agreed: Agreed
    group: bytes
    charter: CharterFile
    _folder: PeerFolder
    _config: PeerConfig

    def directory(self, keys: PeerKeys) -> Directory:
        """Return the members, and our own place among them.

        Raises:
            MembershipError: we have none.
        """
        directory = Directory(self.agreed, self.group, keys.identity.peer_id, self._config.reached)
        if directory.index is None:
            raise MembershipError(
                f"no charter in {self._folder.charters} names this peer, {directory.own}: have it"
                " admitted by its card (p2pfl charter card)"
            )
        return directory

    def learner(self) -> tuple[Learner, int]:
        """Return the learner of this member, and the number that its rows have there.

        Raises:
            PaperError: the task was not approved here.
            LearningError: it cannot be had.
        """
        task = TaskInHand(self._folder, self._config)
        task.want(self.charter)
        return task.learner()

    @property
    def code(self) -> Path:
        """Where the task is imported from.

        Raises:
            PaperError: the task was not approved here.
        """
        return code_of(self._folder, self._config, self.charter.terms.task) or self._folder.path


def membership_of(folder: PeerFolder, config: PeerConfig) -> Membership:
    """Read what a peer's folder says of its group.

    Raises:
        ServiceError, PaperError: it says nothing, or nothing that can be.
    """
    if not folder.has_charters():
        raise ServiceError(NO_CHARTER.format(folder=folder.charters))
    papers = Papers(folder.charters)
    papers.read()
    founding = papers.founding()
    try:
        present = chain_of(it for it in papers.files.values() if not it.is_draft).present
    except PaperError:
        present = founding  # One in between is not here: the peer has it in its journal.
    return Membership(agreed_in(present, config), founding.digest, present, folder, config)
