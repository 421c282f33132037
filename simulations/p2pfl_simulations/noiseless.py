"""The same group without noise, and without privacy: what a private run is held against.

Without noise: the same rows, lots by the same rate, the same clip and steps; only the noise is left
out, and with it masks, certificates and members that are away. So what is between the two is what
the noise costs. Lots, clip and single steps cost as well: without privacy, the same members train
as `learning.training` says, and average their models.
"""

from collections.abc import Callable, Iterator, Sequence

import numpy as np

from p2pfl.learner.engines.lot import LOT_UNITS_MAX, Lot
from p2pfl.learner.learner import Learner
from p2pfl.learner.peer_models import PeerModel
from p2pfl.learner.private.lots import PrivateLots
from p2pfl_crypto.hashing import hash_parts
from p2pfl_crypto.private_encoding import ROW_CLIP, Sums
from p2pfl_crypto.private_streams import DROPOUT, LOT, PrivateStream, private_stream
from p2pfl_gossip.actions import Vector
from p2pfl_gossip.learning import Evaluated, Trained
from p2pfl_gossip.ledger.privacy import Privacy, PrivateUnit
from p2pfl_gossip.own_state import NOTHING
from p2pfl_simulations.batch import BATCH_JOBS
from p2pfl_simulations.results.privacy import Compared
from p2pfl_simulations.results.run import RoundRow
from p2pfl_simulations.results.selecting import mean_of
from p2pfl_simulations.scenario import Scenario

Noise = Callable[[], Sums]


def noiseless(
    learner: Learner,
    privacy: Privacy,
    *,
    peers: int,
    rounds: int,
    seed: int,
    noise: Noise | None = None,
) -> Iterator[Vector]:
    """Train as a private group of records does, in one place.

    Args:
        learner: of all peers' rows.
        privacy: what the group's charter would say.
        peers: n.
        rounds: heights.
        seed: of the lots.
        noise: added to each sum, in gradients; for choosing learning rates. Where nobody is
            trusted, none may be.

    Yields:
        float32[d], the model after each round.
    """
    group = _Group(learner.lots, privacy, peers, rounds, seed, noise)
    vector = learner.initial_vector()
    momentum = np.zeros(len(vector))
    for round_ in range(rounds):
        if privacy.takes_lots:
            vector = group.step(vector, momentum, round_)
        else:
            vector = group.average(vector, round_)
        yield vector


def ordinary(learner: Learner, *, peers: int, rounds: int, seed: int) -> Iterator[Vector]:
    """Train as the group would without privacy, in one place, with all members in every round.

    Args:
        learner: of all peers' rows.
        peers: n.
        rounds: heights.
        seed: of the trainings.

    Yields:
        float32[d], the mean of the members' models after each round; a training that fails is left
        out.
    """
    vector, own = learner.initial_vector(), [NOTHING] * peers
    for round_ in range(rounds):
        total, count = np.zeros(len(vector)), 0
        for start in range(0, peers, BATCH_JOBS):
            batch = range(start, min(start + BATCH_JOBS, peers))
            jobs = [
                (
                    peer,
                    PeerModel(vector, own[peer]).train(round_, f"{seed}/{peer}/1/train/{round_}"),
                )
                for peer in batch
            ]
            for peer, result in zip(batch, learner.run(jobs), strict=True):
                if isinstance(result, Trained):
                    total, count, own[peer] = total + result.vector, count + 1, result.own
        if count:
            vector = (total / count).astype(np.float32)
        yield vector


def compare(
    scenario: Scenario,
    learner: Learner,
    privacy: Privacy,
    *,
    last: RoundRow,
    peers: frozenset[int],
    tell: Callable[[str, int], None],
) -> Compared | None:
    """Hold a private run's last round against the same group without noise and without privacy.

    And against members alone.

    Args:
        scenario: what was run.
        learner: of all peers' rows.
        privacy: what its charter said.
        last: of the run; has what local only reached.
        peers: on whose own test rows it is measured.
        tell: is told of progress.

    Returns:
        the figures; None where whole members are the unit: any training may be theirs.
    """
    if privacy.unit == PrivateUnit.MEMBER:
        return None
    count, rounds, seed = scenario.peers, scenario.rounds, scenario.seed
    quiet = noiseless(learner, privacy, peers=count, rounds=rounds, seed=seed)
    plain = ordinary(learner, peers=count, rounds=rounds, seed=seed)
    is_own = last.own_mean is not None
    order = sorted(peers) if is_own else [0]

    def reached(stage: str, made: Iterator[Vector]) -> float | None:
        """Return the primary figure of the last model."""
        model, name = PeerModel(learner.initial_vector()), learner.primary.name
        for round_, vector in enumerate(made):
            tell(stage, round_)
            model = PeerModel(vector)
        jobs = [(peer, model.evaluate(last.round)) for peer in order]
        figures = [
            (it.own if is_own else it.metrics).get(name, np.nan)
            if isinstance(it, Evaluated)
            else np.nan
            for it in learner.evaluate(jobs, with_common=not is_own)
        ]
        return mean_of(np.array(figures))

    return Compared(
        metric=learner.primary.title,
        is_percentage=learner.primary.is_percentage,
        rows="own test rows" if is_own else "common test rows",
        with_noise=last.own_mean if is_own else last.common_mean,
        without_noise=reached("without noise", quiet),
        not_private=reached("without privacy", plain),
        alone=last.own_local_mean if is_own else last.common_local_mean,
    )


