"""Between a running member of a group and the charters in its folder: what its host does for it.

Now and then, and whenever an epoch begins: what people have put into the folder or signed there is
handed to the machine; what others proposed and signed is written there. The machine is told what
the calendar, the terms and the operator allow (p2pfl.charter.outlook). With each epoch its members,
addresses and settings take the place of those before, without a restart.
"""

import asyncio
import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from p2pfl.charter.charter_file import CharterFile
from p2pfl.charter.differences import changes
from p2pfl.charter.errors import PaperError
from p2pfl.charter.outlook import Outlook, file_of, look_ahead
from p2pfl.charter.papers import Papers
from p2pfl.daemon.config import PeerConfig
from p2pfl.daemon.directory import Directory, agreed_in
from p2pfl.daemon.driver import Driver
from p2pfl.daemon.reporter import Reporter
from p2pfl.daemon.retention import note_day
from p2pfl.daemon.task_in_hand import TaskInHand
from p2pfl.daemon.waiting import WaitingCharters
from p2pfl.group.agreed import Agreed
from p2pfl_crypto.identity import peer_id_of
from p2pfl_gossip import events
from p2pfl_gossip.actions import Action, Event, Vector
from p2pfl_gossip.ledger.approvals import (
    DEPARTING,
    Approval,
    RefusedApproval,
    Says,
    encode_approvals,
    in_order,
)
from p2pfl_gossip.ledger.charter import NEW_STATE, Charter, Epoch, RefusedCharter, encode_charter
from p2pfl_gossip.ledger.member import GroupMember
from p2pfl_gossip.ledger.messages import Parcel, Rest
from p2pfl_gossip.ledger.parcels import CharterProposal
from p2pfl_gossip.ledger.privacy import ABORTS_MAX
from p2pfl_gossip.ledger.proposals import PAST_MAX, HostWord
from p2pfl_gossip.peer_state import State
from p2pfl_gossip.records import MalformedFrame

LOOK_EVERY_S = 1.0
"""Between two looks at folder and calendar."""

BEGUN_EVERY_S = 0.02
"""Between two looks whether the machine has begun: before that it cannot be told anything."""


SPENT_OUT = (
    "so many members have spent all that the charter pays for that no sum can be made any more: the"
    " group ends. Only an amended charter (p2pfl charter propose) reserves anew, where each"
    " member's budget pays for it"
)

LOST_IN_A_ROW = (
    f"{ABORTS_MAX} updates from one model came to nothing, so this member gives no more from it:"
    " somebody may want to burn its budget. See who was missing, and p2pfl peer resume lets it"
    " give as many again"
)


