"""The robust rules by name, as settings know them, and how many liars each can bear."""

import difflib
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np
import numpy.typing as npt

from p2pfl_gossip.averaging.robust.centres import (
    centred_clipping,
    clipped_sum,
    geometric_median,
    self_centred_clipping,
)
from p2pfl_gossip.averaging.robust.coordinates import Models, Point, median, trimmed_mean
from p2pfl_gossip.averaging.robust.distances import (
    bucketing,
    krum,
    multi_krum,
    nearest_neighbour_mixing,
)
from p2pfl_gossip.draws import draw_permutation
from p2pfl_gossip.records import Record

BUCKET = 2
"""Models of a bucket: more would have f liars in every bucket, of few."""

AUTO_SHARE = 0.2
"""Of the models that a peer averages: how many may be liars', if settings do not say."""


class RobustError(Exception):
    """A rule that cannot be had, or not among so few models; the message says what to change."""


@dataclass(frozen=True, slots=True)
class RuleInput:
    """What a rule works on.

    Attributes:
        models: float64[n, d], in the order of the roster.
        liars: f, how many of them may be liars'.
        own: the row of the peer's own; None where it is among no others, or gave no update.
        weights: float64[n], mixing weights that sum to 1.
        radius: that settings give; None where the rule is to find one.
    """

    models: Models
    liars: int
    own: int | None
    weights: npt.NDArray[np.float64]
    radius: float | None

    @property
    def faulty(self) -> float:
        """The weight that liars may have together: that of the f heaviest neighbours."""
        others = np.delete(self.weights, [] if self.own is None else [self.own])
        return float(np.sort(others)[::-1][: self.liars].sum())


@dataclass(frozen=True, slots=True)
class RuleKind:
    """A line of the list of rules.

    Attributes:
        name: what settings call it.
        description: one line for people.
        apply: what it does.
        models_min: how many models it takes at least, of which f may be liars'.
        is_centred_on_own: whether it moves a peer's own model, by the weights of a graph.
        takes_radius: whether settings may give one.
    """

    name: str
    description: str
    apply: Callable[[RuleInput], Point]
    models_min: Callable[[int], int]
    is_centred_on_own: bool = False
    takes_radius: bool = False


def _own(gathered: RuleInput) -> int:
    assert gathered.own is not None  # Combining gives it to rules that are centred on it.
    return gathered.own


RULES: Mapping[str, RuleKind] = MappingProxyType(
    {
        kind.name: kind
        for kind in (
            RuleKind(
                "trimmed-mean",
                "each coordinate's mean without its f largest and f smallest values",
                lambda it: trimmed_mean(it.models, it.liars),
                lambda liars: 2 * liars + 1,
            ),
            RuleKind(
                "median",
                "each coordinate's median",
                lambda it: median(it.models),
                lambda liars: 2 * liars + 1,
            ),
            RuleKind(
                "geometric-median",
                "the point with the least sum of distances to all models",
                lambda it: geometric_median(it.models),
                lambda liars: 2 * liars + 1,
            ),
            RuleKind(
                "krum",
                "the one model that is nearest to its neighbours",
                lambda it: krum(it.models, it.liars),
                lambda liars: 2 * liars + 3,
            ),
            RuleKind(
                "multi-krum",
                "the mean of the n - f models that Krum has first",
                lambda it: multi_krum(it.models, it.liars),
                lambda liars: 2 * liars + 3,
            ),
            RuleKind(
                "centred-clipping",
                "the mean of differences to a centre, each clipped to a radius",
                lambda it: centred_clipping(it.models, it.radius),
                lambda liars: 2 * liars + 1,
                takes_radius=True,
            ),
            RuleKind(
                "self-centred-clipping",
                "ClippedGossip: neighbours' differences to one's own model, clipped",
                lambda it: self_centred_clipping(
                    it.models, _own(it), it.weights, it.faulty, it.radius
                ),
                lambda liars: 2 * liars + 1,
                is_centred_on_own=True,
                takes_radius=True,
            ),
            RuleKind(
                "clipped-sum",
                "CS+: as ClippedGossip, with a radius that bears more liars",
                lambda it: clipped_sum(it.models, _own(it), it.weights, it.faulty),
                lambda liars: 2 * liars + 2,
                is_centred_on_own=True,
            ),
        )
    }
)

