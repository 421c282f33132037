# mypy: disable-error-code="arg-type, attr-defined, index, union-attr"
"""Attacks by words that go with one manifest, where all others vote for another one.

Both owners of a chunk are honest, and each says truly that it holds the liar's words. They are of
no use for the sum, and nobody has others: so it is the liar that is to be found, not its owners.
"""

from typing import Any

import numpy as np
from session_driver import Rewrite
from test_audits import N
from test_disputes import session
from test_quorum_attacks import sent, signed

from p2pfl_crypto.transcripts import chunk_digest
from p2pfl_gossip.actions import Action, Send, SendBulk
from p2pfl_gossip.masked_sum.blame import verify_blame
from p2pfl_gossip.masked_sum.messages import ChunkHeader, Manifest
from p2pfl_gossip.records import replaced

LIAR = 6


def honest_chunk() -> tuple[int, tuple[int, ...]]:
    """A chunk that neither the liar nor the first leader owns, and its owners."""
    cohort, everybody = session().cohort, tuple(range(N))
    for chunk in range(cohort.chunk_count):
        owners = cohort.owners_of(chunk, everybody)
        if not {LIAR, cohort.leader(0)} & set(owners):
            return chunk, owners
    raise AssertionError


def other_words(*, is_signed: bool) -> Rewrite:
    """Give both owners of a chunk other words of it, with a manifest that fits; keep the true."""
    chunk, owners = honest_chunk()

    def rewrite(driver: Any, rank: int, action: Any) -> list[Action]:
        said: Any = action.header if isinstance(action, SendBulk) else sent(action)
        is_of_it = isinstance(said, ChunkHeader) and (said.member, said.chunk) == (rank, chunk)
        receiver = driver.cohort.rank_of(getattr(action, "receiver", b""))
        if is_of_it and receiver not in owners:
            return []
        if is_of_it:
            words = np.zeros(action.size_bytes // 4, np.uint32)
            header = replaced(said, digest=chunk_digest(said.tau2, rank, chunk, words))
            return [replaced(action, header=signed(driver, header), parts=(words,))]
        if isinstance(said, Manifest) and said.member == rank and receiver in owners:
            words = np.zeros(driver.cohort.body_bytes(chunk) // 4, np.uint32)
            digest = chunk_digest(said.tau2, rank, chunk, words)
            digests = said.chunk_digests
            changed = digests[: 32 * chunk] + digest + digests[32 * chunk + 32 :]
            other: Any = signed(driver, replaced(said, chunk_digests=changed))
            if not is_signed:
                other = replaced(other, signature=bytes(64))
            return [Send(action.receiver, other)]
        return [action]

    return rewrite


def test_words_of_another_manifest_name_who_signed_both() -> None:
    """Its owners have followed the others' before they see it, and know their own still."""
    _, owners = honest_chunk()
    driver = session(rewrite={LIAR: other_words(is_signed=True)}).run()
    for rank in owners:
        (blame,) = driver.machines[rank].blames
        assert (blame.member, blame.fault) == (driver.cohort.members[LIAR], "two_manifests")
        verify_blame(driver.cohort, blame)


def test_nobody_says_that_it_holds_words_whose_author_may_deny_them() -> None:
    _, owners = honest_chunk()
    driver = session(rewrite={LIAR: other_words(is_signed=False)}).run()
    for rank in range(N - 1):
        assert driver.machines[rank].outcome.members == tuple(range(N - 1))
    assert {*driver.disconnects} == {(rank, "bad_signature") for rank in owners}
    driver.check_exact()
