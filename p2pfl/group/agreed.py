"""What the members of a group have agreed on, in the form by which the parts of a daemon go."""

from dataclasses import dataclass
from pathlib import Path

from p2pfl.group.cards import Member
from p2pfl.group.settings import AveragingSettings, CohortSettings, GroupSettings
from p2pfl.learner.settings import (
    IidPartition,
    LearningSettings,
    PartitionSettings,
    TaskSettings,
)
from p2pfl_crypto.identity import PeerId
from p2pfl_gossip.roster import Roster


class AgreedLearning(TaskSettings):
    """What is learnt, and how; on whose rows is each member's own affair, but in trials."""

    partition: PartitionSettings | None = None
    """Of a trial: splits the task's data among the members; None where each has its own."""

    def of_member(self, data_dir: Path | None) -> LearningSettings:
        """Return the settings of a member's learner: for all members if there is a partition.

        Args:
            data_dir: where this member's data are, if not where the task looks by itself.
        """
        shared = {name: getattr(self, name) for name in TaskSettings.model_fields}
        partition = self.partition or IidPartition()
        return LearningSettings(**shared, data_dir=data_dir, partition=partition)


@dataclass(frozen=True)
class Agreed:
    """Members, task and settings.

    Attributes:
        name: of the group, for people.
        rounds: models that are to come of it.
        seed: names random streams; no secret.
        evaluate_every: rounds between evaluations; 0 evaluates never.
        checkpoint_every: rounds between the models that a peer persists; a trial's own.
        learning: what is learnt, and how.
        averaging: how members average.
        members: in the order of admission.
    """

    name: str
    rounds: int
    seed: int
    evaluate_every: int
    checkpoint_every: int
    learning: AgreedLearning
    averaging: AveragingSettings
    members: tuple[Member, ...]

    @property
    def hides_models(self) -> bool:
        """Whether members average by masked sums, so that nobody sees a single model."""
        averaging = self.averaging
        return isinstance(averaging, CohortSettings | GroupSettings) and averaging.masking == "real"

    @property
    def keeps_ledger(self) -> bool:
        """Whether it is a group that comes to one certified model a round."""
        return isinstance(self.averaging, GroupSettings)

    @property
    def is_audited(self) -> bool:
        """Whether a sum counts only once its members have proved that updates are bounded."""
        averaging = self.averaging
        return isinstance(averaging, GroupSettings) and averaging.audit in ("void", "name")

    def roster(self) -> Roster:
        """Return the members' identities, in order of admission."""
        return Roster(PeerId(member.peer_id) for member in self.members)
