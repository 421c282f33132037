"""Exclusion: who is out, as a function of a list, the same for all.

Members name in their adverts what they hold proofs of. What m + 1 of the listed adverts name,
somebody honest holds, who checked it and gives it; and a signer still sees a proof with its own
eyes before it signs. Named is counted by member, so two members need not hold the same proof.
"""

from collections.abc import Container, Mapping

from p2pfl_gossip.ledger.charter import Epoch
from p2pfl_gossip.ledger.entries import Entry, Strike, out_of
from p2pfl_gossip.ledger.messages import GroupAdvert


def named_by(epoch: Epoch, base: Entry, adverts: Mapping[int, GroupAdvert]) -> list[int]:
    """Return whom at least m + 1 of the listed adverts name, and who is not out yet; ascending.

    One of them is honest: it holds a proof, and has checked it.
    """
    counts: dict[int, int] = {}
    for advert in adverts.values():
        for named in advert.named:
            counts[named.member] = counts.get(named.member, 0) + 1
    out = out_of(epoch, base)
    return sorted(
        member for member, count in counts.items() if count > epoch.liars_max and member not in out
    )


def without_named(
    epoch: Epoch, base: Entry, adverts: Mapping[int, GroupAdvert]
) -> dict[int, GroupAdvert]:
    """Return the adverts of which no author is named by at least m + 1 of them.

    Whoever is in a sum can make it void. So a member that is named must be in no list, not even in
    that whose entry puts it out: no such entry would ever be certified.
    """
    kept = dict(adverts)
    while named := [member for member in named_by(epoch, base, kept) if member in kept]:
        for member in named:
            del kept[member]
    return kept


def out_after(
    epoch: Epoch, base: Entry, adverts: Mapping[int, GroupAdvert], proven: Container[int]
) -> frozenset[int] | None:
    """Return who is out by the entry of a list: those of its base, and who is named and proven.

    Args:
        epoch: the epoch.
        base: the entry that all listed adverts name.
        adverts: the listed ones.
        proven: members against whom a proof is here.

    Returns:
        A function of the list; None while a proof that is named is not here yet.
    """
    named = named_by(epoch, base, adverts)
    if any(member not in proven for member in named):
        return None
    return out_of(epoch, base).union(named)


def strikes_after(epoch: Epoch, base: Entry) -> tuple[Strike, ...]:
    """Return the strikes by the entry of a list: those of its base, within an epoch.

    What two messages prove is no strike but a lie, for which a member is out at once. Nothing gives
    strikes yet.
    """
    return base.strikes if base.epoch == epoch.number else ()
