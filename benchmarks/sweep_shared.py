"""What the seeds of a sweep share: learners, and plans of privacy."""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache

from replacing import replaced

from p2pfl.group import privacy_settings
from p2pfl.learner.learner import Learner, make_learner
from p2pfl.learner.settings import LearningSettings
from p2pfl.privacy.planner import make_plan

LEARNERS_KEPT = 64


@lru_cache(maxsize=LEARNERS_KEPT)
def _learner(written: str, peers: int) -> Learner:
    settings = LearningSettings.model_validate_json(written)
    return make_learner(settings, peer_count=peers, seed=peers, folder=None)


def shared_learner(settings: LearningSettings, peers: int) -> Learner:
    """Return the learner of all seeds with such settings and so many peers.

    It splits the rows alike for all of them; what is trained still follows from a seed's draws.
    """
    return _learner(settings.model_dump_json(), peers)


_make_plan = lru_cache(make_plan)


@contextmanager
def kept_plans() -> Iterator[None]:
    """Work each plan of privacy out once: it takes seconds."""
    with replaced([(privacy_settings, "make_plan", _make_plan)]):
        yield
