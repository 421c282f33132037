"""What `p2pfl peer check` has found, in words: a table's rows, problems with remedies, notes."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from p2pfl.daemon.links import CHECKED, NOT_YET, OTHER_GROUP, SECOND
from p2pfl.daemon.sentences import describe_reason
from p2pfl.daemon.view_messages import Seen, View
from p2pfl.daemon.views import OK, UNTRIED, HeardView, pairs_without_link
from p2pfl.group.cards import Member
from p2pfl_crypto.identity import PeerId

CLOCK_NOTED_S = 10.0
"""A clock that is further off makes logs hard to compare; deadlines go by nobody's clock."""

_SHORT_ID = 16


@dataclass(frozen=True)
class Check:
    """All that one check has gathered.

    Attributes:
        members: of the charter, in its order.
        index: our own place.
        own: what we see.
        heard: what each member has said that answered.
        silent: why a member that is connected has not answered.
        twice: members of whom we see two processes.
    """

    members: tuple[Member, ...]
    index: int
    own: View
    heard: Mapping[PeerId, HeardView]
    silent: Mapping[PeerId, str] = field(default_factory=dict)
    twice: frozenset[PeerId] = frozenset()

    def others(self) -> Iterator[tuple[Member, PeerId, Seen]]:
        """Yield each other member with what we see of it."""
        seen = {one.peer_id: one for one in self.own.seen}
        for place, member in enumerate(self.members):
            if place != self.index:
                blank = Seen(member.peer_id, NOT_YET, UNTRIED, None)
                yield member, PeerId(member.peer_id), seen.get(member.peer_id, blank)

    def name_of(self, peer: str) -> str:
        """Return what people call a member."""
        return next((it.name for it in self.members if it.peer_id == peer), peer)

    def dials_us(self, peer: PeerId) -> str:
        """Return how a member's dial of us went, as it says."""
        heard, ours = self.heard.get(peer), self.members[self.index].peer_id
        if heard is None:
            return UNTRIED
        return next((one.dial for one in heard.view.seen if one.peer_id == ours), UNTRIED)

    def views(self) -> dict[PeerId, View]:
        """Return all views of our group, our own first, in the order of the charter."""
        return {PeerId(self.members[self.index].peer_id): self.own} | {
            peer: self.heard[peer].view
            for _, peer, _ in self.others()
            if peer in self.heard and self.heard[peer].view.group == self.own.group
        }


def report(check: Check) -> dict[str, Any]:
    """Return a check's findings as JSON has them; `ok` is whether there is no problem."""
    problems, notes = list(_problems(check)), list(_notes(check))
    own = check.members[check.index]
    return {
        "name": own.name,
        "peer_id": own.peer_id,
        "group": check.own.group.hex(),
        "software": check.own.software,
        "protocol": check.own.protocol,
        "is_running": check.own.is_running,
        "ok": not problems,
        "problems": problems,
        "notes": notes,
        "members": [_member_row(check, *each) for each in check.others()],
        "pairs": [
            {"from": check.name_of(by), "to": check.name_of(one.peer_id)}
            | {"dial": one.dial, "link": one.link, "round_trip_ms": _ms(one.round_trip_us, 1e3)}
            for by, view in check.views().items()
            for one in view.seen
        ],
    }


def _member_row(check: Check, member: Member, peer: PeerId, seen: Seen) -> dict[str, Any]:
    heard = check.heard.get(peer)
    row: dict[str, Any] = {
        "name": member.name,
        "peer_id": member.peer_id,
        "dial": seen.dial,
        "dials_us": check.dials_us(peer),
        "link": seen.link,
        "round_trip_ms": _ms(seen.round_trip_us, 1e3),
        "is_heard": heard is not None,
    }
    if heard is None:
        return row
    if heard.round_trip_s is not None:
        row["round_trip_ms"] = _ms(heard.round_trip_s, 1e-3)
    return row | {
        "clock_ahead_ms": _ms(heard.clock_ahead_s, 1e-3),
        "software": heard.view.software,
        "protocol": heard.view.protocol,
        "group": heard.view.group.hex(),
        "is_running": heard.view.is_running,
    }


def _ms(value: float | None, unit: float) -> float | None:
    return None if value is None else round(value / unit, 3)


