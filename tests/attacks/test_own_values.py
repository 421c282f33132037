"""Nothing that a member trained alone is ever in what others get of it."""

from typing import Any

import numpy as np
import pytest
from attacking import Attack, Liar

from p2pfl_crypto.transcripts import chunk_digest
from p2pfl_gossip.events import MaskedSumEnded, RoundEnded, TrainingFailed
from p2pfl_gossip.learning import Train, Trained, WorkFailed
from p2pfl_gossip.masked_sum import jobs
from p2pfl_gossip.masked_sum.journal import Refused, SessionJournal
from p2pfl_simulations.masking import SimulatedSum

ROUND = 1


class Thief(Liar):
    """Asks all others for their models as soon as its own round has ended."""

    asked = False

    def ask(self, actions: list[Any]) -> list[Any]:
        if self.peer.round <= ROUND or self.asked:
            return actions
        self.asked = True
        return [*actions, *self.ask_all(ROUND)]

    def on_message(self, *given: Any) -> Any:
        return self.ask(self.peer.on_message(*given))

    def on_work_done(self, *given: Any) -> Any:
        return self.ask(self.peer.on_work_done(*given))

    def on_timer(self, *given: Any) -> Any:
        return self.ask(self.peer.on_timer(*given))


def with_false_weights(
    monkeypatch: pytest.MonkeyPatch, attack: Attack, spared: tuple[int, ...]
) -> None:
    """Have the liar's weight be false, in all chunks but these, in one round."""
    honest = jobs._mask

    def lie(job: Any) -> Any:
        made = honest(job)
        liar: Any = attack.liar
        if job.rank != 0 or liar.peer.round != ROUND or job.chunk in spared:
            return made
        body = made.body.copy()
        body[-1] ^= np.uint32(0x80000000)
        digest = chunk_digest(job.tau2, job.rank, job.chunk, jobs._bytes_of(body))
        return jobs.MaskedChunk(made.chunk, body, digest, made.clipped)

    monkeypatch.setattr(jobs, "_mask", lie)


