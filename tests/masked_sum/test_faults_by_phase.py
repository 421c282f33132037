"""A few seeds of each cell (phase, fault) of the sweep, and input that is none of the protocol."""

from random import Random

import pytest
from sampled import sampled
from session_driver import CODEC, SessionDriver, make_cohort
from session_faults import FAULTS, PHASES, draw, outcome_of

from p2pfl_gossip.actions import RemoteProtocolError
from p2pfl_gossip.masked_sum.messages import ChunkHeader, SumHeader
from p2pfl_gossip.masked_sum.phases import TRANSITIONS, WINDOWS, Phase
from p2pfl_gossip.records import MalformedFrame

CELLS = len(PHASES) * len(FAULTS)
SINGLE = ("one crash", "crash and restart", "leader crashes", "twice", "flipped bits")


# All phases and faults are in the sample, not all pairs.
@pytest.mark.parametrize("seed", sampled(range(CELLS), every=7))
def test_each_fault_in_each_phase_breaks_nothing(seed: int) -> None:
    phase, fault, driver = draw(seed)
    outcome = outcome_of(driver.run())
    if fault in SINGLE:
        assert outcome == "exact", (phase, fault, seed)
    if fault == "n - t + 1 crashes" and phase <= Phase.CHUNK:
        assert outcome == "aborted", (phase, fault, seed)


def test_a_session_leaves_the_same_trace_for_the_same_seed() -> None:
    first, second = (draw(77)[2].run() for _ in range(2))
    assert [CODEC.encode(m) for _, m in first.said] == [CODEC.encode(m) for _, m in second.said]


def test_cut_long_and_random_frames_are_malformed_or_messages() -> None:
    cohort, people = make_cohort(5, 20)
    driver = SessionDriver(cohort, people, 1).run()
    random = Random(1)
    decoded = 0
    for _, message in driver.said[::7]:
        frame = CODEC.encode(message)
        assert CODEC.decode_untrusted(frame) == message
        for changed in (
            frame[: random.randrange(len(frame))],
            frame + b"\0",
            random.randbytes(len(frame)),
            frame[:2] + random.randbytes(len(frame) - 2),
            frame + bytes(64 * 1024),
        ):
            try:
                CODEC.decode_untrusted(changed)
                decoded += 1
            except MalformedFrame:
                continue
    assert decoded < len(driver.said) / 7


def test_no_message_in_any_phase_does_more_than_be_refused() -> None:
    # Each message of a whole session, given to members that stand in each phase.
    cohort, people = make_cohort(5, 20)
    whole = SessionDriver(cohort, people, 1).run()
    messages = [(rank, m) for rank, m in whole.said if not isinstance(m, ChunkHeader | SumHeader)]
    for until_s in (0.25, 0.35, 0.5, 0.7, 0.9, 1.1, 1.3, 3.0):
        driver = SessionDriver(cohort, people, 2).run(until_s=until_s)
        for rank, message in messages[::5]:
            machine = driver.machines[(rank + 1) % 5]
            phase = machine.phase
            try:
                machine.on_message(driver.now_s, cohort.members[rank], message)
            except RemoteProtocolError:
                assert machine.phase == phase
            assert machine.phase in (phase, *TRANSITIONS[phase], Phase.REVEAL)


def test_tables_name_every_phase_and_go_forward_only() -> None:
    assert list(TRANSITIONS) == list(Phase)
    assert all(after > before for before, afters in TRANSITIONS.items() for after in afters)
    assert all(first <= last for first, last in WINDOWS.values())
