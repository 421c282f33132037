"""From a roster and one member's own settings to the machine of that member."""

import os
import time
from collections.abc import Callable
from pathlib import Path
from random import Random

from p2pfl.daemon.errors import MembershipError
from p2pfl.group.averaging import AveragingError, Group, clip_of, make_averaging, peer_settings
from p2pfl.group.cohort_sizes import with_cohort_size
from p2pfl.group.roster_charter import founding_epoch
from p2pfl.group.roster_file import RosterFile, group_id
from p2pfl.learner.errors import LearningError
from p2pfl.learner.learner import Learner, make_learner
from p2pfl.learner.peer_models import PeerModel
from p2pfl.store.keys import PeerKeys
from p2pfl_crypto.identity import Identity
from p2pfl_gossip.actions import Job, Vector
from p2pfl_gossip.desk import Desk
from p2pfl_gossip.learning import Evaluate, LearningJob, Train, WorkFailed
from p2pfl_gossip.ledger.charter import Epoch
from p2pfl_gossip.ledger.jobs import perform
from p2pfl_gossip.ledger.meeting import Meeting
from p2pfl_gossip.ledger.member import GroupMember
from p2pfl_gossip.opening import Opening
from p2pfl_gossip.peer import Peer
from p2pfl_gossip.peer_state import PeerSettings
from p2pfl_gossip.records import Record
from p2pfl_gossip.reveals import Reveals

STREAM_SEED_BYTES = 16
"""Of what names the random streams of one process of a peer: nobody finds it by trying."""


def index_in(roster: RosterFile, keys: PeerKeys) -> int:
    """Return a peer's place in the roster.

    Raises:
        MembershipError: it has none, or the roster commits it to another draw secret.
    """
    peer_id, commitment = keys.identity.peer_id, keys.commitment.hex()
    for index, member in enumerate(roster.members):
        if member.peer_id != peer_id:
            continue
        draws_cohorts = roster.draw_seed is None and not roster.keeps_ledger
        if draws_cohorts and member.commitment != commitment:
            raise MembershipError(
                f"the roster commits {member.name} to another draw secret than its key holds: have"
                " a new roster made with its card (p2pfl peer card writes it again)"
            )
        return index
    raise MembershipError(
        f"the roster does not name this peer, {peer_id}: have it added by its card"
        " (p2pfl roster add), and put the new roster here"
    )


def make_member_learner(
    roster: RosterFile, index: int, *, data_dir: Path | None, threads: int, folder: Path
) -> tuple[Learner, int]:
    """Return the learner of a member, and the number that its rows have there.

    Args:
        roster: says what is learnt. With a partition, all members split one data set, and each
            takes its share; without, all rows that the task finds are this member's own.
        index: the member's place in the roster.
        data_dir: where the member's data are, in place of the roster's; None leaves that.
        threads: threads to train on.
        folder: where the group's own task is imported from; `data_dir` is relative to it.

    Raises:
        LearningError: the task or its data cannot be had.
    """
    shares = roster.learning.partition is not None
    learner = make_learner(
        roster.learning.of_member(data_dir),
        peer_count=len(roster.members) if shares else 1,
        seed=roster.seed,
        folder=folder,
        threads=threads,
    )
    return learner, index if shares else 0


def make_machine(
    roster: RosterFile,
    index: int,
    identity: Identity,
    learner: Learner,
    draw_secret: bytes,
    *,
    draws: str | None = None,
) -> Opening | Meeting[GroupMember]:
    """Make the machine of a member, from before the group opens.

    Args:
        roster: of the group.
        index: the member's place in it.
        identity: the member's.
        learner: gives the common start.
        draw_secret: the member's part of the seed of cohorts and graphs, where there are any.
        draws: names the random streams that training draws rows by, for a run that is to be
            repeated. As a rule None: then they are the operating system's, and nobody can work out
            again what a member trained, or have all train the same again, but for one.

    Raises:
        AveragingError, RosterError: the averaging settings do not fit the group.
        MembershipError: draws are given outside of a trial.
        LearningError: the start is beyond what the masked sums carry.
    """
    if draws is not None and roster.draw_seed is None:
        raise MembershipError(
            "draws of training are given in trials only, whose roster has a draw_seed: leave"
            " --draws out"
        )
    if roster.keeps_ledger:
        return _make_meeting(roster, index, identity, learner, draws)
    return _make_opening(roster, index, identity, learner, draw_secret, draws)


def founding_of(roster: RosterFile, learner: Learner) -> Epoch:
    """Return the first epoch of a roster's group.

    Raises:
        RosterError: such a group cannot be.
    """
    counts = None
    if roster.shares_rows:
        counts = [learner.sample_count(index) for index in range(len(roster.members))]
    return founding_epoch(roster, learner.description, learner.initial_vector(), counts)


