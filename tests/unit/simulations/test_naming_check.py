"""The checker of who is named sees an honest member among them, and a named one in a list."""

import pytest
from test_membership_check import PEERS, advert

from p2pfl_gossip.actions import Persist, Send
from p2pfl_gossip.ledger.evidence_book import EVIDENCE_PREFIX
from p2pfl_gossip.ledger.messages import (
    Evidence,
    GroupList,
    Named,
    Rest,
    StatementKind,
    TwoStatements,
)
from p2pfl_gossip.masked_sum.messages import Accused
from p2pfl_gossip.records import Codec, replaced
from p2pfl_simulations.checkers.base import Violation, Watched
from p2pfl_simulations.checkers.naming import OnlyLiarsNamed

LIAR, OTHER = 3, 1
ACCUSED = Accused(bytes(32), b"\x03", bytes(128))


def watching() -> OnlyLiarsNamed:
    checker = OnlyLiarsNamed()
    checker.start(
        Watched(
            peers=PEERS,
            liars=frozenset((LIAR,)),
            initial=None,  # type: ignore[arg-type]
            rounds=3,
            has_cohorts=False,
            hides_models=True,
            partners_of=lambda _index, _round: (),
            is_group=True,
        )
    )
    return checker


TWICE = TwoStatements(StatementKind.VOTE, b"", b"1" * 32, b"2" * 32, bytes(128))


def kept(member: int, proof: Accused | TwoStatements = ACCUSED) -> Persist:
    stored = Codec(Evidence | None, frame_bytes_max=2**14).encode(Evidence(0, 2, member, proof))
    return Persist({f"{EVIDENCE_PREFIX}{0:08x}/{member:04x}": stored})


@pytest.mark.parametrize("proof", [ACCUSED, TWICE])
def test_evidence_against_an_honest_member_is_found(proof: Accused | TwoStatements) -> None:
    checker = watching()
    checker.on_action(1.0, 0, kept(LIAR, proof))
    checker.on_action(1.0, LIAR, kept(OTHER, proof))  # A liar may keep what it likes.
    kind = type(proof).__name__
    with pytest.raises(Violation, match=rf"\({kind}\) against the honest peer 1"):
        checker.on_action(1.0, 0, kept(OTHER, proof))


@pytest.mark.parametrize(
    ("naming", "listed"), [((0, 1), 0b01111), ((0, 1), 0b10111), ((0,), 0b01111)]
)
def test_a_list_with_one_that_enough_of_it_name_is_found(
    naming: tuple[int, ...], listed: int
) -> None:
    """Two of five are one more than may lie."""
    checker = watching()
    checker.on_action(1.0, 0, kept(LIAR))
    for rank in range(5):
        said = advert(rank, 1, epoch=0).message
        named = (Named(LIAR, bytes(32)),) if rank in naming else ()
        checker.on_action(2.0, rank, Send(PEERS[4 - rank], replaced(said, named=named)))
    lists = GroupList(0, 4, 0, Rest.NONE, bytes([listed]), b"", bytes(64))
    if len(naming) < 2 or not listed >> LIAR & 1:
        checker.on_action(3.0, 0, Send(PEERS[1], lists))
        return
    with pytest.raises(Violation, match="a list with peer 3, whom 2 honest members of it name"):
        checker.on_action(3.0, 0, Send(PEERS[1], lists))