class _Group:
    """What the peers do in a round."""

    def __init__(
        self,
        lots: PrivateLots,
        privacy: Privacy,
        peers: int,
        rounds: int,
        seed: int,
        noise: Noise | None,
    ) -> None:
        self._lots, self._privacy, self._noise = lots, privacy, noise
        self._peers, self._rounds, self._seed = peers, rounds, seed

    def step(self, vector: Vector, momentum: Sums, round_: int) -> Vector:
        """Make one step by the sum of all lots; `momentum` moves on in place."""
        drawn, dropout = self._draws(round_)
        total = np.zeros(len(vector))
        for lot in _joined(drawn):
            total += self._sum(vector, lot, dropout)
        if self._noise is not None:
            total += self._noise()
        momentum *= self._privacy.momentum
        momentum += total / self._privacy.lot_expected
        return (vector - self._rate(round_) * momentum).astype(np.float32)

    def average(self, vector: Vector, round_: int) -> Vector:
        """Average models that each took its own steps."""
        total = np.zeros(len(vector))
        for peer in range(self._peers):
            own, (lots, dropout) = vector, self._streams(peer, round_)
            expected = self._privacy.lot_expected / self._peers
            for _ in range(self._privacy.steps):
                lot = self._lots.units(peer).draw(lots, self._privacy.rate_units)
                gradient = self._sum(own, lot, dropout) / expected
                own = (own - self._rate(round_) * gradient).astype(np.float32)
            total += own
        return (total / self._peers).astype(np.float32)

    def _rate(self, round_: int) -> float:
        return self._privacy.rate_of(round_ + 1, self._rounds)

    def _streams(self, peer: int, round_: int) -> tuple[PrivateStream, PrivateStream]:
        parts = (number.to_bytes(8, "little") for number in (self._seed, peer, round_))
        entropy = hash_parts(b"p2pfl/sim-quiet", *parts)
        return private_stream(entropy, LOT), private_stream(entropy, DROPOUT)

    def _draws(self, round_: int) -> tuple[list[Lot], PrivateStream]:
        """Draw all peers' lots; of their dropout masks, the first one's stream serves."""
        streams = [self._streams(peer, round_) for peer in range(self._peers)]
        drawn = [
            self._lots.units(peer).draw(lots, self._privacy.rate_units)
            for peer, (lots, _) in enumerate(streams)
        ]
        return drawn, streams[0][1]

    def _sum(self, vector: Vector, lot: Lot, dropout: PrivateStream) -> Sums:
        seed = int(dropout.words64(1)[0] >> np.uint64(1))
        sums, _ = self._lots.summer.lot_sum(vector, lot, self._privacy.clip * ROW_CLIP, seed)
        return sums


def _joined(lots: Sequence[Lot]) -> Iterator[Lot]:
    """Join lots as far as one may go: a few large sums take less time than many small ones."""
    taken: list[Lot] = []
    for lot in lots:
        if sum(map(_units, taken)) + _units(lot) > LOT_UNITS_MAX:
            yield _one_of(taken)
            taken = []
        taken.append(lot)
    yield _one_of(taken)


def _units(lot: Lot) -> int:
    return len(lot.rows) if lot.sizes is None else len(lot.sizes)


def _one_of(lots: Sequence[Lot]) -> Lot:
    rows = np.concatenate([lot.rows for lot in lots])
    if any(lot.sizes is None for lot in lots):
        return Lot(rows)
    return Lot(rows, [size for lot in lots for size in lot.sizes or ()])
