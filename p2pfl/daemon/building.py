"""From what members have agreed on, and one member's own settings, to its machine."""

import os
import time
from collections.abc import Callable
from functools import partial
from random import Random
from typing import TypeAlias

from p2pfl.group.agreed import Agreed
from p2pfl.group.averaging import Group, clip_of, make_averaging, peer_settings
from p2pfl.group.cohort_sizes import with_cohort_size
from p2pfl.learner.errors import LearningError
from p2pfl.learner.learner import Learner
from p2pfl.learner.peer_models import PeerModel
from p2pfl_crypto.hashing import hash_parts
from p2pfl_crypto.identity import Identity
from p2pfl_gossip.actions import Job, Vector
from p2pfl_gossip.desk import Desk
from p2pfl_gossip.learning import (
    Evaluate,
    Evaluated,
    LearningJob,
    Train,
    TrainPrivately,
    WorkFailed,
)
from p2pfl_gossip.ledger.charter import Epoch
from p2pfl_gossip.ledger.jobs import perform
from p2pfl_gossip.ledger.member import GroupMember
from p2pfl_gossip.opening import Opening
from p2pfl_gossip.peer import Peer
from p2pfl_gossip.peer_state import PeerSettings
from p2pfl_gossip.records import Record

Note: TypeAlias = Callable[[int, PeerModel, dict[str, float]], None]
"""Is told a round, the model that it gave, and its figures on rows to choose a model by."""

STREAM_SEED_BYTES = 16
"""Of what names the random streams of one process of a peer: nobody finds it by trying."""


def make_group_member(
    founding: Epoch,
    identity: Identity,
    initial: Vector,
    agreed: Agreed,
    *,
    invitation: bytes | None = None,
    draws: str | None = None,
) -> GroupMember:
    """Make the machine of a member that keeps a ledger.

    Args:
        founding: the first epoch.
        identity: the member's.
        initial: float32[d], the first state's model.
        agreed: settings of the charter in force, as `settled` has them.
        invitation: of who came after the founding.
        draws: names the random streams that training draws rows by, for a run that is to be
            repeated. As a rule None: then they are the operating system's, and nobody can work out
            again what a member trained, or have all train the same again, but for one.
    """
    return GroupMember(
        founding=founding,
        identity=identity,
        initial=initial,
        settings=_peer_settings(agreed),
        seed=_streams(draws) if draws is None else f"{draws}/{founding.rank_of(identity.peer_id)}",
        entropy=os.urandom,
        invitation=invitation,
    )


def agreed_draw(network: bytes) -> bytes:
    """Return the seed of a network's cohorts and graphs, 32 bytes.

    It follows from the network's name, and so from the random bytes of all founders: each had
    committed to its own before any was shown, so that nobody could choose who meets whom.
    """
    return hash_parts(b"p2pfl/net-draw", network)


def make_network_peer(
    agreed: Agreed,
    network: bytes,
    identity: Identity,
    learner: Learner,
    initial: Vector,
    *,
    draw_seed: bytes,
    draws: str | None = None,
) -> Opening:
    """Make a peer that gossips, from before its network opens.

    Args:
        agreed: settings of the network's charter.
        network: its name, the charter's digest.
        identity: the peer's.
        learner: says what it would average.
        initial: the first state's model, float32[d].
        draw_seed: of cohorts and graphs, 32 bytes.
        draws: as of `make_group_member`.

    Raises:
        AveragingError: the averaging settings do not fit the network.
        LearningError: the start is beyond what the masked sums carry.
    """
    learner.require_start_within(clip_of(agreed.averaging))
    members, streams = agreed.roster(), _streams(draws)
    index = members.peers.index(identity.peer_id)

    def make_peer(draw_seed: bytes, desk: Desk) -> Peer:
        group = Group(
            roster=members,
            initial=initial,
            draw_seed=draw_seed,
            group_id=network,
            identity_of=lambda _index: identity,
            entropy_of=lambda _index: os.urandom,
        )
        sized = with_cohort_size(agreed.averaging, len(agreed.members), agreed.rounds)
        averaging = make_averaging(sized, group)
        return Peer(
            index=index,
            roster=members,
            settings=_peer_settings(agreed),
            initial=initial,
            make_averaging=lambda inner: averaging(index, inner),
            seed=streams,
            desk=desk,
        )

    # Here settings that do not fit the network show, before anything runs.
    make_peer(draw_seed, Desk())
    return Opening(
        index=index,
        roster=members,
        deadline_s=agreed.averaging.deadline_s,
        draw_seed=draw_seed,
        description=learner.description,
        make_peer=make_peer,
        rng=Random(os.urandom(16)),
    )


def _streams(draws: str | None) -> str:
    """Return what names random streams: the operating system's draw, if nothing is given."""
    return os.urandom(STREAM_SEED_BYTES).hex() if draws is None else draws


def _peer_settings(agreed: Agreed) -> PeerSettings:
    return peer_settings(
        agreed.averaging,
        rounds=agreed.rounds,
        checkpoint_every=agreed.checkpoint_every,
        evaluate_every=agreed.evaluate_every,
    )


def _learned(learner: Learner, place: int, job: Job) -> Record:
    try:
        return learner.run([(place, job)])[0]
    except LearningError as error:
        return WorkFailed(str(error))  # It names the task and its line.


def _timed(learn: Callable[[Job], Record], learner: Learner, place: int, job: Train) -> Record:
    """Train, and note how long a step takes, so that the next round has as many as fit.

    The first training of a process is one step, which tells how long one takes: another follows.
    """
    steps = learner.steps(place, job)
    began_s = time.monotonic()
    result = learn(job)
    learner.fit(place, (time.monotonic() - began_s) / steps)
    if steps == 1 and learner.steps(place, job) > 1:
        return _timed(learn, learner, place, job)
    return result


def _stretched(
    learn: Callable[[Job], Record], learner: Learner, place: int, step_s: float
) -> Callable[[Job], Record]:
    """Have jobs of learning last as long as their steps take a slower machine; what comes is equal.

    The thread waits: as on such a machine, a training that is no longer wanted holds up the next.
    """

    def do(job: Job) -> Record:
        began_s = time.monotonic()
        steps = learner.steps(place, job) if isinstance(job, Train | TrainPrivately) else 1
        due_s = began_s + step_s * steps
        result = learn(job)
        time.sleep(max(0.0, due_s - time.monotonic()))
        return result

    return do


def make_work(
    learner: Learner,
    place: int,
    note: Note = lambda _round, _model, _validation: None,
    *,
    step_s: float = 0.0,
) -> Callable[[Job], Record]:
    """Return what does the jobs of a peer.

    Args:
        learner: does those of learning.
        place: the number of the peer's rows in it.
        note: is told each model that is evaluated.
        step_s: how long a step takes at least; an evaluation counts as one.
    """
    learn: Callable[[Job], Record] = partial(_learned, learner, place)
    if step_s:
        learn = _stretched(learn, learner, place, step_s)

    def work(job: Job) -> Record:
        if isinstance(job, Train) and learner.fits_to_seconds:
            return _timed(learn, learner, place, job)
        if not isinstance(job, LearningJob):
            return perform(job)
        result = learn(job)
        if isinstance(job, Evaluate):
            validation = result.validation if isinstance(result, Evaluated) else {}
            note(job.round, PeerModel(job.vector, job.own), validation)
        return result

    return work
