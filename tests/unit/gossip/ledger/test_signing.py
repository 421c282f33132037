"""Entry signatures: ours once a round, others' until t make a certificate, and contradictions."""

from functools import partial

import pytest
from ledger_group import Bench, LedgerDisk, LedgerGroup, model_of

from p2pfl_gossip.actions import Persist, RemoteProtocolError
from p2pfl_gossip.ledger.certificates import require_certificate
from p2pfl_gossip.ledger.entries import Entry, EntryStep, Head
from p2pfl_gossip.ledger.history import History
from p2pfl_gossip.ledger.messages import EntryCertificate, EntrySignature
from p2pfl_gossip.ledger.signing import REPEATED_ROUNDS, ROUNDS_KEPT, Signing
from p2pfl_gossip.records import replaced

GROUP = LedgerGroup(7)  # t = 5.
ENTRY = GROUP.sum_entry(GROUP.first, 3)
STEP = EntryStep(ENTRY)


class Signer(Bench):
    """Member 0 with its signatures."""

    def __init__(self) -> None:
        super().__init__(GROUP)
        self.disk = LedgerDisk(GROUP)
        self.history = History(GROUP.epoch)
        self.certified: list[EntryCertificate] = []
        self.lacking: list[tuple[Head, tuple[int, ...]]] = []
        self.contradicted: list[tuple[EntrySignature, EntrySignature]] = []
        self.signing = Signing(
            self.seat,
            self.disk.standing,
            self.history,
            certified=self.certified.append,
            lacking=lambda head, signers: self.lacking.append((head, signers)),
            contradicted=lambda one, other: self.contradicted.append((one, other)),
        )

    def sign(self, entry: Entry) -> None:
        """Work an entry out, and sign it."""
        self.do(partial(self.signing.sign, EntryStep(entry), model_of(1.0)))

    def hear(self, rank: int, entry: Entry) -> None:
        """Have a member's signature arrive."""
        message = GROUP.entry_signature(rank, entry)
        self.do(partial(self.signing.on_signature, message))


def test_our_signature_is_kept_before_it_is_said() -> None:
    """To all, in one input, the record first."""
    signer = Signer()
    signer.seat.begin(1.0)
    signer.signing.sign(STEP, model_of(1.0))
    actions = signer.seat.take()
    assert isinstance(actions[0], Persist)
    assert len(actions) == 7
    assert signer.signing.latest(0) == GROUP.entry_signature(0, ENTRY)


def test_a_round_is_signed_once() -> None:
    """A second entry of the round is not; nothing is sent."""
    signer = Signer()
    signer.sign(ENTRY)
    assert len(signer.take_sent(EntrySignature)) == 6
    signer.sign(GROUP.sum_entry(GROUP.first, 3, value=9.0))
    assert signer.take_sent(EntrySignature) == []
    assert len(signer.persisted) == 1


def test_t_signatures_with_ours_are_a_certificate() -> None:
    """Of exactly t; what comes later adds nothing."""
    signer = Signer()
    for rank in (6, 5, 4):
        signer.hear(rank, ENTRY)
    signer.sign(ENTRY)
    assert signer.certified == []
    signer.hear(3, ENTRY)
    assert len(signer.certified) == 1
    require_certificate(GROUP.epoch, signer.certified[0])
    assert signer.certified[0].entry == ENTRY
    assert signer.signing.signers(STEP.head) == (0, 3, 4, 5, 6)
    signer.history.add(STEP, signer.certified[0])
    signer.history.head = STEP
    signer.hear(2, ENTRY)
    assert len(signer.certified) == 1


def test_what_t_others_signed_and_we_did_not_is_asked_for() -> None:
    """Its certificate and its model are with them."""
    signer = Signer()
    for rank in (1, 2, 3, 4, 5):
        signer.hear(rank, ENTRY)
    assert signer.certified == []
    assert signer.lacking == [(STEP.head, (1, 2, 3, 4, 5))]


def test_having_signed_another_entry_we_ask_for_what_t_signed() -> None:
    """It cannot happen while the rules are kept by enough; ours certifies nothing then."""
    signer = Signer()
    signer.sign(GROUP.sum_entry(GROUP.first, 3, value=9.0))
    for rank in (1, 2, 3, 4, 5):
        signer.hear(rank, ENTRY)
    assert signer.certified == []
    assert signer.lacking == [(STEP.head, (1, 2, 3, 4, 5))]


