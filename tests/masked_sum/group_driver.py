# mypy: disable-error-code="arg-type"
"""Runs the machines of one session of a group: public weights, deltas, keys gathered before."""

from typing import Any

import numpy as np
import numpy.typing as npt
from session_driver import PATIENCE, SessionDriver, identities, seeded_entropy

from p2pfl_crypto.encoding import shrink
from p2pfl_crypto.identity import Identity
from p2pfl_crypto.transcripts import advert_digest, tau1_of
from p2pfl_gossip.masked_sum.epoch_cohort import EpochCohort
from p2pfl_gossip.masked_sum.gathered import Gathered
from p2pfl_gossip.masked_sum.group_sum import Aborted, GroupSum, Sums
from p2pfl_gossip.masked_sum.jobs import Secrets, make_secrets

EPOCH, ROUND = 2, 7


def make_epoch(n: int, entries: int, **changes: Any) -> tuple[EpochCohort, list[Identity]]:
    """An epoch's members and one of its rounds; they lead in the order of rank, from the third."""
    people = identities(n)
    fields: dict[str, Any] = {
        "group": b"test",
        "epoch": EPOCH,
        "charter": b"c" * 32,
        "round": ROUND,
        "members": tuple(person.peer_id for person in people),
        "vector_entries": entries,
        "clip": 2.0,
        "weights": tuple(float(10 + 7 * rank % 90) for rank in range(n)),
        "leaders": tuple((rank + 2) % n for rank in range(n)),
        "patience": PATIENCE,
    }
    return EpochCohort(**(fields | changes)), people


