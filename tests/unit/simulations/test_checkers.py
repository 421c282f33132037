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
from p2pfl_gossip.masked_sum.jobs import MaskChunk, MaskedChunk
from p2pfl_gossip.masked_sum.messages import (
    Ballot,
    ChunkHeader,
    Manifest,
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


SESSION, TAU2 = b"s" * 32, b"t" * 32
ENCODING = Encoding(6, 4.0, 1.0)


def mask_chunk(rank: int, entries: Vector, tau2: bytes = TAU2) -> MaskChunk:
    return MaskChunk(ENCODING, entries, 1.0, b"", None, tau2, rank, 0)  # type: ignore[arg-type]


def ballot(ranks: range) -> Ballot:
    members = sum(1 << rank for rank in ranks).to_bytes(1, "little")
    return Ballot(SESSION, 0, TAU2, members, b"\1", b"", bytes(64))


def summed(round_: int = 0, kept: int = 0) -> MaskedSumEnded:
    return MaskedSumEnded(round_, SESSION, "summed", 6, 5, kept, 0, False)


class TestTrueMean:
    def told(self, checker: TrueMean, ranks: range, *, forged: bool = False) -> Vector:
        """Have members mask their vectors and vote for all; return the true mean."""
        vectors = [vector(rank) for rank in ranks]
        for rank, entries in zip(ranks, vectors, strict=True):
            checker.on_action(0.0, rank, Work(7, mask_chunk(rank, entries)))
            body = np.zeros(1, np.uint32)
            checker.on_input(
                0.0, rank, "on_work_done", (7, MaskedChunk(0, body, bytes([rank]) * 32, 0))
            )
            digest = b"x" * 32 if forged else bytes([rank]) * 32
            manifest = Manifest(SESSION, TAU2, rank, digest, bytes(64))
            checker.on_action(0.0, rank, Send(PEERS[0], manifest))
        proposed = ballot(ranks)
        checker.on_action(0.0, 0, Send(PEERS[1], proposed))
        checker.on_action(0.0, 0, Send(PEERS[1], Reveal(SESSION, proposed.digest(), b"")))
        mean: Vector = np.mean(vectors, axis=0, dtype=np.float64).astype(np.float32)
        return mean

    def test_the_true_mean_passes(self) -> None:
        checker = begun(TrueMean())
        mean = self.told(checker, range(5))
        reports(checker, 0, summed(), ended(0, mean))
        assert checker.compared == 1

    @pytest.mark.parametrize("ranks", [range(5), range(6)])
    def test_another_mean_is_found(self, ranks: range) -> None:
        checker = begun(TrueMean())
        mean = self.told(checker, ranks)
        mean[3] += 1e-4
        with pytest.raises(Violation, match=f"a mean of {len(ranks)} that is 0.0001 off"):
            reports(checker, 0, summed(), ended(0, mean))

    def test_of_a_liar_that_masks_something_else_nothing_is_known(self) -> None:
        checker = begun(TrueMean())
        mean = self.told(checker, range(6), forged=True)
        reports(checker, 0, summed(), ended(0, mean + 1))
        assert checker.compared == 0

    def vouch(self, checker: TrueMean, member: int, digest: bytes, chunk: int = 0) -> None:
        name = ballot(range(6)).digest()
        said = SumDigest(SESSION, name, member, chunk, digest * 32, bytes(64))
        checker.on_action(0.0, member, Send(PEERS[0], said))

    def test_of_a_chunk_that_two_liars_falsify_nothing_is_demanded(self) -> None:
        checker = begun(TrueMean(), liars=frozenset({4, 5}))
        mean = self.told(checker, range(6))
        self.vouch(checker, 4, b"f")
        header = SumHeader(SESSION, ballot(range(6)).digest(), 5, 0, b"f" * 32, bytes(64))
        checker.on_action(0.0, 5, SendBulk(PEERS[0], header, (), 0))
        reports(checker, 0, summed(), ended(0, mean + 1))
        assert checker.compared == 1

    @pytest.mark.parametrize(
        "vouches",
        [
            [(4, b"f", 0)],
            [(4, b"f", 0), (4, b"f", 0)],
            [(4, b"f", 0), (5, b"g", 0)],
            [(4, b"f", 1), (5, b"f", 1)],
            [(4, b"f", 0), (3, b"f", 0)],
        ],
        ids=["one", "one, twice", "each another", "of another chunk", "one, and an honest one"],
    )
    def test_no_fewer_may_falsify_it(self, vouches: list[tuple[int, bytes, int]]) -> None:
        checker = begun(TrueMean(), liars=frozenset({4, 5}))
        mean = self.told(checker, range(6))
        for member, digest, chunk in vouches:
            self.vouch(checker, member, digest, chunk)
        with pytest.raises(Violation, match="a mean of 6 that is 1 off"):
            reports(checker, 0, summed(), ended(0, mean + 1))

    def test_kept_chunks_are_not_compared(self) -> None:
        checker = begun(TrueMean())
        mean = self.told(checker, range(5))
        reports(checker, 0, summed(kept=1), ended(0, mean + 1))
        assert checker.compared == 0


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


def trained(checker: Checker, host: int, model: Vector, ticket: int = 3) -> None:
    checker.on_action(0.0, host, Work(ticket, Train(0, vector(0), "")))
    checker.on_input(0.0, host, "on_work_done", (ticket, Trained(model, 1, 0.0)))


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