def test_signatures_of_one_entry_count_together_and_of_two_do_not() -> None:
    """4 and 3 of 7 are no certificate of either."""
    signer = Signer()
    other = GROUP.sum_entry(GROUP.first, 3, value=9.0)
    signer.sign(ENTRY)
    for rank, entry in ((1, ENTRY), (2, ENTRY), (3, ENTRY), (4, other), (5, other), (6, other)):
        signer.hear(rank, entry)
    assert (signer.certified, signer.lacking) == ([], [])


def test_two_signatures_of_one_round_are_told_and_the_first_counts() -> None:
    """With both, which prove it."""
    signer = Signer()
    other = GROUP.sum_entry(GROUP.first, 3, value=9.0)
    signer.hear(2, ENTRY)
    signer.hear(2, ENTRY)
    assert signer.contradicted == []
    signer.hear(2, other)
    one, two = GROUP.entry_signature(2, ENTRY), GROUP.entry_signature(2, other)
    assert signer.contradicted == [(one, two)]
    assert signer.signing.signers(STEP.head) == (2,)


def test_forged_signatures_are_refused() -> None:
    """They neither count nor contradict."""
    signer = Signer()
    signer.hear(2, ENTRY)
    said = GROUP.entry_signature(2, ENTRY)
    for forged, reason in (
        (replaced(said, entry=b"e" * 32), "bad_signature"),
        (replaced(said, round=4), "bad_signature"),
        (replaced(said, member=3), "bad_signature"),
        (replaced(said, member=7), "no_such_member"),
        (replaced(said, epoch=1, member=3), "wrong_epoch"),
    ):
        with pytest.raises(RemoteProtocolError, match=reason):
            signer.signing.on_signature(forged)
    assert signer.contradicted == []
    assert signer.signing.signers(STEP.head) == (2,)


def test_a_liar_that_signs_far_ahead_fills_nothing() -> None:
    """Few rounds of each member are kept; the highest go last."""
    signer = Signer()
    for round_ in range(1, 12):
        signer.hear(2, GROUP.sum_entry(GROUP.first, round_))
    kept = [
        round_
        for round_ in range(1, 12)
        if signer.signing.signers(EntryStep(GROUP.sum_entry(GROUP.first, round_)).head)
    ]
    assert kept == list(range(12 - ROUNDS_KEPT, 12))
    latest = signer.signing.latest(2)
    assert latest is not None
    assert latest.round == 11
    assert signer.signing.latest(3) is None
    signer.signing.clear()
    assert signer.signing.latest(2) is None


def test_what_is_not_certified_is_said_again() -> None:
    """While its round or one of the next two is under way."""
    signer = Signer()
    signer.sign(ENTRY)
    signer.take_sent(EntrySignature)
    said = {}
    for round_ in (2, 3, 3 + REPEATED_ROUNDS, 4 + REPEATED_ROUNDS):
        signer.do(partial(signer.signing.repeat, round_))
        said[round_] = len(signer.take_sent(EntrySignature))
    assert said == {2: 0, 3: 6, 5: 6, 6: 0}
    signer.history.add(STEP, GROUP.certificate(ENTRY))
    signer.do(partial(signer.signing.repeat, 3))
    assert signer.take_sent(EntrySignature) == []


def test_many_signatures_make_a_certificate_at_once() -> None:
    """As each by itself would; those that were known already count once."""
    signer = Signer()
    signer.sign(ENTRY)
    signer.hear(2, ENTRY)
    few = [GROUP.entry_signature(rank, ENTRY) for rank in (1, 2, 3)]
    assert signer.signing.on_signatures(STEP.head, few)
    assert signer.certified == []
    assert signer.signing.on_signatures(STEP.head, [GROUP.entry_signature(6, ENTRY)])
    require_certificate(GROUP.epoch, signer.certified[0])
    assert signer.signing.signers(STEP.head) == (0, 1, 2, 3, 6)


def test_of_many_signatures_none_is_taken_where_one_contradicts() -> None:
    """So that each is heard by itself, and the lie is told."""
    signer = Signer()
    signer.hear(2, GROUP.sum_entry(GROUP.first, 3, value=9.0))
    many = [GROUP.entry_signature(rank, ENTRY) for rank in (1, 2, 3)]
    assert not signer.signing.on_signatures(STEP.head, many)
    assert signer.signing.signers(STEP.head) == ()