class Chartering:
    """The host of one member.

    Attributes:
        outlook: what it found last.
        ended: why this peer is to stop for good, once it is; a line for its operator.
    """

    def __init__(
        self,
        member: GroupMember,
        papers: Papers,
        task: TaskInHand,
        directory: Directory,
        reporter: Reporter,
        config: PeerConfig,
    ) -> None:
        self._member, self._papers, self._task = member, papers, task
        self._directory, self._reporter, self._config = directory, reporter, config
        self._driver: Driver
        self._handed: dict[bytes, bytes] = {}  # What was handed in of a charter, by its digest.
        self._written: dict[bytes, bytes] = {}  # What was written down of it.
        self._put_of_present: tuple[bytes, bytes, int] = (b"", b"", 0)
        self._given: set[bytes] = set()  # Models; membership only.
        self._departed: set[tuple[bytes, str]] = set()  # Membership only.
        self._entered: tuple[bytes, bool] = (b"", False)
        self._told: dict[str, str] = {}
        self._waiting = WaitingCharters(papers, reporter, config.on_waiting)
        self._asked_at_s = 0.0
        self.outlook: Outlook | None = None
        self.ended = self._spent = ""

    def attach(self, driver: Driver) -> None:
        """Take what drives the machine, before it starts."""
        self._driver = driver

    async def run(self) -> None:
        """Look for ever; at once when the machine has begun."""
        every_s = min(LOOK_EVERY_S, self._member.epoch.charter.relay_s / 2)
        while True:
            self.look()
            has_begun = self._member.state is not State.NEW
            await asyncio.sleep(every_s if has_begun else BEGUN_EVERY_S)

    # --- what happens -----------------------------------------------------------------------

    def on_event(self, event: Event) -> None:
        """Take up an epoch that has begun, and note why we are to stop."""
        match event:
            case events.EpochBegun():
                self.look()
            case events.SitsOut(round=round_):
                member = self._member
                first = member.last_spent_round + 1
                told = self._task.spending.presume(member.epoch, first, round_)
                self._tell("budget", told)
            case events.MemberDeparted(member=member, is_revoked=is_revoked):
                if member == self._directory.own:
                    self.ended = (
                        "the key of this peer was revoked by its own member's governance keys: it"
                        " stops for good; have the group amend its charter with a new peer's key"
                        if is_revoked
                        else "this member has left the group, as its own governance keys say: its"
                        " peer stops for good"
                    )
            case events.OtherHistory():
                self.ended = (
                    "the history that the others show is another than the invitation's: nothing"
                    " was said in it. Have the invitation compared by telephone; then move the"
                    " journal away and start again, or tell the group of a forgery"
                )

    def look(self) -> None:
        """Bring folder, calendar and machine together."""
        if self._member.state in (State.NEW, State.LEFT):
            return
        try:
            self._papers.read()
            self._look()
        except (PaperError, OSError) as error:
            self._tell("papers", str(error))
        else:
            self._tell("papers", "")
        for name, fault in self._papers.faults.items():
            self._tell(name, fault)

    def _look(self) -> None:
        member, now_s = self._member, int(time.time())
        present = self._present()
        self._task.want(present)
        self._enter(present)
        self._hand_in(present)
        self._write_down(present)
        proposals = member.proposals.open
        outlook = look_ahead(
            now_s=now_s,
            own=self._directory.name,
            present=present,
            proposals=proposals,
            first_seen=self._papers.first_seen([it.digest for it in proposals], now_s),
            task_fault="" if present is None else self._task.fault(present),
            budget_fault=self._task.spending.fault,
        )
        self.outlook = outlook
        self._give_models()
        if outlook.word != member.proposals.word:
            self._driver.ask(lambda at_s: member.hear_host(at_s, outlook.word))
        self._spent = self._why_spent(present)
        self._tell("rest", outlook.why or self._spent)
        settled = self._task.spending.settle(member.history, self._directory.own, self._void())
        self._tell("budget's end", settled)
        self._fill_gaps(present)
        note_day(self._papers.path.parent, member.history, datetime.now(UTC))
        self._waiting.tell(present, outlook.waits)

    def _why_spent(self, present: CharterFile | None) -> str:
        """Say that the charter's updates are spent before its last model; empty if they are not."""
        member = self._member
        if present is None or member.history.height >= present.charter.rounds:
            return ""
        done = f"at {member.history.height} of {present.charter.rounds} models "
        if member.gives_no_more:
            return done + self._task.spending.over(present)
        if member.is_spent_out:
            return done + SPENT_OUT
        return f"{done}{LOST_IN_A_ROW}" if member.awaits_operator else ""

    def _void(self) -> list[bytes]:
        """Return charters of which another one came in the place: what they reserved is free."""
        epochs = self._member.history.epochs
        followed = {epoch.digest for epoch in epochs[:-1]}
        taken = {epoch.digest for epoch in epochs}
        return sorted(
            digest
            for digest, file in self._papers.files.items()
            if file.charter.present in followed and digest not in taken
        )

    # --- the charter in force ---------------------------------------------------------------

    def _present(self) -> CharterFile | None:
        """Return the charter in force, from the machine or the folder; None without its texts."""
        held = self._member.proposals.present
        file = self._papers.files.get(held.digest)
        if file is None and held.terms and held.running:
            file = self._put(self._member.epoch, held)
        return file

    def _put(self, epoch: Epoch, held: CharterProposal) -> CharterFile:
        """Write the file of a charter that is or was in force, with what its epoch began by."""
        said = self._member.history.approvals_of(epoch.number)
        said = list(in_order([*said, *held.approvals]))
        file = CharterFile(held.charter, held.terms, held.running, approvals=tuple(said))
        self._papers.put(file)
        return file

    def _enter(self, present: CharterFile | None) -> None:
        """Put members, addresses and settings of an epoch in the place of those before."""
        epoch = self._member.epoch
        if self._entered == (epoch.digest, present is not None):
            return
        is_later = bool(self._entered[0])
        self._entered = epoch.digest, present is not None
        if epoch.rank_of(self._directory.own) is None:
            return  # We are still on the way to the epoch that names us.
        if present is not None:
            self._directory.enter(agreed_in(present, self._config))
        elif is_later:
            self._directory.enter(_without_strangers(self._directory, epoch.charter))

    def _fill_gaps(self, present: CharterFile | None) -> None:
        """Get the papers of epochs that began while we were away: others have their texts."""
        member, wanted = self._member, []
        for epoch in member.history.epochs[-1 - PAST_MAX :]:
            if epoch.number and epoch.digest not in self._papers.files:
                held = member.proposals.past.get(epoch.digest)
                if held is None:
                    wanted.append(epoch.digest)
                else:
                    self._put(epoch, held)
        if present is None and member.epoch.digest not in wanted:
            wanted.append(member.epoch.digest)
        at_s, every_s = time.monotonic(), member.epoch.charter.relay_s
        if wanted and at_s - self._asked_at_s >= every_s:
            self._asked_at_s = at_s
            self._driver.ask(lambda now_s: member.ask_papers(now_s, wanted))

    # --- from the folder to the machine -----------------------------------------------------

    def _hand_in(self, present: CharterFile | None) -> None:
        in_force = self._member.epoch.digest
        if present is not None:
            self._hand(present)
            self._depart(present)
        for file in list(self._papers.files.values()):
            if file.charter.present == in_force:
                self._hand(file)

    def _hand(self, file: CharterFile) -> None:
        """Hand a charter in, with what was said of it, if anything is new since the last time."""
        said = encode_approvals(file.approvals)
        if self._handed.get(file.digest) == said:
            return
        self._handed[file.digest] = said
        words = [it for it in file.approvals if it.says in (Says.APPROVE, Says.OBJECT)]
        parcel = Parcel(
            encode_charter(file.charter), file.terms_bytes, file.running_bytes, tuple(words)
        )
        self._ask(file, lambda at_s: self._member.propose(at_s, parcel))

    def _depart(self, present: CharterFile) -> None:
        """Hand in that members leave, or revoke their peers' keys, once enough keys say so."""
        for says in DEPARTING:
            said = present.words(says)
            for member in present.charter.members:
                words = tuple(it for it in said if it.key in member.governance.keys)
                key = (present.digest, f"{member.name} {says}")
                if (
                    words
                    and len(words) >= member.governance.threshold
                    and key not in self._departed
                ):
                    self._departed.add(key)
                    self._ask(present, _departing(self._member, words))

    def _ask(self, file: CharterFile, call: Callable[[float], list[Action]]) -> None:
        """Ask something of the machine; what it refuses is told, and changes nothing."""
        name = f"charter {file.digest.hex()[:16]}"

        def asked(at_s: float) -> list[Action]:
            try:
                return call(at_s)
            except (RefusedCharter, RefusedApproval, MalformedFrame) as error:
                self._tell(name, f"{name} cannot be taken: {error}")
                return []

        self._driver.ask(asked)

    def _give_models(self) -> None:
        """Give first states of which proposals, or the charter in force, begin."""
        proposals = self._member.proposals
        for it in (proposals.present, *proposals.open):
            item = it.charter.state[0]
            if it.charter.start != NEW_STATE or item.digest in self._given:
                continue
            vector = self._papers.first_state(item)
            if vector is not None:
                self._given.add(item.digest)
                self._driver.ask(_giving(self._member, vector))

    # --- from the machine to the folder -----------------------------------------------------

    def _write_down(self, present: CharterFile | None) -> None:
        """Write down what others proposed, and what keys said since."""
        for proposal in self._member.proposals.open:
            if self._written.get(proposal.digest) == proposal.said:
                continue
            self._written[proposal.digest] = proposal.said
            try:
                file = file_of(proposal)
                self._papers.put(file if present is None else file.with_texts_of(present))
            except PaperError as error:
                self._tell(f"charter {proposal.digest.hex()[:16]}", str(error))
        held, departures = self._member.proposals.present, self._member.departures
        state = held.digest, held.said, len(departures)
        if present is not None and self._put_of_present != state:
            self._put_of_present = state
            self._papers.put(present.with_words([*held.approvals, *departures]))

    # --- what is told -----------------------------------------------------------------------

    def _tell(self, what: str, told: str) -> None:
        """Log something about the papers, once, until it is something else."""
        if told and self._told.get(what) != told:
            self._reporter.tell("charter", told, level=logging.WARNING)
        self._told[what] = told

    def status(self) -> dict[str, Any]:
        """Return what the status shows of charters."""
        proposals, outlook = self._member.proposals, self.outlook or Outlook(HostWord())
        present = self._papers.files.get(proposals.present.digest)
        rest = proposals.rest
        why = outlook.why or self._spent
        if rest is Rest.UNSIGNED:
            place = self._papers.place_of(proposals.present.digest) or "its file"
            why = (
                "this member's own governance keys have not signed what now holds: p2pfl charter"
                f" approve {place} --key KEY"
            )
        return {
            "charter": proposals.present.digest.hex(),
            "until": proposals.present.charter.until,
            "rest": None if rest is Rest.NONE else rest.name.lower(),
            "why": why,
            "privacy": "" if present is None else self._task.privacy_of(present),
            "claims": [] if present is None else self._task.spending.claims(present),
            "is_private": present is not None and present.charter.privacy is not None,
            "warnings": list(outlook.warnings),
            "faults": [told for told in self._papers.faults.values() if told],
            "proposals": [
                {
                    "charter": it.digest.hex(),
                    "file": str(self._papers.place_of(it.digest) or ""),
                    "class": it.standing.kind,
                    "approved": list(it.standing.approved),
                    "missing": list(it.standing.missing),
                    "objected": list(it.standing.objected),
                    "changes": _changes(present, self._papers.files.get(it.digest)),
                    "held": (outlook.held or {}).get(it.digest, ""),
                    "waits_for_me": it.digest in outlook.waits,
                }
                for it in proposals.open
                if it.standing is not None
            ],
        }


def _changes(present: CharterFile | None, file: CharterFile | None) -> list[str]:
    return [] if present is None or file is None else changes(present, file)


def _giving(member: GroupMember, vector: Vector) -> Callable[[float], list[Action]]:
    return lambda at_s: member.give_model(at_s, vector)


def _departing(member: GroupMember, words: Sequence[Approval]) -> Callable[[float], list[Action]]:
    return lambda at_s: member.depart(at_s, words)


def _without_strangers(directory: Directory, charter: Charter) -> Agreed:
    """Return the directory's members without those whom a charter does not name any more."""
    named = {str(peer_id_of(member.key)) for member in charter.members}
    members = tuple(it for it in directory.agreed.members if it.peer_id in named)
    return replace(directory.agreed, members=members)
