"""What the seeds of a sweep share: learners, plans of privacy, the plug-ins that are installed."""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache, lru_cache
from typing import Any

from p2pfl.group import privacy_settings
from p2pfl.learner.learner import Learner, make_learner
from p2pfl.learner.settings import LearningSettings
from p2pfl.plugins import finding

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


_make_plan = lru_cache(privacy_settings.make_plan)
_entry_points = cache(finding.entry_points)


@contextmanager
def kept_parts() -> Iterator[None]:
    """Work each plan of privacy out once, and look once at what is installed."""
    places: tuple[tuple[Any, str, Any], ...] = (
        (privacy_settings, "make_plan", _make_plan),
        (finding, "entry_points", _entry_points),
    )
    before = [getattr(owner, name) for owner, name, _ in places]
    for owner, name, kept in places:
        setattr(owner, name, kept)
    try:
        yield
    finally:
        for (owner, name, _), found in zip(places, before, strict=True):
            setattr(owner, name, found)