def _problems(check: Check) -> Iterator[str]:
    """Yield what keeps this peer or its group from working as it is, with the remedy."""
    for member, peer, seen in check.others():
        heard, name = check.heard.get(peer), member.name
        if peer in check.twice:
            yield f"{name} runs twice: its operator has to stop one of the two processes"
        if heard is None:
            yield _unheard(check, member, peer, seen)
            continue
        view = heard.view
        if view.is_second or seen.link == SECOND:
            yield (
                f"{name} is linked to another process that runs with this peer's key: stop one of"
                " the two; if you know of no other, the key is stolen: tell the group"
            )
        if view.group != check.own.group:
            yield (
                f"{name} has group {view.group.hex()[:_SHORT_ID]}, and we have"
                f" {check.own.group.hex()[:_SHORT_ID]}: compare charters (p2pfl charter show), and"
                " take the one that the group has agreed on"
            )
        if (view.software, view.protocol) != (check.own.software, check.own.protocol):
            yield (
                f"{name} runs p2pfl {view.software} ({view.protocol}), and we"
                f" {check.own.software} ({check.own.protocol}): install the same version"
            )
    ours = check.members[check.index].peer_id
    for pair in pairs_without_link(check.views()):
        if ours in (pair.one, pair.two):
            continue  # Told above.
        one, two = check.name_of(pair.one), check.name_of(pair.two)
        if all(reason in (CHECKED, NOT_YET) for _, reason in pair.said):
            continue  # One of them runs a check, too: nobody has found them apart.
        said = "; ".join(f"{check.name_of(by)} says: {describe_reason(it)}" for by, it in pair.said)
        yield (
            f"{one} and {two} have no link to each other ({said}): of the two, one has to be"
            " reachable from the other; open its port there, or correct its addresses"
        )


def _unheard(check: Check, member: Member, peer: PeerId, seen: Seen) -> str:
    name, where = member.name, ", ".join(member.addresses)
    why = check.silent.get(peer)
    if why == "older_version":
        return f"{name} runs a version of p2pfl that knows no checks: install the same version"
    if why is not None:
        return f"{name} is connected, and has not answered in time: look at its host and its log"
    if seen.dial == OK and seen.link == OTHER_GROUP:
        return f"{name} is another group's: compare charters (p2pfl charter show)"
    if seen.dial == OK:
        return (
            f"{name} answers at its address and turns us away: its charter does not name this peer,"
            " or names other members; compare group ids (p2pfl charter show)"
        )
    if seen.dial == "wrong_peer_id":
        return (
            f"somebody else answers at {where}, the address of {name}: have {name} give out a card"
            " with the right one (p2pfl peer card)"
        )
    if seen.dial == "out_of_descriptors":
        return f"{name} was not dialled: this host has no file descriptor left; raise the limit"
    return (
        f"{name} cannot be reached at {where} ({describe_reason(seen.dial)}), and has not dialled"
        " us: start its peer, or p2pfl peer check there; if it runs, open its port, or correct its"
        " addresses"
    )


def _notes(check: Check) -> Iterator[str]:
    """Yield what works, and is worth a look."""
    tried = [check.dials_us(peer) for peer in check.heard]
    failed = [outcome for outcome in tried if outcome not in (OK, UNTRIED)]
    own = check.members[check.index]
    if failed and OK not in tried:
        yield (
            f"nobody who answers can dial this peer at {', '.join(own.addresses)}"
            f" ({describe_reason(failed[0])}): links that it makes itself work; open the port, or"
            " correct addresses in peer.toml and hand out the card (p2pfl peer card)"
        )
    for member, peer, seen in check.others():
        heard = check.heard.get(peer)
        if heard is None:
            continue
        if seen.dial not in (OK, UNTRIED):
            yield (
                f"{member.name} cannot be dialled at {', '.join(member.addresses)}"
                f" ({describe_reason(seen.dial)}), and has dialled us: links work, as long as it"
                " does"
            )
        if abs(heard.clock_ahead_s) > CLOCK_NOTED_S:
            way = "ahead of" if heard.clock_ahead_s > 0 else "behind"
            yield (
                f"the clock of {member.name} is {abs(heard.clock_ahead_s):.0f} s {way} ours: no"
                " deadline goes by it, but logs are hard to compare"
            )
        if seen.link == CHECKED:
            yield f"{member.name} does not run yet: p2pfl peer check runs there"
