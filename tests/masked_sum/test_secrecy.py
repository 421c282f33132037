"""What the masks hide, and the control: who holds both secrets of a member decodes its vector."""

import numpy as np
import numpy.typing as npt
import pytest
from session_driver import PATIENCE, SessionDriver, make_cohort

from p2pfl_crypto.key_agreement import agree, agreement_secret_of
from p2pfl_crypto.masks import Mask, add_masks
from p2pfl_crypto.shamir import Rebuilder
from p2pfl_crypto.transcripts import pair_key, pair_mask_key, self_mask_key
from p2pfl_gossip.actions import CancelTimer, CancelWork
from p2pfl_gossip.masked_sum.messages import Fetch, Wanted

VICTIM = 3
ENTRIES = 40_000


@pytest.fixture(scope="module")
def driver() -> SessionDriver:
    cohort, people = make_cohort(8, ENTRIES)
    # A vector that nobody would take for noise.
    vectors = [np.full(ENTRIES, 0.5, np.float32) for _ in range(8)]
    session = SessionDriver(cohort, people, 1, vectors=vectors, weights=[50.0] * 8)
    return session.run(until_s=PATIENCE.session_s / 2)


def secrets_of_victim(driver: SessionDriver) -> tuple[bytes, bytes]:
    """Rebuild b and s of the victim from all members' shares, which no honest cohort reveals."""
    shares = {
        rank + 1: machine._sharing.shares[VICTIM] for rank, machine in driver.machines.items()
    }
    rebuilder = Rebuilder.of(sorted(shares), driver.cohort.threshold)
    seed = rebuilder.rebuild({x: share[:32] for x, share in shares.items()})
    return seed, rebuilder.rebuild({x: share[32:] for x, share in shares.items()})


def masks_of_victim(driver: SessionDriver) -> tuple[list[Mask], list[Mask]]:
    """The self mask and the pair masks, from the two secrets alone."""
    seed, scalar = secrets_of_victim(driver)
    machine = driver.machines[VICTIM]
    tau1, tau2 = machine._advertising.tau1, machine._agreement.tau2
    pairs = []
    for other, advert in machine._advertising.adverts.items():
        if other != VICTIM:
            shared = agree(agreement_secret_of(scalar), advert.mask_key)
            sign = 1 if other > VICTIM else -1
            key = pair_mask_key(pair_key(shared, tau1, VICTIM, other), tau2, VICTIM, other)
            pairs.append(Mask(key, sign))  # type: ignore[arg-type]
    return [Mask(self_mask_key(seed, tau2, VICTIM))], pairs


def masked_chunk(driver: SessionDriver) -> npt.NDArray[np.uint32]:
    """What the victim sent of its first chunk."""
    return np.frombuffer(driver.bodies[VICTIM, 0][0], "<u4").copy()


def looks_uniform(body: npt.NDArray[np.uint32]) -> bool:
    """Chi-squared over 256 values of each byte, at a level of about 1e-6 in all."""
    counts = np.bincount(body.view(np.uint8), minlength=256)
    expected = len(body) * 4 / 256
    statistic = ((counts - expected) ** 2 / expected).sum()
    return bool(statistic < 255 + 5 * np.sqrt(2 * 255))


def test_with_both_secrets_the_vector_is_decoded(driver: SessionDriver) -> None:
    own, pairs = masks_of_victim(driver)
    body = masked_chunk(driver)
    add_masks(body, [mask.negated() for mask in own + pairs], 0)
    encoding = driver.cohort.encoding
    weight = encoding.encode_weight(50.0)
    assert body[-1] == weight
    decoded = encoding.decode(body[:-1], weight)
    assert np.abs(decoded - 0.5).max() < 1e-6
    assert not looks_uniform(body)


@pytest.mark.parametrize("known", ["nothing", "the seed", "the scalar"])
def test_with_one_secret_or_none_it_looks_uniform(driver: SessionDriver, known: str) -> None:
    own, pairs = masks_of_victim(driver)
    body = masked_chunk(driver)
    if known != "nothing":
        masks = own if known == "the seed" else pairs
        add_masks(body, [mask.negated() for mask in masks], 0)
    assert looks_uniform(body)


def test_all_pair_masks_but_one_hide_as_well_as_all(driver: SessionDriver) -> None:
    # A coalition of all members but one other knows the seed's reveal and its own pair masks.
    own, pairs = masks_of_victim(driver)
    body = masked_chunk(driver)
    add_masks(body, [mask.negated() for mask in own + pairs[:-1]], 0)
    assert looks_uniform(body)


def test_chunks_have_masks_of_their_own(driver: SessionDriver) -> None:
    own, pairs = masks_of_victim(driver)
    body = masked_chunk(driver)
    add_masks(body, [mask.negated() for mask in own + pairs], 1)
    assert looks_uniform(body)


def test_what_jobs_and_secrets_show_holds_no_secret(driver: SessionDriver) -> None:
    for job in driver.masked.values():
        assert repr(job) == "MaskChunk(...)"
    assert repr(driver.machines[0]._advertising.secrets) == "Secrets(...)"


def test_keys_and_shares_are_dropped_when_the_session_is_over() -> None:
    cohort, people = make_cohort(5, 10)
    ended = SessionDriver(cohort, people, 1).run()
    assert len(ended.check_exact()) == 5
    said = len(ended.said)
    for rank, machine in ended.machines.items():
        secrets = machine._advertising.secrets
        assert {secrets.seed, secrets.mask_scalar, secrets.share_scalar} == {bytes(32)}
        assert machine._sharing.shares == {}
        assert machine._sharing.dealt is None
        asker = (rank + 1) % 5
        ended.deliver(asker, rank, Fetch(cohort.session, Wanted.REVEAL))
    ended.run_rest()
    assert len(ended.said) == said


@pytest.mark.parametrize("until_s", [0.3, 0.6, 0.9, 5.0])
def test_an_abandoned_session_waits_for_nothing_and_says_nothing(until_s: float) -> None:
    cohort, people = make_cohort(5, 10)
    driver = SessionDriver(cohort, people, 1).run(until_s=until_s)
    machine = driver.machines[2]
    had = machine.outcome
    actions = machine.abandon(until_s)
    assert all(isinstance(action, CancelWork | CancelTimer) for action in actions)
    assert machine.outcome is not None
    assert had is None or machine.outcome is had
    assert machine._core._desk.open == ()
    said = [rank for rank, _ in driver.said].count(2)
    driver.cancelled |= {
        (2, action.ticket): None for action in actions if isinstance(action, CancelWork)
    }
    driver.run_rest()
    assert [rank for rank, _ in driver.said].count(2) == said
    assert len(driver.check_exact()) >= 4