def test_values_that_a_void_chunk_leaves_are_given_to_nobody(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Seven chunks of eight kept local values, and whoever asked got them: bit for bit."""
    attack = Attack(liar=Thief)
    with_false_weights(monkeypatch, attack, spared=(0,))
    attack.run()
    liar: Any = attack.liar
    assert liar.asked
    kept = [
        event.kept
        for peer in range(1, 8)
        for event in attack.reported(peer, MaskedSumEnded)
        if event.round == ROUND
    ]
    assert kept == [7] * 7, "the same chunks are void for all"
    for _, header, model in liar.models:
        for (peer, round_), trained in attack.trained.items():
            if round_ >= header.round:
                continue  # It was trained from that model.
            # Its own are those that another peer's training did not come to.
            own = trained.view(np.uint32) != attack.trained[(peer + 1) % 8, round_].view(np.uint32)
            same = model.view(np.uint32) == trained.view(np.uint32)
            # A mean is a member's own value to the bit now and then; 90% of these were.
            assert same[own].mean() < 0.01, f"of round {header.round}, values of round {round_}"


def test_whole_means_are_given_and_proven() -> None:
    """The control: a thief gets what a whole round gave, which it had itself."""
    attack = Attack(liar=Thief).run()
    liar: Any = attack.liar
    assert len(liar.models) >= 4
    proofs: Any = attack.peer(1)._averaging
    for _, header, model in liar.models:
        assert header.certificate is not None
        proofs.require_certified(header.certificate)
        proofs.require_mean_of(header.certificate, model)


# --- spent vectors ----------------------------------------------------------------------------


@pytest.mark.parametrize("how", ["fails", "changes nothing"])
def test_a_spent_vector_enters_no_second_session(monkeypatch: pytest.MonkeyPatch, how: str) -> None:
    """A session was aborted after all had sent, then training gave nothing new."""
    victim = 3
    attack = Attack()
    masked: dict[int, list[bytes]] = {}
    honest_mask, honest_check = jobs._mask, jobs._decode

    def mask(job: Any) -> Any:
        if job.rank == victim:
            masked.setdefault(attack.peer(victim).round, []).append(np.array(job.entries).tobytes())
        return honest_mask(job)

    def decode(job: Any) -> Any:
        made = honest_check(job)
        if min(attack.peer(peer).round for peer in range(8)) <= ROUND <= max(masked):
            return jobs.Decoded(None, made.weight_total, refusal="a test's")
        return made

    work = attack.learner.run

    def fail(given: Any) -> Any:
        return [
            _nothing_new(job, how)
            if peer == victim and isinstance(job, Train) and job.round == ROUND + 1
            else result
            for (peer, job), result in zip(given, work(given), strict=True)
        ]

    monkeypatch.setattr(jobs, "_mask", mask)
    monkeypatch.setattr(jobs, "_decode", decode)
    monkeypatch.setattr(attack.learner, "run", fail)
    attack.run()
    ended = attack.reported(victim, MaskedSumEnded)
    assert [event.result for event in ended if event.round == ROUND] == ["aborted: no_sum"]
    assert ROUND in masked, "its vector was spent"
    assert ROUND + 1 not in masked, "it takes part without an update"
    assert ROUND + 2 in masked
    chunks = [chunk for round_ in masked for chunk in set(masked[round_])]
    moving = [chunk for chunk in chunks if np.frombuffer(chunk, np.float32).any()]
    assert len(set(moving)) == len(moving), "a vector is in two sessions"
    (failed,) = attack.reported(victim, TrainingFailed)
    assert failed.round == ROUND + 1


def _nothing_new(job: Train, how: str) -> Any:
    return WorkFailed("no rows") if how == "fails" else Trained(job.vector, 1, 0.5)


def test_after_a_failed_training_a_member_has_the_certified_mean(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    victim, attack = 3, Attack()
    work = attack.learner.run

    def fail(given: Any) -> Any:
        return [
            WorkFailed("no rows")
            if peer == victim and isinstance(job, Train) and job.round == ROUND
            else result
            for (peer, job), result in zip(given, work(given), strict=True)
        ]

    monkeypatch.setattr(attack.learner, "run", fail)
    attack.run()
    ended = {
        peer: next(it for it in attack.reported(peer, RoundEnded) if it.round == ROUND)
        for peer in range(8)
    }
    name = attack.hosts[victim].peer_id
    for peer in range(8):
        assert ended[peer].contributors == 7
        assert np.array_equal(ended[peer].vector, ended[0].vector)
        assert ended[peer].without_update == (() if peer == victim else (name,))
    sums = [it.round for it in attack.reported(victim, MaskedSumEnded)]
    assert sums == [0, 2, 3]
    assert all(it.contributors == 8 for it in attack.reported(0, RoundEnded) if it.round != ROUND)


# --- who sums nothing -------------------------------------------------------------------------


def test_nobody_gives_its_sum_up_for_a_member_that_has_none() -> None:
    """Its rounds cost it nothing, so it was furthest ahead, and nine others followed it."""
    attack = Attack(peers=10, rounds=5)
    make = attack.world._make_machine

    class NeverTwice(SessionJournal):
        """Says of each session but the last that it was begun before."""

        def begin(self, round_: int, attempt: int) -> Any:
            if round_ < attack.scenario.rounds - 1:
                raise Refused("replayed")
            return super().begin(round_, attempt)

    class Idle(SimulatedSum):
        def __init__(self, *given: Any, **more: Any) -> None:
            super().__init__(*given, **more)
            self._journal.__class__ = NeverTwice

    def made(index: int) -> Any:
        machine: Any = make(index)
        if index == 7:
            machine._averaging.session_type = Idle
        return machine

    attack.world._make_machine = made
    attack.run()
    for peer in range(10):
        rounds = attack.reported(peer, RoundEnded)
        assert [event.round for event in rounds] == list(range(5)), (
            peer,
            attack.events[peer][-14:],
        )
        sums = attack.reported(peer, MaskedSumEnded)
        if peer != 7:
            assert [event.result for event in sums] == ["summed"] * 5
            assert [event.contributors for event in sums[:4]] == [9] * 4
    assert [event.result for event in attack.reported(7, MaskedSumEnded)] == [
        "aborted: replayed"
    ] * 4 + ["summed"]
    # It took the others' means, and was in step for the last sum.
    assert attack.reported(0, MaskedSumEnded)[-1].contributors == 10
