# mypy: disable-error-code="arg-type, attr-defined, index, union-attr"
"""An attack by the sum of all coins, told to a member that was told another sum of a chunk.

The coin says nothing of which sums t members have signed. Were it to settle that, the member would
take each honest one for a liar, and they would take it for one.
"""

from typing import Any

import msgspec
from session_driver import Rewrite
from test_audits import N, sum_of_chunk
from test_disputes import session

from p2pfl_crypto.transcripts import sum_digest
from p2pfl_gossip.actions import Action, Send
from p2pfl_gossip.masked_sum.messages import AuditProof, CoinSum


def two_faced(owners: tuple[int, ...], victim: int) -> Rewrite:
    """Tell one member another sum, and that coin in place of one's proof."""

    def rewrite(driver: Any, rank: int, action: Action) -> list[Action]:
        receiver = getattr(action, "receiver", None)
        if receiver is None or driver.cohort.rank_of(receiver) != victim:
            return [action]
        if isinstance(action, Send) and isinstance(action.message, AuditProof):
            sums = driver.machines[victim]._auditing._tossing.audited.sums
            coin = driver.machines[rank]._auditing._tossing._coin_sum
            return [Send(receiver, CoinSum(action.message.session, sums, coin))]
        said = sum_of_chunk(action, 0)
        if said is None:
            return [action]
        found = (driver.machines[owner]._summing._own.get(0) for owner in owners)
        body = next(own for own in found if own is not None).body.copy()
        body[0] += 1
        digest = sum_digest(said.ballot, 0, body.tobytes())
        signature = driver.speaking.sign(b"sum", said.ballot, bytes(8), digest)
        false = msgspec.structs.replace(said, digest=digest, signature=signature)
        if isinstance(action, Send):
            return [Send(receiver, false)]
        return [msgspec.structs.replace(action, header=false, parts=(body,))]

    return rewrite


def test_the_sum_of_all_coins_settles_no_sums() -> None:
    owners = session().epoch_cohort.owners_of(0, tuple(range(N)))
    honest = [rank for rank in range(N) if rank not in owners]
    victim = honest[0]
    driver = session(rewrite=dict.fromkeys(owners, two_faced(owners, victim))).run()
    assert not driver.summed()
    for rank in honest:
        blames = {blame.member: blame.fault for blame in driver.machines[rank].blames}
        assert blames == {driver.cohort.members[owner]: "two_sums" for owner in owners}
    assert not [it for it in driver.refusals if it[0] in honest and it[1] in honest]
    assert not [
        proof for rank, proof in driver.said if rank == victim and isinstance(proof, AuditProof)
    ]


def test_who_asked_before_all_was_known_is_told_once_more() -> None:
    driver = session().run()
    tossing: Any = driver.machines[0]._auditing._tossing
    tossing._is_fixed, tossing._told_seen = False, {1: 2}
    tossing._coins.clear()
    tossing._core.begin(0.0)
    tossing._tell_seen(1)
    assert len(tossing._core.actions) == 1  # Its own alone.
    tossing._toss_if_seen()
    tossing._core.begin(0.0)
    tossing._tell_seen(1)
    assert len(tossing._core.actions) == len(tossing._seen) >= driver.cohort.threshold
