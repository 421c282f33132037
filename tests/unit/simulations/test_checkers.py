# mypy: disable-error-code="assignment"
"""Each checker by itself: what must hold passes, and each way in which it may not is found."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from p2pfl_crypto.encoding import Encoding
from p2pfl_crypto.identity import Identity, PeerId
from p2pfl_gossip.actions import Disconnect, Persist, Report, Send, SendBulk, Vector, Work
from p2pfl_gossip.catch_up import ModelHeader, Status
from p2pfl_gossip.events import (
    CaughtUp,
    Finished,
    MaskedSumEnded,
    MemberBlamed,
    RoundEnded,
    RoundStarted,
)
from p2pfl_gossip.learning import Train, Trained
from p2pfl_gossip.masked_sum.jobs import ChunkSum, MaskChunk, MaskedChunk, Unmask
from p2pfl_gossip.masked_sum.messages import (
    Ballot,
    ChunkHeader,
    Manifest,
    Proposal,
    Reveal,
    SumDigest,
    SumHeader,
)
from p2pfl_simulations.checkers.agreement import OneMean, TrueMean
from p2pfl_simulations.checkers.base import (
    Checker,
    Violation,
    Watched,
    told_of_actions,
    told_of_inputs,
)
from p2pfl_simulations.checkers.conduct import NoHonestBlamed, NoHonestRefused
from p2pfl_simulations.checkers.progress import AllFinish, NobodyIsLed, RoundsNeverFall
from p2pfl_simulations.checkers.secrecy import OwnModelStays, SpentOnce
from p2pfl_simulations.checkers.vouching import OneBallot

PEERS = [Identity(bytes([index]) * 32).peer_id for index in range(6)]
LIAR = 5
DIM = 16


def vector(seed: int) -> Vector:
    return np.random.default_rng(seed).normal(size=DIM).astype(np.float32)


def begun(
    checker: Checker,
    *,
    liars: frozenset[int] = frozenset({LIAR}),
    has_cohorts: bool = True,
    hides: bool = True,
) -> Any:
    checker.start(
        Watched(
            peers=PEERS,
            liars=liars,
            initial=vector(0),
            rounds=5,
            has_cohorts=has_cohorts,
            hides_models=hides,
            partners_of=lambda index, _round: tuple(i for i in range(6) if i != index),
        )
    )
    return checker


def reports(checker: Checker, host: int, *events: Any) -> None:
    for event in events:
        checker.on_action(1.0, host, Report(event))


def ended(round_: int, model: Vector, *, complete: bool = True) -> RoundEnded:
    return RoundEnded(round_, model, 6, 6, complete)


def test_only_those_that_ask_are_told() -> None:
    checkers = [NoHonestRefused(), RoundsNeverFall(), AllFinish()]
    assert told_of_actions(checkers, Persist) == (checkers[1],)
    assert told_of_actions(checkers, Report) == (checkers[1], checkers[2])
    assert told_of_inputs(checkers) == (checkers[1],)


class TestOneMean:
    def test_equal_means_pass(self) -> None:
        checker = begun(OneMean())
        reports(checker, 0, ended(0, vector(1)), ended(1, vector(2)))
        reports(checker, 1, ended(0, vector(1)), ended(1, vector(3), complete=False))

    def test_two_are_found(self) -> None:
        checker = begun(OneMean())
        reports(checker, 0, ended(0, vector(1)))
        reports(checker, LIAR, ended(0, vector(2)))
        with pytest.raises(Violation, match="peers 0 and 1 end round 0 with different complete"):
            reports(checker, 1, ended(0, vector(2)))

    def test_neighbours_have_no_mean_in_common(self) -> None:
        checker = begun(OneMean(), liars=frozenset(), has_cohorts=False, hides=False)
        reports(checker, 0, ended(0, vector(1)))
        reports(checker, 1, ended(0, vector(2)))

    def test_in_the_open_a_liar_may_tell_two(self) -> None:
        checker = begun(OneMean(), hides=False)
        reports(checker, 0, ended(0, vector(1)))
        reports(checker, 1, ended(0, vector(2)))

    @pytest.mark.parametrize("hides", [False, True])
    @pytest.mark.parametrize("again", [0, 1])
    def test_in_the_open_a_round_that_was_begun_again_may_have_two(
        self, again: int, hides: bool
    ) -> None:
        checker = begun(OneMean(), liars=frozenset(), hides=hides)
        reports(checker, 0, RoundStarted(0), ended(0, vector(1)), RoundStarted(1))
        reports(checker, 0, RoundStarted(again))
        if again == 0 and not hides:
            reports(checker, 1, ended(0, vector(2)))
            return
        with pytest.raises(Violation, match="peers 0 and 1 end round 0 with different complete"):
            reports(checker, 1, ended(0, vector(2)))

    def test_no_finite_model_is_found(self) -> None:
        with pytest.raises(Violation, match="no finite model"):
            reports(begun(OneMean()), 0, ended(0, np.full(DIM, np.nan, np.float32)))


SESSION = b"s" * 32
PROPOSAL = Proposal(SESSION, 0, b"t" * 32, b"\x3f", b"", bytes(64))
TAU2 = PROPOSAL.tau2()
ENCODING = Encoding(6, 4.0, 1.0)
FIRST_TWO, LAST_TWO = 0b11, 0b110000


def mask_chunk(rank: int, entries: Vector, tau2: bytes = TAU2) -> MaskChunk:
    return MaskChunk(ENCODING, entries, 1.0, b"", None, tau2, rank, 0)  # type: ignore[arg-type]


def ballot(ranks: range, owners: bytes) -> Ballot:
    members = sum(1 << rank for rank in ranks).to_bytes(1, "little")
    return Ballot(SESSION, 0, TAU2, members, owners, b"", bytes(64))


def summed(round_: int = 0, kept: int = 0) -> MaskedSumEnded:
    return MaskedSumEnded(round_, SESSION, "summed", 6, 5, kept, 0, False)


class Session:
    """One session of six members that `OneBallot` and another checker watch.

    Args:
        kind: of the other checker.
        ranks: U3.
        liars: ranks of those that lie.
        owners: of each chunk, the live ones.
    """

    def __init__(
        self,
        kind: type,
        ranks: range = range(6),
        liars: frozenset[int] = frozenset({LIAR}),
        owners: bytes = bytes([FIRST_TWO]),
    ) -> None:
        self.sums = begun(OneBallot(), liars=liars)
        self.checker = begun(kind(self.sums), liars=liars)
        self.ranks, self.ballot = ranks, ballot(ranks, owners)
        self.act(0, Send(PEERS[1], PROPOSAL))
        self.act(0, Send(PEERS[1], self.ballot))
        self.act(1, Send(PEERS[2], Reveal(SESSION, self.ballot.digest(), b"")))

    def act(self, host: int, action: Any) -> None:
        self.sums.on_action(0.0, host, action)
        self.checker.on_action(0.0, host, action)

    def work(self, host: int, job: Any, result: Any) -> None:
        self.act(host, Work(7, job))
        self.sums.on_input(0.0, host, "on_work_done", (7, result))
        self.checker.on_input(0.0, host, "on_work_done", (7, result))

    def mask(self, *, forged: bool = False) -> Vector:
        """Have members mask their vectors; return the true mean."""
        vectors = [vector(rank) for rank in self.ranks]
        for rank, entries in zip(self.ranks, vectors, strict=True):
            body = np.zeros(1, np.uint32)
            masked = MaskedChunk(0, body, bytes([rank]) * 32, 0)
            self.work(rank, mask_chunk(rank, entries), masked)
            digest = b"x" * 32 if forged else bytes([rank]) * 32
            self.act(rank, Send(PEERS[0], Manifest(SESSION, TAU2, rank, digest, bytes(64))))
        mean: Vector = np.mean(vectors, axis=0, dtype=np.float64).astype(np.float32)
        return mean

    def sum_up(self, host: int, digest: bytes) -> None:
        """Have a machine work the sum of chunk 0 out."""
        job = Unmask((), (), self.ballot.digest(), 0)
        self.work(host, job, ChunkSum(0, np.zeros(1, np.uint32), digest * 32))

    def vouch(self, member: int, digest: bytes, chunk: int = 0) -> None:
        said = SumDigest(SESSION, self.ballot.digest(), member, chunk, digest * 32, bytes(64))
        self.act(member, Send(PEERS[0], said))

    def end(self, host: int, mean: Vector, kept: int = 0) -> None:
        for event in (summed(kept=kept), ended(0, mean)):
            self.act(host, Report(event))


Vouches = list[tuple[int, bytes, int]]
TOO_FEW: dict[str, tuple[int, Vouches]] = {
    "one": (LAST_TWO, [(4, b"f", 0)]),
    "one, twice": (LAST_TWO, [(4, b"f", 0), (4, b"f", 0)]),
    "each another": (LAST_TWO, [(4, b"f", 0), (5, b"g", 0)]),
    "of another chunk": (LAST_TWO, [(4, b"f", 1), (5, b"f", 1)]),
    "one, and an honest one": (LAST_TWO, [(4, b"f", 0), (3, b"f", 0)]),
    "an owner and a deputy": (0b011000, [(4, b"f", 0), (5, b"f", 0)]),
    "an only owner and not its first deputy": (0b010000, [(4, b"f", 0), (5, b"f", 0)]),
    "two deputies": (FIRST_TWO, [(4, b"f", 0), (5, b"f", 0)]),
    "the true sum": (LAST_TWO, [(4, b"t", 0), (5, b"t", 0)]),
}
too_few = pytest.mark.parametrize(("owners", "vouches"), TOO_FEW.values(), ids=TOO_FEW)


class TestTrueMean:
    @pytest.mark.parametrize("ranks", [range(5), range(6)])
    def test_the_true_mean_passes(self, ranks: range) -> None:
        session = Session(TrueMean, ranks)
        session.end(0, session.mask())
        assert session.checker.compared == 1

    @pytest.mark.parametrize("ranks", [range(5), range(6)])
    def test_another_mean_is_found(self, ranks: range) -> None:
        session = Session(TrueMean, ranks)
        mean = session.mask()
        mean[3] += 1e-4
        with pytest.raises(Violation, match=f"a mean of {len(ranks)} that is 0.0001 off"):
            session.end(0, mean)

    def test_of_a_liar_that_masks_something_else_nothing_is_known(self) -> None:
        session = Session(TrueMean)
        session.end(0, session.mask(forged=True) + 1)
        assert session.checker.compared == 0

    def test_of_a_chunk_that_two_lying_owners_falsify_nothing_is_demanded(self) -> None:
        session = Session(TrueMean, liars=frozenset({4, 5}), owners=bytes([LAST_TWO]))
        mean = session.mask()
        session.vouch(4, b"f")
        header = SumHeader(SESSION, session.ballot.digest(), 5, 0, b"f" * 32, bytes(64))
        session.act(5, SendBulk(PEERS[0], header, (), 0))
        session.end(0, mean + 1)
        assert session.checker.compared == 1

    def test_nor_where_an_only_owner_and_the_first_deputy_lie(self) -> None:
        session = Session(TrueMean, liars=frozenset({0, 5}), owners=bytes([1 << 5]))
        mean = session.mask()
        session.vouch(5, b"f")
        session.vouch(0, b"f")
        session.end(1, mean + 1)
        assert session.checker.compared == 1

    @too_few
    def test_no_fewer_may_falsify_it(self, owners: int, vouches: Vouches) -> None:
        session = Session(TrueMean, liars=frozenset({4, 5}), owners=bytes([owners]))
        mean = session.mask()
        session.sum_up(4, b"t")
        for member, digest, chunk in vouches:
            session.vouch(member, digest, chunk)
        with pytest.raises(Violation, match="a mean of 6 that is 1 off"):
            session.end(0, mean + 1)

    def test_what_an_honest_machine_worked_out_is_the_true_sum(self) -> None:
        session = Session(TrueMean, liars=frozenset({4, 5}), owners=bytes([LAST_TWO]))
        mean = session.mask()
        for host, digest in ((4, b"f"), (2, b"t"), (5, b"f")):
            session.sum_up(host, digest)
        session.vouch(4, b"t")
        session.vouch(5, b"t")
        with pytest.raises(Violation, match="a mean of 6 that is 1 off"):
            session.end(0, mean + 1)

    def test_kept_chunks_are_not_compared(self) -> None:
        session = Session(TrueMean)
        session.end(0, session.mask() + 1, kept=1)
        assert session.checker.compared == 0


class TestOneMeanOfASession:
    """Of two chunks, the first one is that of entries 0 to 7."""

    def session(self, owners: int) -> Session:
        return Session(OneMean, liars=frozenset({4, 5}), owners=bytes([owners, FIRST_TWO]))

    def other(self, entry: int) -> Vector:
        other = vector(1).copy()
        other[entry] += 1
        return other

    def test_a_chunk_that_two_lying_vouchers_falsify_may_differ(self) -> None:
        session = self.session(LAST_TWO)
        session.vouch(4, b"f")
        session.vouch(5, b"f")
        session.end(0, vector(1))
        session.end(1, self.other(7))

    def test_who_lost_the_sum_may_take_the_certified_mean(self) -> None:
        session = self.session(LAST_TWO)
        session.end(0, vector(1))
        reports(session.checker, 1, ended(0, vector(1)))
        with pytest.raises(Violation, match="peers 0 and 2 end round 0 with different complete"):
            reports(session.checker, 2, ended(0, self.other(7)))

    def test_another_chunk_may_not(self) -> None:
        session = self.session(LAST_TWO)
        session.vouch(4, b"f")
        session.vouch(5, b"f")
        session.end(0, vector(1))
        with pytest.raises(Violation, match="peers 0 and 1 end round 0 with different complete"):
            session.end(1, self.other(8))

    @too_few
    def test_by_fewer_it_may_not_differ(self, owners: int, vouches: Vouches) -> None:
        session = self.session(owners)
        session.sum_up(4, b"t")
        for member, digest, chunk in vouches:
            session.vouch(member, digest, chunk)
        session.end(0, vector(1))
        with pytest.raises(Violation, match="peers 0 and 1 end round 0 with different complete"):
            session.end(1, self.other(7))


class TestOneBallot:
    def test_all_may_reveal_for_one(self) -> None:
        checker = begun(OneBallot())
        for host in (0, 1, 0):
            checker.on_action(0.0, host, Send(PEERS[2], Reveal(SESSION, b"b" * 32, bytes([host]))))
        checker.on_action(0.0, 1, Send(PEERS[2], Reveal(b"r" * 32, b"c" * 32, b"")))
        checker.on_action(0.0, LIAR, Send(PEERS[2], Reveal(SESSION, b"c" * 32, b"")))

    @pytest.mark.parametrize("second", [0, 1])
    def test_two_are_found(self, second: int) -> None:
        checker = begun(OneBallot())
        checker.on_action(0.0, 0, Send(PEERS[2], Reveal(SESSION, b"b" * 32, b"")))
        with pytest.raises(Violation, match=f"peers 0 and {second} reveal for two ballots"):
            checker.on_action(0.0, second, Send(PEERS[2], Reveal(SESSION, b"c" * 32, b"")))


def test_who_refuses_an_honest_peer_is_found() -> None:
    checker = begun(NoHonestRefused())
    checker.on_refused(0.0, 0, LIAR, "bad_signature")
    checker.on_refused(0.0, LIAR, 0, "bad_signature")
    checker.on_action(0.0, 0, Disconnect(PEERS[LIAR], "bad_signature"))
    with pytest.raises(Violation, match="peer 0 refuses peer 1: bad_signature"):
        checker.on_refused(0.0, 0, 1, "bad_signature")
    with pytest.raises(Violation, match="peer 0 ends its link to peer 1: too_early"):
        checker.on_action(0.0, 0, Disconnect(PEERS[1], "too_early"))


def test_who_blames_an_honest_peer_is_found() -> None:
    checker = begun(NoHonestBlamed())
    reports(checker, 0, MemberBlamed(0, SESSION, PEERS[LIAR], "two_lists"))
    reports(checker, LIAR, MemberBlamed(0, SESSION, PEERS[0], "two_lists"))
    with pytest.raises(Violation, match="peer 0 blames peer 1: two_lists"):
        reports(checker, 0, MemberBlamed(0, SESSION, PEERS[1], "two_lists"))


class TestRoundsNeverFall:
    def test_rounds_rise_and_a_restart_goes_back_to_the_disk(self) -> None:
        checker = begun(RoundsNeverFall())
        reports(checker, 0, RoundStarted(0), ended(0, vector(1)))
        checker.on_action(0.0, 0, Persist({"round": (1).to_bytes(8, "little")}))
        reports(checker, 0, RoundStarted(1), ended(1, vector(1)), RoundStarted(2))
        checker.on_input(0.0, 0, "on_start", ({},))
        reports(checker, 0, RoundStarted(1))

    def test_a_fall_within_a_life_is_found(self) -> None:
        checker = begun(RoundsNeverFall())
        reports(checker, 0, RoundStarted(3))
        reports(checker, LIAR, RoundStarted(3), RoundStarted(2))
        with pytest.raises(Violation, match="peer 0 goes from round 3 back to 2"):
            reports(checker, 0, RoundStarted(2))

    def test_a_fall_below_the_disk_is_found(self) -> None:
        checker = begun(RoundsNeverFall())
        checker.on_action(0.0, 0, Persist({"round": (2).to_bytes(8, "little")}))
        checker.on_input(0.0, 0, "on_start", ({},))
        with pytest.raises(Violation, match="from round 2 back to 1"):
            reports(checker, 0, RoundStarted(1))


class TestNobodyIsLed:
    def test_to_follow_honest_peers_is_right(self) -> None:
        checker = begun(NobodyIsLed())
        reports(checker, 0, ended(0, vector(1)), ended(1, vector(2)))
        reports(checker, 1, CaughtUp(0, 2))
        checker.on_action(0.0, 1, Persist({"model": vector(2)}))
        given = vector(3)
        body = SendBulk(PEERS[1], ModelHeader(2), (given,), given.nbytes)
        checker.on_action(0.0, 0, body)
        reports(checker, 2, CaughtUp(0, 2))
        checker.on_action(0.0, 2, Persist({"model": vector(3)}))

    def test_a_round_of_a_liar_is_found(self) -> None:
        checker = begun(NobodyIsLed())
        reports(checker, 0, ended(0, vector(1)))
        reports(checker, LIAR, ended(8, vector(1)))
        with pytest.raises(Violation, match="peer 1 follows somebody from round 0 to 9"):
            reports(checker, 1, CaughtUp(0, 9))

    def test_a_model_of_a_liar_is_found(self) -> None:
        checker = begun(NobodyIsLed())
        reports(checker, 0, ended(0, vector(1)))
        reports(checker, LIAR, ended(0, vector(4)))
        reports(checker, 1, CaughtUp(0, 1))
        with pytest.raises(Violation, match="peer 1 takes a model of round 1 that no honest"):
            checker.on_action(0.0, 1, Persist({"model": vector(4)}))


def test_who_has_not_finished_is_named() -> None:
    checker = begun(AllFinish(), liars=frozenset({2, 3, 4, LIAR}))
    reports(checker, 0, RoundStarted(4), Finished(5))
    reports(checker, 1, RoundStarted(3))
    assert not checker.is_met
    with pytest.raises(Violation, match=r"have not finished: 1 is in round 3$"):
        checker.on_end(9.0)
    reports(checker, 1, Finished(5))
    checker.on_end(9.0)


def trained(checker: Checker, host: int, model: Vector, ticket: int = 3, **own: Any) -> None:
    checker.on_action(0.0, host, Work(ticket, Train(0, vector(0), "")))
    checker.on_input(0.0, host, "on_work_done", (ticket, Trained(model, 1, 0.0, **own)))


BODIES: dict[str, Callable[[Vector], Any]] = {
    "whole": lambda model: (model,),
    "in part": lambda model: (np.concatenate([vector(9)[:5], model[8:]]),),
    "as bytes": lambda model: (model.tobytes(),),
}


class TestOwnModelStays:
    @pytest.mark.parametrize("form", BODIES)
    def test_a_body_that_holds_it_is_found(self, form: str) -> None:
        checker = begun(OwnModelStays())
        trained(checker, 0, vector(1))
        parts = BODIES[form](vector(1))
        with pytest.raises(Violation, match="peer 0 sends entries of the model that it trained"):
            checker.on_action(0.0, 0, SendBulk(PEERS[1], ModelHeader(1), parts, 64))

    def test_a_body_that_holds_what_is_its_own_is_found(self) -> None:
        checker = begun(OwnModelStays())
        trained(checker, 0, vector(1), own={"head": vector(2).reshape(4, 4)})
        body = SendBulk(PEERS[1], ModelHeader(1), (vector(2),), 64)
        with pytest.raises(Violation, match="or of its own state"):
            checker.on_action(0.0, 0, body)

    def test_others_and_liars_and_the_open_may(self) -> None:
        checker = begun(OwnModelStays())
        trained(checker, 0, vector(1))
        trained(checker, LIAR, vector(2))
        body = SendBulk(PEERS[1], ModelHeader(1), (vector(2),), 64)
        checker.on_action(0.0, LIAR, body)
        checker.on_action(0.0, 0, body)
        checker.on_action(0.0, 0, Send(PEERS[1], Status(1)))
        in_the_open = begun(OwnModelStays(), hides=False)
        trained(in_the_open, 0, vector(2))
        in_the_open.on_action(0.0, 0, body)

    def test_what_training_left_as_it_was_tells_nothing(self) -> None:
        checker = begun(OwnModelStays())
        trained(checker, 0, vector(0))
        checker.on_action(0.0, 0, SendBulk(PEERS[1], ModelHeader(1), (vector(0),), 64))


class TestSpentOnce:
    def sent(self, checker: Checker, model: Vector, tau2: bytes) -> None:
        checker.on_action(0.0, 0, Work(9, mask_chunk(2, model[:DIM], tau2)))
        header = ChunkHeader(SESSION, tau2, 2, 0, b"d" * 32, bytes(64))
        checker.on_action(0.0, 0, SendBulk(PEERS[1], header, (b"",), 0))
        checker.on_action(0.0, 0, SendBulk(PEERS[2], header, (b"",), 0))

    def test_a_model_in_two_sessions_is_found(self) -> None:
        checker, model = begun(SpentOnce()), vector(1)
        trained(checker, 0, model)
        self.sent(checker, model, b"1" * 32)
        with pytest.raises(Violation, match="peer 0 sends a model that it trained in two sessions"):
            self.sent(checker, model.copy(), b"2" * 32)

    def test_another_model_or_one_that_all_know_passes(self) -> None:
        checker = begun(SpentOnce())
        for tau2, seed in ((b"1", 1), (b"2", 2)):
            trained(checker, 0, vector(seed))
            self.sent(checker, vector(seed), tau2 * 32)
        for tau2 in (b"3", b"4"):
            self.sent(checker, vector(0), tau2 * 32)


def test_peers_are_found_by_their_names() -> None:
    checker = begun(Checker())
    assert checker.watched.index_of(PeerId(str(PEERS[3]))) == 3
