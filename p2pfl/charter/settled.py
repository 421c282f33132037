"""What a charter says, in the form by which the parts of a daemon go."""

from typing import Any

from p2pfl.charter.charter_file import CharterFile
from p2pfl.group.agreed import Agreed, AgreedLearning
from p2pfl.group.cards import Member
from p2pfl.group.settings import AveragingSettings, GroupSettings, audit_named
from p2pfl.learner.settings import PartitionSettings
from p2pfl_crypto.identity import peer_id_of


def settled(
    file: CharterFile, partition: PartitionSettings | None = None, *, checkpoint_every: int = 1
) -> Agreed:
    """Return members, task and settings of a charter.

    Args:
        file: the charter.
        partition: of a trial, in which all members split one data set.
        checkpoint_every: of a trial: rounds between the models that a peer persists.
    """
    charter, terms, running = file.charter, file.terms, file.running
    task = terms.task
    learning: dict[str, Any] = {
        "task": task.name,
        "options": task.options,
        "training": running.training,
        "dtype": task.dtype,
        "held_out": task.held_out,
        "validation": task.validation,
        "evaluation_rows": task.evaluation_rows,
        "partition": partition,
    }
    return Agreed(
        name=terms.name,
        rounds=charter.rounds,
        seed=task.seed,
        evaluate_every=running.evaluate_every,
        checkpoint_every=checkpoint_every,
        learning=AgreedLearning(**learning),
        averaging=terms.network or _of_group(file),
        members=tuple(
            Member(
                name=member.name,
                peer_id=peer_id_of(member.key),
                addresses=running.addresses[member.name],
            )
            for member in charter.members
        ),
    )


def _of_group(file: CharterFile) -> AveragingSettings:
    charter = file.charter
    return GroupSettings(
        clip=charter.clip,
        patience_s=charter.patience_s,
        deadline_s=charter.relay_s,
        progress_s=charter.progress_s,
        retries=charter.retries,
        audit=audit_named(charter.audit),
        weights="equal" if file.terms.weights == "equal" else "samples",
    )
