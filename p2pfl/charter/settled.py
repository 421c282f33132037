"""What a charter says, in the form by which the parts of a daemon go."""

from typing import Any

from p2pfl.charter.charter_file import CharterFile
from p2pfl.group.cards import Member
from p2pfl.group.roster_file import GroupLearning, RosterFile
from p2pfl.group.settings import GroupSettings
from p2pfl.learner.settings import PartitionSettings
from p2pfl_crypto.identity import peer_id_of


def settled(file: CharterFile, partition: PartitionSettings | None = None) -> RosterFile:
    """Return members, task and settings of a charter.

    Args:
        file: the charter.
        partition: of a trial, in which all members split one data set.
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
    return RosterFile(
        name=terms.name,
        rounds=charter.rounds,
        seed=task.seed,
        evaluate_every=running.evaluate_every,
        learning=GroupLearning(**learning),
        averaging=GroupSettings(
            clip=charter.clip,
            patience_s=charter.patience_s,
            deadline_s=charter.relay_s,
            progress_s=charter.progress_s,
            retries=charter.retries,
            weights="equal" if terms.weights == "equal" else "samples",
        ),
        members=tuple(
            Member(
                name=member.name,
                peer_id=peer_id_of(member.key),
                addresses=running.addresses[member.name],
            )
            for member in charter.members
        ),
    )
