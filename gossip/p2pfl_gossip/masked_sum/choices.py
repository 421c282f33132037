"""What a leader may choose: whose absence costs least, and what of an earlier leader to repeat.

And who is missed, where too few members backed one thing.
"""

from collections.abc import Callable, Collection, Iterable, Mapping, Sized
from typing import TypeVar

Candidate = TypeVar("Candidate")


def cover(
    missing: Iterable[tuple[int, int]],
    may_drop_holder: Callable[[int, list[int]], bool],
    *,
    is_holder_cheaper: bool,
) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Drop holders and givers until no holder that is left misses a giver that is left.

    The greedy vertex cover of the pairs: whoever misses the most, or is missed by the most, goes
    first.

    Args:
        missing: pairs (holder, giver): the holder lacks what the giver should have sent.
        may_drop_holder: whether the sum survives without a holder, given those dropped before.
        is_holder_cheaper: of a holder and a giver that are as bad, the holder goes.

    Returns:
        The dropped holders and the dropped givers, ascending.
    """
    pairs = sorted(dict.fromkeys(missing))
    holders: list[int] = []
    givers: list[int] = []
    while pairs:
        by_holder: dict[int, int] = {}
        by_giver: dict[int, int] = {}
        for holder, giver in pairs:
            by_holder[holder] = by_holder.get(holder, 0) + 1
            by_giver[giver] = by_giver.get(giver, 0) + 1
        giver = max(by_giver, key=lambda rank: (by_giver[rank], -rank))
        droppable = [rank for rank in by_holder if may_drop_holder(rank, holders)]
        # Who is out as a giver costs less as a holder: of two that miss each other, one stays.
        holder = max(
            droppable, key=lambda rank: (by_holder[rank], rank in givers, -rank), default=-1
        )
        excess = by_holder[holder] - by_giver[giver] if holder >= 0 else -1
        if excess > 0 or (excess == 0 and (is_holder_cheaper or holder in givers)):
            holders.append(holder)
            pairs = [pair for pair in pairs if pair[0] != holder]
        else:
            givers.append(giver)
            pairs = [pair for pair in pairs if pair[1] != giver]
    return tuple(sorted(holders)), tuple(sorted(givers))


def most_backed(
    candidates: Mapping[bytes, Candidate],
    backers: Mapping[bytes, Sized],
    liars_max: int,
    is_sound: Callable[[Candidate], bool],
) -> Candidate | None:
    """Choose what the next leader repeats: a proposal that was acknowledged, a ballot voted for.

    One of a liar, or of a dead leader, may rest on what nobody else holds: another one is better
    than none. A member backs one only, once, so two never get enough.

    Args:
        candidates: by digest.
        backers: those who acknowledged, or voted for, each; by digest.
        liars_max: m; where more back it, an honest member could check it.
        is_sound: whether we can check it ourselves.

    Returns:
        The one with most backers of those that we, or an honest member, could check, the first of
        equals; None if there is none.
    """
    counts = {digest: len(backers.get(digest, ())) for digest in candidates}
    sound = [
        digest
        for digest, candidate in candidates.items()
        if counts[digest] > liars_max or is_sound(candidate)
    ]
    return candidates[max(sound, key=counts.__getitem__)] if sound else None


def backed_most(backers: Mapping[bytes, Collection[int]]) -> bytes:
    """Return the digest that most members back, of several the first; empty if there is none."""
    return max(backers, key=lambda digest: len(backers[digest]), default=b"")


def not_backing(
    listed: Iterable[int],
    backers: Mapping[bytes, Collection[int]],
    liars_max: int,
    rank: int,
    *,
    in_time: bool,
) -> tuple[int, ...]:
    """Return who did not back what most members back, where that is not enough.

    Nobody, unless more than m members back it: one of these is honest, so others could as well.
    Nobody either, if we back something else ourselves: then a leader said two things. Who backs
    what hardly anybody backs is missed like one that is silent, or liars would do so; but only if
    we backed it while there was time for all to hear of it from us. Else its leader may have shown
    it to few of us, just before the next one's turn, and the others follow that one.

    Args:
        listed: of whom it takes t.
        backers: those who acknowledged, or voted for, each; by digest.
        liars_max: m.
        rank: our own.
        in_time: whether we backed it well before the end of its turn.
    """
    most = backers.get(backed_most(backers), ())
    backs_other = any(rank in ranks for ranks in backers.values()) and rank not in most
    if len(most) <= liars_max or backs_other:
        return ()
    spoke = () if in_time else tuple(it for ranks in backers.values() for it in ranks)
    return tuple(it for it in listed if it not in most and it not in spoke and it != rank)
