"""How a group's ledger stands, as a member tells its operator: head, and who takes part."""

from typing import Any

from p2pfl.daemon.measures import Measure, gauge
from p2pfl_crypto.identity import PeerId
from p2pfl_gossip.ledger.entries import out_of
from p2pfl_gossip.ledger.member import GroupMember
from p2pfl_gossip.ledger.messages import Rest
from p2pfl_gossip.ledger.participation import (
    HEIGHTS_OVERDUE,
    MemberShare,
    idle_heights,
    overdue,
    participation,
)


def ledger_status(member: GroupMember, own: PeerId) -> dict[str, Any]:
    """Return what the status shows of the ledger; `own` is our identity."""
    history, epoch = member.history, member.epoch
    entry, head = history.head.entry, history.head.head
    shares = shares_of(member)
    out = sorted(out_of(epoch, entry))
    missing, resting = {share.name for share in overdue(shares)}, member.resting
    return {
        "group": epoch.group.hex(),
        "epoch": epoch.number,
        "head": {
            "height": entry.height,
            "epoch": head.epoch,
            "round": head.round,
            "entry": head.entry.hex(),
            "is_final": history.is_final(head),
        },
        "idle": idle_heights(history),
        "rests": "" if member.rest == Rest.NONE else member.rest.name.lower(),
        "may_be_allowed_more": member.may_be_allowed_more,
        "may_fail": epoch.size - epoch.threshold - len(out),
        "out": [epoch.charter.members[rank].name for rank in out],
        "members": [
            {
                "name": share.name,
                "peer_id": share.peer,
                "weight": share.weight,
                "heights_in": share.heights_in,
                "heights": share.heights,
                "last_height": share.last_height,
                "out_for": share.out_for,
                "why_out": None if share.cause is None else str(share.cause),
                "rests": None if share.peer not in resting else str(resting[share.peer]),
                "patience_s": None if share.peer == own else member.patience_s(rank),
                "is_overdue": share.name in missing,
            }
            for rank, share in enumerate(shares)
        ],
    }


def ledger_measures(member: GroupMember) -> list[Measure]:
    """Return the ledger's figures as metrics."""
    history, shares = member.history, shares_of(member)
    entry, head = history.head.entry, history.head.head
    out = out_of(member.epoch, entry)
    return [
        gauge("ledger_height", "Certified sums up to the head.", entry.height),
        gauge(
            "ledger_try", "The try, as rounds of the ledger are counted, of the head.", head.round
        ),
        gauge("ledger_epoch", "The epoch: how often the charter was changed.", member.epoch.number),
        gauge(
            "ledger_idle",
            "The last models in a row that are the one before: their sums were out of range.",
            idle_heights(history),
        ),
        gauge(
            "ledger_may_fail",
            "Members that may fail before no model can be certified any more.",
            member.epoch.size - member.epoch.threshold - len(out),
        ),
        gauge(
            "member_heights",
            "Certified models that the member's update is in.",
            {share.name: float(share.heights_in) for share in shares},
            "member",
        ),
        gauge(
            "member_last_height",
            "The last certified model that the member's update is in; 0 for none.",
            {share.name: float(share.last_height) for share in shares},
            "member",
        ),
    ]


def idle_warning(member: GroupMember) -> str:
    """Say that the newest model is the one before; empty if it is another."""
    idle = idle_heights(member.history)
    if not idle:
        return ""
    models = "model is" if idle == 1 else f"{idle} models are"
    return (
        f"the last {models} the one before: each part of the sum was out of range, which honest"
        " updates never are; somebody bends sums, and no message proves who"
    )


def newly_overdue(member: GroupMember) -> list[MemberShare]:
    """Return those whose rows have been in no model for just so long that they are to be named."""
    return [share for share in overdue(shares_of(member)) if share.out_for % HEIGHTS_OVERDUE == 0]


def shares_of(member: GroupMember) -> list[MemberShare]:
    """Return each member's part in the certified models, in the order of ranks."""
    return participation(member.history, member.causes)