class GroupDriver(SessionDriver):
    """One session of a group.

    Args:
        listed: U1; everybody, unless told otherwise. Others have no session.
        turn: whose list it is.
        without_delta: members that have nothing to put in.
    """

    machine_type: type[GroupSum] = GroupSum

    def __init__(
        self,
        cohort: EpochCohort,
        people: list[Identity],
        seed: int,
        *,
        listed: tuple[int, ...] | None = None,
        turn: int = 0,
        without_delta: tuple[int, ...] = (),
        **options: Any,
    ) -> None:
        generator = np.random.default_rng(seed)
        raw = [
            generator.normal(0, 0.4, cohort.vector_entries).astype(np.float32)
            for _ in range(cohort.size)
        ]
        deltas = options.pop("vectors", None) or [shrink(one, cohort.clip)[0] for one in raw]
        super().__init__(
            cohort, people, seed, vectors=deltas, weights=list(cohort.weights), **options
        )
        self.epoch_cohort, self.without_delta = cohort, without_delta
        self.listed = tuple(range(cohort.size)) if listed is None else listed
        core_type = self.machine_type.core_type
        self.secrets: dict[int, Secrets] = {
            rank: make_secrets(seeded_entropy(f"{seed}/{rank}/keys")) for rank in self.listed
        }
        keys = {rank: core_type.public_keys(self.secrets[rank]) for rank in self.listed}
        self.share_keys = {rank: share for rank, (share, _) in keys.items()}
        self.mask_keys = {rank: mask for rank, (_, mask) in keys.items()}
        self.turn = turn
        digests = [advert_digest(cohort.session, rank, *keys[rank]) for rank in self.listed]
        self.tau1 = tau1_of(cohort.session, cohort.pack(self.listed), digests)
        self.base = generator.normal(0, 1, cohort.vector_entries).astype(np.float32)

    def gathered(self, rank: int) -> Gathered:
        """What the ledger gives a member."""
        return Gathered(
            secrets=self.secrets[rank],
            dealers=self.listed,
            share_keys=self.share_keys,
            mask_keys=self.mask_keys,
            tau1=self.tau1,
            turn=self.turn,
        )

    def make_machine(self, rank: int) -> GroupSum:
        return self.machine_type(
            self.epoch_cohort,
            self.people[rank],
            None if rank in self.without_delta else self.vectors[rank],
            self.gathered(rank),
            entropy=self.entropy_of(rank),
            records=dict(self.records[rank]),
            desk=self.desks[rank],
        )

    def run(self, absent: tuple[int, ...] = (), until_s: float = float("inf")) -> "GroupDriver":
        unlisted = tuple(rank for rank in range(self.cohort.size) if rank not in self.listed)
        super().run((*absent, *unlisted), until_s)
        return self

    # What must hold

    def summed(self) -> dict[int, Any]:
        return {
            rank: machine.outcome
            for rank, machine in self.machines.items()
            if rank not in self.dead and isinstance(machine.outcome, Sums)
        }

    def aborted(self) -> dict[int, Aborted]:
        """How it ended for each member that is alive and has no sums."""
        return {
            rank: machine.outcome
            for rank, machine in self.machines.items()
            if rank not in self.dead and isinstance(machine.outcome, Aborted)
        }

    def plain_sum(self, members: tuple[int, ...], chunk: int) -> npt.NDArray[np.int64]:
        """The sum of what members encoded, without masks."""
        entries = self.cohort.entries_of(chunk)
        total = np.zeros(entries.stop - entries.start, np.int64)
        for rank in members:
            key = self.masked[rank, chunk].rounding_key
            delta, weight = self.vectors[rank][entries], self.weights[rank]
            body, _ = self.epoch_cohort.encoding.encode_body(delta, weight, key, chunk)
            total += body.view(np.int32)
        return total

    def model_of(self, sums: Sums) -> npt.NDArray[np.float32]:
        """The model that sums lead to, from the common base."""
        cohort, model = self.epoch_cohort, self.base.copy()
        weight = cohort.weight_of(sums.members)
        for chunk, summed in enumerate(sums.chunks):
            if summed is None or not cohort.deltas.is_in_range(
                summed.body, weight, len(sums.members)
            ):
                continue
            entries = cohort.entries_of(chunk)
            everybody = cohort.weight_of(range(cohort.size))
            model[entries] = cohort.deltas.apply(model[entries], summed.body, everybody)
        return model

    def has_lost_parts(self) -> bool:
        """Whether what owners of a chunk put into it is held by nobody that is alive."""
        cohort = self.epoch_cohort
        for machine in self.machines.values():
            ballot, members = machine._voting.certified, machine._agreement.members
            for chunk in range(cohort.chunk_count) if ballot is not None else ():
                owners = machine._voting.live_owners(ballot, chunk)
                named = cohort.unpack(ballot.members)
                assert named is not None
                everybody = cohort.owners_of(chunk, members)
                if owners and all(owner in self.dead for owner in everybody):
                    return any(owner in named for owner in everybody)
        return False

    def check_exact(self) -> dict[int, Any]:
        """All that have sums have the same, those of U3; and one model follows."""
        outcomes, models = self.summed(), set()
        for rank, sums in outcomes.items():
            assert len(sums.members) >= self.cohort.threshold
            assert len(sums.chunks) == self.cohort.chunk_count
            for chunk, summed in enumerate(sums.chunks):
                if summed is None:
                    continue
                assert summed.chunk == chunk
                total = self.plain_sum(sums.members, chunk)
                assert (summed.body.view(np.int32) == total).all(), (self.seed, rank, chunk)
            models.add(self.model_of(sums).tobytes())
        assert len(models) <= 1, self.seed
        return outcomes


def outcome_of_group(driver: GroupDriver) -> str:
    """Check all that must hold, and say in a word how the session ended for the honest."""
    driver.check_safety()
    outcomes = driver.check_exact()
    honest = [
        rank
        for rank in driver.listed
        if rank not in driver.dead and rank not in driver.rewrite and not driver.incarnation[rank]
    ]
    summed = [rank for rank in honest if rank in outcomes]
    if not summed:
        return "aborted"
    if len(summed) < len(honest):
        return "exact for some"
    return "exact" if all(outcomes[summed[0]].chunks) else "chunks kept"
