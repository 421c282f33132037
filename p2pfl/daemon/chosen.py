"""The model that a peer has chosen: of all rounds that it has seen, the best on its own rows.

A member of a group cannot end it, and what the group certifies is each round's model. But which of
these it uses, each peer decides for itself, by rows of its own that it neither trains on nor is
measured on (`learning.validation`). It is kept beside the journal, and nobody else learns of it.

    DIR/chosen.safetensors     as in model_files.py; its metadata say of which round, by what, and
                               by which rows, since figures of other rows cannot be compared
"""

from pathlib import Path

import numpy as np

from p2pfl.daemon.errors import ServiceError
from p2pfl.daemon.model_files import broken, read_about, read_peer_model, write_peer_model
from p2pfl.learner.kept import Kept
from p2pfl.learner.learner import Learner
from p2pfl.learner.peer_models import PeerModel


class Chosen:
    """Keeps the best model, over restarts.

    What is in the file of another task, or chosen by other rows, is removed.

    Args:
        learner: knows the rows.
        place: the number of the peer's rows in it.
        path: the file.

    Attributes:
        problem: why the best model could not be kept, one line; empty if nothing is wrong.
    """

    def __init__(self, learner: Learner, place: int, path: Path) -> None:
        self.problem = ""
        self._path, self._learner = path, learner
        self._kept: Kept[tuple[int, PeerModel]] = Kept(learner.primary)
        if not learner.validation_count(place):
            path.unlink(missing_ok=True)
            return
        inputs = learner.inputs()
        self._of = {
            "task": learner.description.digest.hex(),
            "rows": f"{inputs.train} {inputs.split}",
            "by": learner.primary.name,
        }
        try:
            self._restore()
        except ServiceError as error:
            self.problem = str(error)

    @property
    def model(self) -> tuple[int, PeerModel] | None:
        """Its round, from 0, and the model; None where there is none yet."""
        return self._kept.model

    def offer(self, round_: int, model: PeerModel, validation: dict[str, float]) -> None:
        """Take the model of a round, if its figure on validation rows is the best so far."""
        figure = validation.get(self._learner.primary.name)
        if not self._kept.is_better(figure):
            return
        self._kept.offer((round_, model), figure)
        about = {**self._of, "round": str(round_ + 1), "figure": repr(figure)}
        try:
            write_peer_model(self._path, model, about)
            self.problem = ""
        except ServiceError as error:  # The group goes on; who asks for the model is told.
            self.problem = str(error)

    def _restore(self) -> None:
        about = read_about(self._path)
        if about is None:
            return
        if any(about.get(key) != value for key, value in self._of.items()):
            self._path.unlink()
            return
        model, about = read_peer_model(self._path)
        round_, figure = chosen_of(self._path, about)
        if model.vector.shape != (self._learner.vector_length,):
            raise broken(self._path, "another length")
        self._kept.offer((round_ - 1, model), figure)


def chosen_of(path: Path, about: dict[str, str]) -> tuple[int, float]:
    """Return the round of a chosen model, from 1, and its figure.

    Raises:
        ServiceError: the file does not say.
    """
    try:
        round_, figure = int(about["round"]), float(about["figure"])
    except (KeyError, ValueError):
        raise broken(path, "it does not say of which round it is") from None
    if np.isnan(figure):
        raise broken(path, "its figure is not known")
    return round_, figure
