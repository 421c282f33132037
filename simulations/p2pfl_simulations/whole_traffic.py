"""What the members of a masked session send each other where nothing goes wrong in it.

Counted message by message, each of its own size, as the machines of `masked_sum` would send them.
"""

from p2pfl_crypto.sealing import NONCE_BYTES, TAG_BYTES
from p2pfl_gossip import wire
from p2pfl_gossip.masked_sum import messages as say
from p2pfl_gossip.masked_sum.cohort import SessionMembers
from p2pfl_gossip.records import Message
from p2pfl_simulations.whole_times import leader_of

Traffic = dict[type[Message], tuple[int, int]]
"""By type: how many messages, and their bytes with those of their bodies."""

DIGEST, SIGNATURE = bytes(32), bytes(64)


def traffic_of(
    cohort: SessionMembers, dealers: tuple[int, ...], members: tuple[int, ...], turn: int
) -> dict[int, Traffic]:
    """Return what each of U1 sends.

    Args:
        cohort: of the session.
        dealers: U1; so U2 as well.
        members: U3.
        turn: of the leader.
    """
    sent: dict[int, Traffic] = {rank: {} for rank in dealers}
    leader = leader_of(cohort, dealers, turn)
    owners = {chunk: cohort.owners_of(chunk, dealers) for chunk in range(cohort.chunk_count)}
    named = sorted({rank for of_chunk in owners.values() for rank in of_chunk})
    listed, summed = cohort.pack(dealers), cohort.pack(members)
    others, count = cohort.size - 1, cohort.chunk_count
    name, hashes = cohort.session, DIGEST * len(dealers)

    def add(rank: int, message: Message, copies: int, body_bytes: int = 0) -> None:
        of_rank, kind = sent[rank], type(message)
        frames, size_bytes = of_rank.get(kind, (0, 0))
        size_bytes += copies * (len(wire.encode(message)) + body_bytes)
        of_rank[kind] = (frames + copies, size_bytes)

    turn_of = {cohort.leader(it): it for it in reversed(range(cohort.leader_turns_max))}[leader]
    proposal = say.Proposal(name, turn_of, DIGEST, listed, hashes, SIGNATURE)
    add(leader, proposal, others)
    digests = DIGEST * len(members)
    ballot = say.Ballot(name, turn_of, DIGEST, summed, bytes(count), digests, SIGNATURE)
    add(leader, ballot, others)
    shares = bytes(64 + TAG_BYTES)
    for rank in dealers:
        header = say.Header(name, DIGEST, rank, DIGEST, 2 * hashes, b"", SIGNATURE)
        add(rank, say.Share(name, header, bytes(NONCE_BYTES), shares), len(dealers) - 1)
        if rank != leader:
            add(rank, say.Held(name, DIGEST, listed), 1)
        add(rank, say.Ack(name, rank, DIGEST, SIGNATURE), others)
        add(rank, say.Vote(name, rank, DIGEST, SIGNATURE), others)
        add(rank, say.Reveal(name, DIGEST, hashes), len(named) - (rank in named))
        owned = cohort.owned_by(rank, dealers)
        if owned:
            bitmaps = bytes(cohort.bitmap_bytes * len(owned))
            add(rank, say.Receipt(name, DIGEST, rank, bitmaps, SIGNATURE), others)
        for chunk in owned:
            body_bytes = cohort.body_bytes(chunk)
            if owners[chunk][0] == rank:
                header_of_sum = say.SumHeader(name, DIGEST, rank, chunk, DIGEST, SIGNATURE)
                add(rank, header_of_sum, others, body_bytes)
            else:
                add(rank, say.SumDigest(name, DIGEST, rank, chunk, DIGEST, SIGNATURE), others)
    for rank in members:
        add(rank, say.Manifest(name, DIGEST, rank, DIGEST * count, SIGNATURE), others)
        for chunk, of_chunk in owners.items():
            of_body = say.ChunkHeader(name, DIGEST, rank, chunk, DIGEST, SIGNATURE)
            copies = len(of_chunk) - (rank in of_chunk)
            add(rank, of_body, copies, cohort.body_bytes(chunk))
    return sent
