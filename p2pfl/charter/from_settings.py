"""From settings, of a scenario or an old roster, to the form of a charter; `settled` goes back."""

from pathlib import Path
from typing import Any

from p2pfl.charter.form import CharterForm, make_form
from p2pfl.group.privacy_settings import PrivacySettings
from p2pfl.group.settings import AveragingSettings, GroupSettings
from p2pfl.learner.settings import TaskSettings

NOT_OF_CHARTERS = {"algorithm", "masking"}
"""Of a group's settings: a charter's masks are always real."""


def form_from_settings(
    *,
    name: str,
    purpose: str,
    rounds: int,
    evaluate_every: int,
    seed: int,
    learning: TaskSettings,
    averaging: AveragingSettings,
    first_state: Path,
    privacy: PrivacySettings | None = None,
    bundle: Path | None = None,
    source: str,
) -> CharterForm:
    """Return the charter that says what settings say; it names no members.

    Args:
        name: of the group or network.
        purpose: in words.
        rounds: models that are to come of it.
        evaluate_every: rounds between evaluations.
        seed: names random streams.
        learning: what is learnt; its device is each member's own affair, and left out.
        averaging: how members average.
        first_state: the file where it begins.
        privacy: what is promised of members' rows; None if nothing is.
        bundle: of the task; None for one that comes with p2pfl.
        source: what errors name.

    Raises:
        PaperError: there can be no such charter; one line a fault.
    """
    task: dict[str, Any] = {key: getattr(learning, key) for key in TaskSettings.model_fields}
    training = task.pop("training").model_dump(exclude_none=True)
    del task["device"]
    told = averaging.model_dump(exclude_none=True)
    if isinstance(averaging, GroupSettings):
        told = {key: it for key, it in told.items() if key not in NOT_OF_CHARTERS}
    task |= {"name": task.pop("task"), "bundle": bundle, "first_state": first_state, "seed": seed}
    document = {
        "name": name,
        "purpose": purpose,
        "rounds": rounds,
        "evaluate_every": evaluate_every,
        "task": {key: it for key, it in task.items() if it is not None},
        "training": training,
        "averaging": told,
    }
    if privacy is not None:
        document["privacy"] = privacy.model_dump(exclude_none=True)
    return make_form(document, source=source)
