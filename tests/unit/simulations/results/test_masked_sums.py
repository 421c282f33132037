# mypy: disable-error-code="arg-type"
"""What members report of their masked sums, counted by cohort; and what the jobs cost."""

import math

import numpy as np

from p2pfl_crypto.encoding import Encoding
from p2pfl_crypto.masks import Mask
from p2pfl_gossip.events import MaskedSumEnded, MemberBlamed
from p2pfl_gossip.learning import Train
from p2pfl_gossip.ledger.states import DigestChunks, DigestState
from p2pfl_gossip.masked_sum.audit_jobs import AuditedSum, CheckProofs, ShownBy, SketchRound
from p2pfl_gossip.masked_sum.jobs import DecodeSum, MaskChunk
from p2pfl_gossip.wire import MESSAGES
from p2pfl_simulations.costs import (
    CHECKED_POINTS,
    DECODE_MASKS,
    DIGEST_MASKS,
    ENCODE_MASKS,
    POINT_AGREEMENTS,
    SKETCH_MASKS,
    protocol_job_s,
)
from p2pfl_simulations.results.masked_sums import PHASES, MaskedSumTally
from p2pfl_simulations.world_settings import MaskingCosts


def ended(session: bytes, result: str, contributors: int = 0, **more: int) -> MaskedSumEnded:
    counted = {"kept": 0, "clipped": 0, **more}
    return MaskedSumEnded(
        round=session[0],
        session=session,
        result=result,
        members=6,
        contributors=contributors,
        is_weight_capped=bool(more),
        **counted,
    )


def test_members_words_are_counted_by_cohort() -> None:
    tally = MaskedSumTally()
    whole, recovered, aborted = b"\0a", b"\0b", b"\1c"
    for _ in range(6):
        tally.add(ended(whole, "summed", 6), whole[0])
    for _ in range(5):
        tally.add(ended(recovered, "summed", 5, clipped=2, kept=1), recovered[0])
    tally.add(ended(recovered, "aborted: left_out"), recovered[0])
    for reason in ("too_few", "no_agreement", "too_few"):
        tally.add(ended(aborted, f"aborted: {reason}"), aborted[0])
    for _ in range(3):  # Three members name the same one.
        tally.blame(MemberBlamed(0, recovered, "peer", "two_votes"))
    sums = tally.total({"Ack": 10, "Proposal": 5, "Advert": 7, "ModelHeader": 99})
    assert (sums.formed, sums.summed, sums.recovered) == (3, 2, 1)
    assert (sums.aborted, sums.left) == ({"too_few": 1}, {"left_out": 1})
    assert sums.blamed == {"two_votes": 1}
    assert (sums.kept_chunks, sums.clipped_entries, sums.weights_capped) == (5, 10, 5)
    assert sums.bytes_by_phase["agree"] == 15
    assert sum(sums.bytes_by_phase.values()) == 22
    of_round = tally.of_round(0)
    assert (of_round.summed, of_round.recovered, of_round.aborted) == (2, 1, 0)
    assert tally.of_round(1).aborted == 1


def test_every_message_of_a_masked_sum_is_of_one_phase() -> None:
    listed = [kind for kinds in PHASES.values() for kind in kinds]
    assert len(listed) == len(set(listed))
    tags = {kind: kind.__struct_config__.tag for kind in MESSAGES.__args__}
    # 64 to 127 are of masked sums, 140 to 199 of ledgers and their models.
    assert set(listed) == {
        kind for kind, tag in tags.items() if 64 <= tag < 128 or 140 <= tag < 200
    }


def test_jobs_take_time_by_their_size() -> None:
    costs = MaskingCosts(entry_s=1.0, agreement_s=0, share_s=0, signature_s=0)
    encoding = Encoding(5, 8.0, 1.0)
    entries = np.zeros(10, np.float32)

    def mask(count: int) -> float | None:
        masks = (Mask(bytes(32)),) * count
        job = MaskChunk(encoding, entries, 1.0, bytes(32), masks, bytes(32), 0, 0)
        return protocol_job_s(job, costs)

    assert mask(3) == 10 * (3 + ENCODE_MASKS + DIGEST_MASKS)
    assert mask(5) == 10 * (5 + ENCODE_MASKS + DIGEST_MASKS)
    decode = DecodeSum(encoding, 5, np.zeros(11, np.uint32))
    assert protocol_job_s(decode, costs) == 11 * DECODE_MASKS
    assert protocol_job_s(DigestState("model", entries), costs) == 10 * DIGEST_MASKS
    chunks = DigestChunks((np.zeros(40, np.uint8), np.zeros(8, np.uint8)))
    assert protocol_job_s(chunks, costs) == 12 * DIGEST_MASKS
    assert protocol_job_s(Train(0, entries, ""), costs) is None


def test_an_audit_takes_time_by_its_points_and_entries() -> None:
    costs = MaskingCosts(entry_s=1.0, agreement_s=100.0, share_s=0, signature_s=0)
    audited = AuditedSum(b"", b"", b"")
    totals = ((0, np.zeros(10, np.uint32)),)
    assert protocol_job_s(SketchRound(audited, b"", totals, None), costs) == 10 * SKETCH_MASKS
    one, two = (
        protocol_job_s(
            CheckProofs(audited, b"", (ShownBy(0, b"", b"", 1),) * count, (), b""), costs
        )
        for count in (1, 2)
    )
    assert one is not None
    assert two is not None
    assert math.isclose(two - one, CHECKED_POINTS * POINT_AGREEMENTS * 100.0)