def _make_meeting(
    roster: RosterFile, index: int, identity: Identity, learner: Learner, draws: str | None
) -> Meeting[GroupMember]:
    """Make a member that keeps a ledger."""
    if not roster.hides_models:
        raise AveragingError(
            "modelled masks hide nothing and are for simulations only; set averaging.masking to"
            " 'real'"
        )
    founding, initial = founding_of(roster, learner), learner.initial_vector()
    streams = os.urandom(STREAM_SEED_BYTES).hex() if draws is None else draws

    def make_member(desk: Desk) -> GroupMember:
        return GroupMember(
            founding=founding,
            identity=identity,
            initial=initial,
            settings=_peer_settings(roster),
            seed=f"{streams}/{index}",
            entropy=os.urandom,
            desk=desk,
        )

    return Meeting(
        index=index,
        roster=roster.roster(),
        period_s=roster.averaging.deadline_s,
        description=learner.description,
        make_member=make_member,
    )


def make_charter_member(
    founding: Epoch,
    identity: Identity,
    initial: Vector,
    roster: RosterFile,
    *,
    invitation: bytes | None,
    draws: str | None = None,
) -> GroupMember:
    """Make the machine of a member whose group goes by charters.

    Args:
        founding: the first epoch.
        identity: the member's.
        initial: float32[d], the first state's model.
        roster: settings of the charter in force, as `settled` has them.
        invitation: of who came after the founding.
        draws: as of `make_machine`.
    """
    streams = os.urandom(STREAM_SEED_BYTES).hex() if draws is None else draws
    return GroupMember(
        founding=founding,
        identity=identity,
        initial=initial,
        settings=_peer_settings(roster),
        seed=streams,
        entropy=os.urandom,
        invitation=invitation,
    )


def _peer_settings(roster: RosterFile) -> PeerSettings:
    return peer_settings(
        roster.averaging,
        rounds=roster.rounds,
        checkpoint_every=roster.checkpoint_every,
        evaluate_every=roster.evaluate_every,
    )


def _make_opening(
    roster: RosterFile,
    index: int,
    identity: Identity,
    learner: Learner,
    draw_secret: bytes,
    draws: str | None,
) -> Opening:
    """Make a peer that gossips, from before its network opens."""
    learner.require_start_within(clip_of(roster.averaging))
    members = roster.roster()
    name, initial = group_id(roster), learner.initial_vector()

    def make_peer(draw_seed: bytes, desk: Desk) -> Peer:
        group = Group(
            roster=members,
            initial=initial,
            draw_seed=draw_seed,
            group_id=name,
            identity_of=lambda _index: identity,
            entropy_of=lambda _index: os.urandom,
        )
        sized = with_cohort_size(roster.averaging, len(roster.members), roster.rounds)
        averaging = make_averaging(sized, group)
        return Peer(
            index=index,
            roster=members,
            settings=_peer_settings(roster),
            initial=initial,
            make_averaging=lambda inner: averaging(index, inner),
            seed=os.urandom(STREAM_SEED_BYTES).hex() if draws is None else draws,
            desk=desk,
        )

    # Here settings that do not fit the group show, before anything runs.
    make_peer(bytes(32), Desk())
    draw: Reveals | bytes
    if roster.draw_seed is not None:
        draw = bytes.fromhex(roster.draw_seed)
    else:
        commitments = tuple(bytes.fromhex(member.commitment or "") for member in roster.members)
        draw = Reveals(group_id=name, commitments=commitments, index=index, secret=draw_secret)
    return Opening(
        index=index,
        roster=members,
        deadline_s=roster.averaging.deadline_s,
        draw=draw,
        description=learner.description,
        make_peer=make_peer,
        rng=Random(os.urandom(16)),
    )


def _learned(learner: Learner, place: int, job: Job) -> Record:
    try:
        return learner.run([(place, job)])[0]
    except LearningError as error:
        return WorkFailed(str(error))  # It names the task and its line.


def _timed(learner: Learner, place: int, job: Train) -> Record:
    """Train, and note how long a step takes, so that the next round has as many as fit.

    The first training of a process is one step, which tells how long one takes: another follows.
    """
    steps = learner.steps(place, job)
    began_s = time.monotonic()
    result = _learned(learner, place, job)
    learner.fit(place, (time.monotonic() - began_s) / steps)
    if steps == 1 and learner.steps(place, job) > 1:
        return _timed(learner, place, job)
    return result


def make_work(
    learner: Learner,
    place: int,
    note: Callable[[int, PeerModel], None] = lambda _round, _model: None,
) -> Callable[[Job], Record]:
    """Return what does the jobs of a peer.

    Args:
        learner: does those of learning.
        place: the number of the peer's rows in it.
        note: is told each model that is evaluated, with its round.
    """

    def work(job: Job) -> Record:
        if isinstance(job, Train) and learner.fits_to_seconds:
            return _timed(learner, place, job)
        if isinstance(job, Evaluate):
            note(job.round, PeerModel(job.vector, job.own))
        if isinstance(job, LearningJob):
            return _learned(learner, place, job)
        return perform(job)

    return work