FIRST: Mapping[str, str] = MappingProxyType(
    {
        "none": "nothing",
        "nnm": "each model becomes the mean of its n - f nearest",
        "bucketing": "models are averaged by twos, in a drawn order",
    }
)
"""What may be done before a rule."""


def rule_kind(name: str) -> RuleKind:
    """Return a line of the list.

    Raises:
        RobustError: there is none of that name; the nearest one is told.
    """
    kind = RULES.get(name)
    if kind is None:
        near = difflib.get_close_matches(name, RULES, n=1)
        hint = f"did you mean {near[0]!r}?" if near else f"there are {', '.join(RULES)}"
        raise RobustError(f"no robust rule is called {name!r}; {hint}")
    return kind


class RobustRule(Record, frozen=True):
    """A rule, with what is done before it.

    Attributes:
        name: a key of RULES.
        liars: f, at least 1.
        first: a key of FIRST.
        radius: of a rule that takes one.
        seed: public seed of the order of buckets.
    """

    name: str
    liars: int
    first: str = "none"
    radius: float | None = None
    seed: bytes = b""

    @property
    def is_centred_on_own(self) -> bool:
        """Whether it moves a peer's own model, by the weights of a graph."""
        return RULES[self.name].is_centred_on_own

    @property
    def models_min(self) -> int:
        """How many models it takes at least."""
        after = RULES[self.name].models_min(self.liars)
        if self.first == "bucketing":
            return BUCKET * (after - 1) + 1  # So many make `after` buckets, the last one of one.
        return after

    def apply(
        self,
        models: Models,
        *,
        own: int | None = None,
        weights: npt.NDArray[np.float64] | None = None,
        draw: int = 0,
    ) -> Point:
        """Average models.

        Args:
            models: float64[n, d], all finite; n is at least `models_min`.
            own: the row of the peer's own model, for a rule that is centred on it.
            weights: float64[n], mixing weights that sum to 1; equal ones if not given.
            draw: names the order of buckets: a round's number.

        Returns:
            float64[d].

        Raises:
            RobustError: there are too few models.
        """
        require_bearable(self, len(models))
        count = len(models)
        if self.first == "nnm":
            models = nearest_neighbour_mixing(models, self.liars)
        elif self.first == "bucketing":
            order = draw_permutation(self.seed, b"p2pfl/buckets", draw, count=count)
            models = bucketing(models, order, BUCKET)
        if weights is None:
            weights = np.full(len(models), 1.0 / len(models))
        return RULES[self.name].apply(RuleInput(models, self.liars, own, weights, self.radius))


def require_bearable(rule: RobustRule, count: int) -> None:
    """Check that a rule can bear its liars among so many models.

    Raises:
        RobustError: it cannot; the message says how many it could.
    """
    if count >= rule.models_min:
        return
    bears = max(
        (f for f in range(count) if _with_liars(rule, f).models_min <= count and f > 0), default=0
    )
    remedy = f"set averaging.robust.liars to at most {bears}" if bears else "average more models"
    before = "" if rule.first == "none" else f" after {rule.first}"
    raise RobustError(
        f"the rule {rule.name!r}{before} bears {rule.liars} liars among {rule.models_min} models or"
        f" more, and a peer averages {count}: {remedy}"
    )


def _with_liars(rule: RobustRule, liars: int) -> RobustRule:
    return RobustRule(rule.name, liars, rule.first, rule.radius, rule.seed)


def liars_among(count: int) -> int:
    """Return how many liars are assumed among so many models, where settings do not say."""
    return max(1, math.floor(AUTO_SHARE * count))
