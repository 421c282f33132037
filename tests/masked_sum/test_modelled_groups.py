"""A group's session without cryptography gives the sums of the real one, word for word."""

import pytest
from group_driver import GroupDriver, make_epoch
from sampled import sampled
from session_driver import SessionDriver
from test_group_sessions import draw_drops

from p2pfl_gossip.actions import Job
from p2pfl_gossip.masked_sum.group_sum import GroupSum
from p2pfl_gossip.masked_sum.jobs import MaskChunk
from p2pfl_gossip.records import Record
from p2pfl_simulations.masking import SimulatedGroupSum
from p2pfl_simulations.modelled import ModelledGroupSum, perform_modelled


class Checked(GroupDriver):
    """Each signature is checked once for all members."""

    machine_type: type[GroupSum] = SimulatedGroupSum


class Modelled(GroupDriver):
    """Without keys, shares, seals, signatures, digests and masks."""

    machine_type: type[GroupSum] = ModelledGroupSum

    def do(self, rank: int, job: Job) -> Record:
        if isinstance(job, MaskChunk):
            self.masked.setdefault((rank, job.chunk), job)
        return perform_modelled(job)


def said(driver: SessionDriver) -> list[tuple[int, str]]:
    return [(rank, type(message).__name__) for rank, message in driver.said]


@pytest.mark.parametrize("seed", sampled([0, 3, 5, 7], every=2))
@pytest.mark.parametrize("driver_type", [Modelled, Checked])
def test_what_is_said_and_summed_is_that_of_the_real_session(
    seed: int, driver_type: type[GroupDriver]
) -> None:
    require_alike(draw_drops(seed, 10).run(), draw_drops(seed, 10, driver_type).run())


def test_an_audit_is_that_of_the_real_session() -> None:
    cohort, people = make_epoch(7, 40, audit=True, weights=(1.0,) * 7)
    real, modelled = (kind(cohort, people, 3).run((4,)) for kind in (GroupDriver, Modelled))
    require_alike(real, modelled)
    assert len(real.check_exact()) == 6


def require_alike(real: GroupDriver, modelled: GroupDriver) -> None:
    assert said(real) == said(modelled)
    assert real.sent_bytes == modelled.sent_bytes
    assert real.now_s == modelled.now_s
    assert real.dead == modelled.dead
    sums, others = real.check_exact(), modelled.check_exact()
    assert sums.keys() == others.keys()
    for rank, outcome in sums.items():
        other = others[rank]
        assert outcome.members == other.members
        for one, two in zip(outcome.chunks, other.chunks, strict=True):
            assert (one is None) == (two is None)
            assert one is None or one.body.tobytes() == two.body.tobytes()
        assert real.model_of(outcome).tobytes() == modelled.model_of(other).tobytes()
