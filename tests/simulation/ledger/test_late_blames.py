"""What is found out after a sum has ended is evidence as well."""

import numpy as np
import pytest
from ledger_world import LedgerWorld, identity_of

from p2pfl_crypto.shamir import entropy_bytes_for, share_secrets
from p2pfl_crypto.statements import sign_statement
from p2pfl_crypto.transcripts import share_digest
from p2pfl_gossip.ledger.charter import AUDIT_NAME
from p2pfl_gossip.masked_sum.messages import FalseShares, Header, ShareKind
from p2pfl_gossip.masked_sum.phases import Phase
from p2pfl_gossip.records import replaced

N, LIAR, OTHER = 7, 3, 1


def false_scalar(session: bytes) -> FalseShares:
    """Five shares of a scalar that is not the one of the key that the liar advertised."""
    tau1 = bytes(32)
    (shares,) = share_secrets([bytes(31) + b"\x01"], 5, range(1, 8), bytes(entropy_bytes_for(5)))
    digests = b"".join(
        share_digest(tau1, b"s", LIAR, rank, share) for rank, share in enumerate(shares)
    )
    named = bytes(7 * 32) + digests + bytes(7 * 32)
    header = Header(session, tau1, LIAR, bytes(64), named, b"", bytes(64))
    statement = (session, header.digest())
    signature = sign_statement(identity_of(LIAR), b"header", LIAR, *statement)
    header = replaced(header, signature=signature)
    return FalseShares(header, ShareKind.SCALAR, b"\x7f", b"\x1f", b"".join(shares[:5]))


def test_a_false_scalar_that_is_found_after_the_sum_names_its_dealer() -> None:
    """Its evidence takes the key of the list, which the round's end was told with alone."""
    world = LedgerWorld(N, rounds=3, audit=AUDIT_NAME)
    world.start()
    found: list[int] = []

    def find() -> None:
        parts = world.member(0)._started.parts
        session = parts.sessions._sessions[parts.course.round - 1]
        assert session.machine.phase == Phase.DONE
        assert session.is_told
        said = false_scalar(session.cohort.session)
        session.machine._core.blame(LIAR, "bad_dealing", said)
        found.append(parts.course.round)

    def is_named() -> bool:
        return world.member(0)._started.parts.evidence.holds(LIAR)

    world.run(600.0, at=[(12.0, find)])
    assert found
    assert is_named()
    assert all(np.isfinite(model).all() for model in world.models())


# Silence that was none


def levels_after(at_s: float, *, names_somebody: bool, of: int) -> dict[int, int]:
    """Note that one was silent in a round, counted from the present one; how often that was."""
    world = LedgerWorld(N, rounds=3, audit=AUDIT_NAME)
    world.start()

    def note() -> None:
        parts = world.member(0)._started.parts
        round_ = parts.course.round
        parts.backoff.on_absent(round_ + of, OTHER)
        if names_somebody:
            session = parts.sessions._sessions[round_ - 1]
            said = false_scalar(session.cohort.session)
            session.machine._core.blame(LIAR, "bad_dealing", said)

    world.run(600.0, at=[(at_s, note)])
    levels: dict[int, int] = world.member(0)._started.parts.backoff._levels
    return levels


@pytest.mark.parametrize("of", [0, -1])
def test_of_a_round_that_others_certified(of: int) -> None:
    """The next entry says it as well, where that of the round itself is passed over."""
    assert levels_after(3.5, names_somebody=False, of=of) == {OTHER: 0}
    assert levels_after(3.5, names_somebody=False, of=-2) == {OTHER: 1}


def test_of_a_round_that_a_lie_made_void() -> None:
    """All are over by then."""
    assert levels_after(12.0, names_somebody=False, of=-1) == {OTHER: 1}
    assert levels_after(12.0, names_somebody=True, of=-1) == {OTHER: 0}
