"""What a peer's folder says of its group, for commands that run beside the peer, or without it."""

from dataclasses import dataclass
from pathlib import Path

from p2pfl.charter.chain import chain_of
from p2pfl.charter.charter_file import CharterFile
from p2pfl.charter.errors import PaperError
from p2pfl.charter.papers import Papers
from p2pfl.charter.settled import settled
from p2pfl.daemon.building import index_in, make_member_learner
from p2pfl.daemon.config import PeerConfig, PeerFolder
from p2pfl.daemon.directory import Directory
from p2pfl.daemon.errors import MembershipError, ServiceError
from p2pfl.daemon.task_in_hand import TaskInHand, code_of
from p2pfl.group.roster_file import RosterFile, group_id, read_roster
from p2pfl.learner.learner import Learner
from p2pfl.store.keys import PeerKeys


@dataclass(frozen=True)
class Membership:
    """A peer's group, by its newest charter here, or by the roster of a trial.

    Attributes:
        roster: members, and what they agree on.
        group: names the group.
        charter: the charter; None where there is a roster.
    """

    roster: RosterFile
    group: bytes
    charter: CharterFile | None
    _folder: PeerFolder
    _config: PeerConfig

    def directory(self, keys: PeerKeys) -> Directory:
        """Return the members, and our own place among them.

        Raises:
            MembershipError: we have none.
        """
        if self.charter is None:
            index_in(self.roster, keys)
        directory = Directory(self.roster, self.group, keys.identity.peer_id)
        if directory.index is None:
            raise MembershipError(
                f"no charter in {self._folder.charters} names this peer, {directory.own}: have it"
                " admitted by its card (p2pfl charter card)"
            )
        return directory

    def learner(self, keys: PeerKeys) -> tuple[Learner, int]:
        """Return the learner of this member, and the number that its rows have there.

        Raises:
            PaperError: the task was not approved here.
            LearningError, MembershipError: it cannot be had; we are no member.
        """
        if self.charter is None:
            return make_member_learner(
                self.roster,
                index_in(self.roster, keys),
                data_dir=self._config.data_dir,
                threads=self._config.threads,
                folder=self.code,
            )
        task = TaskInHand(self._folder, self._config)
        task.want(self.charter)
        return task.learner()

    @property
    def code(self) -> Path:
        """Where the task is imported from.

        Raises:
            PaperError: the task was not approved here.
        """
        if self.charter is None:
            roster = self._folder.roster_path(self._config)
            return self._config.task_dir or roster.resolve().parent
        return code_of(self._folder, self._config, self.charter.terms.task) or self._folder.path


def membership_of(folder: PeerFolder, config: PeerConfig) -> Membership:
    """Read what a peer's folder says of its group.

    Raises:
        ServiceError, PaperError, RosterError: it says nothing, or nothing that can be.
    """
    if folder.has_charters():
        papers = Papers(folder.charters)
        papers.read()
        founding = papers.founding()
        try:
            present = chain_of(it for it in papers.files.values() if not it.is_draft).present
        except PaperError:
            present = founding  # One in between is not here: the peer has it in its journal.
        return Membership(settled(present), founding.digest, present, folder, config)
    path = folder.roster_path(config)
    if not path.exists():
        raise ServiceError(
            f"there is no charter in {folder.charters}: put the founding charter there that all"
            " founders have signed, and the first state (docs/consortium.md)"
        )
    roster = read_roster(path)
    return Membership(roster, group_id(roster), None, folder, config)
