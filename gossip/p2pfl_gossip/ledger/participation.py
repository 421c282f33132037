"""The table of participation: whose rows went into the common model, how often, and why not.

Who was in which model is in the certified history, so all members see the same there. Why a member
was out of a sum is in nobody's history: each member has its own view of that, and says it as such.
"""

from collections.abc import Collection, Mapping, Sequence
from enum import StrEnum

from p2pfl_crypto.identity import PeerId
from p2pfl_gossip.ledger.entries import Entry, Kind, begins_anew, out_of
from p2pfl_gossip.ledger.history import History
from p2pfl_gossip.ledger.messages import GroupAdvert, Rest
from p2pfl_gossip.records import Record

HEIGHTS_OVERDUE = 5
"""After so many models without a member's rows its name is told, if nothing else is asked for."""


class Cause(StrEnum):
    """Why a member's update was not in a sum, as far as another one can tell."""

    LATE = "late"
    """It still worked when the list was closed."""
    SILENT = "silent"
    """Nothing was heard of it, though its link was open."""
    UNREACHABLE = "unreachable"
    """We had no link to it."""
    BEHIND = "behind"
    """It named another head than those that were listed: it did not have the model yet."""
    LEFT_OUT = "left out"
    """It was ready, and the leader's list did not name it: its advert came too late there, or its
    silence had made a round void (backoff.py)."""
    DROPPED = "dropped"
    """It was on the list, and its update did not come."""
    OUT = "out"
    """It was proven to lie, or it left."""
    RESTS = "rests"
    """It gave none, for a reason that this version does not know."""
    FINISHED = "finished"
    """It had the last model."""
    CHARTER = "charter"
    """It waited for the next charter."""
    SPENT = "spent"
    """It had given as many updates from one model, or under its charter, as it may."""
    PAUSED = "paused"
    """Its operator paused it."""
    START = "start"
    """Its journal was older than what others held of it."""
    UNSIGNED = "unsigned"
    """Its own keys have not signed the charter."""
    TASK = "task"
    """Its operator has not approved the task."""
    LAPSED = "lapsed"
    """The charter's time is over."""
    TRAINING = "training"
    """Its training gave nothing."""
    STATE = "state"
    """It lacked the model that the epoch starts from."""


RESTS = {int(rest): Cause(rest.name.lower()) for rest in Rest if rest != Rest.NONE}


class MemberShare(Record, frozen=True):
    """One row of the table: a member of the present epoch.

    Attributes:
        name: what people call it.
        peer: its peer.
        weight: how much its updates count.
        heights_in: models that its updates are in, since it is a member.
        heights: models made since it is a member.
        last_height: of the last model that its updates are in; 0 if there is none.
        out_for: models made since that one, or since it is a member.
        cause: why it was out of the last model, if it was and that is known.
    """

    name: str
    peer: PeerId
    weight: float
    heights_in: int
    heights: int
    last_height: int
    out_for: int
    cause: Cause | None = None

    @property
    def share(self) -> float | None:
        """Share of the models that its updates are in; None before the first."""
        return self.heights_in / self.heights if self.heights else None


def participation(
    history: History, causes: Mapping[PeerId, Cause] | None = None
) -> list[MemberShare]:
    """Make the table from the history below a head, in the order of the present members.

    Args:
        history: what is certified; where it has a gap, the table begins above it.
        causes: why members were out of the latest sum, as the one who asks saw it.
    """
    # By name, which stays when a member's peer gets another key: in, of, last, out for.
    found: dict[str, tuple[int, int, int, int]] = {}
    newest: Entry | None = None
    for entry in entries_of(history):
        if entry.kind != Kind.SUM:
            continue
        newest, epoch = entry, history.epochs[entry.epoch]
        inside = set(epoch.unpack(entry.members) or ())
        for rank, member in enumerate(epoch.charter.members):
            count, of, last, out_for = found.get(member.name, (0, 0, 0, 0))
            if rank in inside:
                found[member.name] = count + 1, of + 1, entry.height, 0
            else:
                found[member.name] = count, of + 1, last, out_for + 1
    present = history.epoch
    out = out_of(present, history.head.entry)
    shares = []
    for rank, peer in enumerate(present.members):
        member = present.charter.members[rank]
        count, of, last, out_for = found.get(member.name, (0, 0, 0, 0))
        cause = None
        if newest is not None and out_for:
            cause = Cause.OUT if rank in out else (causes or {}).get(peer)
        shares.append(
            MemberShare(member.name, peer, member.weight, count, of, last, out_for, cause)
        )
    return shares


def overdue(shares: Sequence[MemberShare], heights: int = HEIGHTS_OVERDUE) -> list[MemberShare]:
    """Return those whose rows have been in no model for so many heights."""
    return [share for share in shares if share.out_for >= heights]


def warning_of(share: MemberShare) -> str:
    """Say by name that a member's rows have been in no model for long."""
    models = "model" if share.out_for == 1 else f"{share.out_for} models"
    why = f" (last time: {share.cause})" if share.cause else ""
    return f"{share.name}: its rows are not in the last {models}{why}"


def entries_of(history: History) -> list[Entry]:
    """Return the entries up to the head, ascending, without the first; from above a gap on."""
    found: list[Entry] = []
    step = history.head
    while step.entry.round:
        found.append(step.entry)
        below = history.step(step.entry.base)
        if below is None:
            break
        step = below
    return found[::-1]


def idle_heights(history: History) -> int:
    """Count the last models that are the one before: each part of their sums was out of range.

    No updates in order give such a sum, and no message proves who bent it. What honest members give
    for such a round is spent all the same: after a few they rest.
    """
    count, step = 0, history.head
    while step.entry.round:
        below = history.step(step.entry.base)
        if below is None:
            break
        if step.entry.kind == Kind.SUM:
            if not _is_idle(history, step.entry, below.entry):
                break
            count += 1
        step = below
    return count


def all_idle_heights(history: History) -> int:
    """Count all models that are the one before, as far as entries are here."""
    count = 0
    for entry in entries_of(history):
        base = history.step(entry.base)
        is_sum = entry.kind == Kind.SUM
        count += is_sum and base is not None and _is_idle(history, entry, base.entry)
    return count


def _is_idle(history: History, entry: Entry, base: Entry) -> bool:
    epoch = history.epochs[entry.epoch]
    item = epoch.charter.state[0] if begins_anew(epoch, base) else base.state[0]
    return entry.state[0] == item


def why_out(
    member: int,
    *,
    members: Collection[int],
    out: Collection[int],
    listed: Mapping[int, GroupAdvert],
    adverts: Mapping[int, GroupAdvert],
    works: bool,
    gone: bool,
) -> Cause | None:
    """Say why a member is not in a sum, by what another one saw of the round.

    Args:
        member: its rank.
        members: whose updates are in the sum.
        out: who was out when the list was made.
        listed: the adverts on the list.
        adverts: of the round, that we held when the sum ended.
        works: whether it said lately that it works.
        gone: whether we have no link to it.

    Returns:
        None if its update is in.
    """
    if member in members:
        return None
    if member in out:
        return Cause.OUT
    if member in listed:
        return Cause.DROPPED
    advert = adverts.get(member)
    if advert is None:
        if gone:
            return Cause.UNREACHABLE
        return Cause.LATE if works else Cause.SILENT
    if advert.rest != Rest.NONE:
        return RESTS.get(advert.rest, Cause.RESTS)
    heads = {other.head for other in listed.values()}
    return Cause.LEFT_OUT if advert.head in heads else Cause.BEHIND
