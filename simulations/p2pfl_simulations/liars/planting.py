"""Who lies in a scenario, and the machines that they run."""

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from p2pfl.group.settings import CohortSettings, GroupSettings
from p2pfl.learner.learner import make_learner
from p2pfl.learner.tasks.base import Data
from p2pfl.plugins import PluginError, plugin_faults
from p2pfl.plugins.finding import maker_of
from p2pfl_crypto.identity import Identity
from p2pfl_gossip.actions import Machine, Vector
from p2pfl_gossip.learning import Evaluate, Evaluated
from p2pfl_gossip.roster import Roster
from p2pfl_simulations.batch import Worker, Workshop
from p2pfl_simulations.draws import stream
from p2pfl_simulations.fault_settings import LiarSettings
from p2pfl_simulations.liars.insight import Insight, WatchedWorkshop
from p2pfl_simulations.liars.liar import Liar, LyingPeer, Place, Workless
from p2pfl_simulations.liars.poisoning import VectorLiar
from p2pfl_simulations.liars.registry import LIARS, shipped_name
from p2pfl_simulations.running_peer import RunningPeer
from p2pfl_simulations.scenario import Scenario, ScenarioError, masking_of


@dataclass(frozen=True)
class _Group:
    """The liars of one entry of a scenario, who collude."""

    settings: LiarSettings
    members: tuple[int, ...]
    make: Callable[[], Liar]
    altered: Worker | None
    shared: dict[Any, Any]


class Liars:
    """The liars of a scenario.

    Args:
        scenario: its `faults.liars` say who lies, and how.
        folder: where own strategies are imported from.

    Attributes:
        indices: of all that lie.
        strategies: the name of each one's strategy.

    Raises:
        ScenarioError: a strategy cannot be had.
    """

    def __init__(self, scenario: Scenario, folder: Path | None = None) -> None:
        self._scenario = scenario
        self._groups: dict[int, _Group] = {}
        self._lives: dict[int, int] = {}
        self._is_omniscient = False
        self._insight = Insight(Workless(), ())
        for number, settings in enumerate(scenario.faults.liars):
            members = self._members(number, settings)
            try:
                make = maker_of(LIARS, shipped_name(settings.strategy), settings.arguments, folder)
            except PluginError as error:
                raise ScenarioError(f"faults.liars: {error}") from None
            liar = make()
            self._require_fit(settings, liar)
            group = _Group(settings, members, make, self._altered(settings, liar, folder), {})
            self._is_omniscient |= liar.is_omniscient
            self._groups.update(dict.fromkeys(members, group))
        self.indices = frozenset(self._groups)
        self.strategies = {
            index: self._groups[index].settings.strategy for index in sorted(self._groups)
        }

    def watch(self, learner: Worker, around: Callable[[Worker], Worker]) -> Workshop:
        """Make the workshop of a run; one that tells liars what honest peers train, if any asks.

        Args:
            learner: does the jobs of learning.
            around: makes of it what does all jobs.
        """
        if not self._is_omniscient:
            return Workshop(around(learner))
        self._insight = Insight(learner, self.indices)
        return WatchedWorkshop(around(self._insight), self._insight)

    def marked(self, model: Vector) -> float | None:
        """Return the share of marked test rows that get the liars' label; None if none marks any.

        Args:
            model: float32[d].
        """
        for group in self._groups.values():
            if group.altered is not None and group.make().marks_tests:
                (result,) = group.altered.run([(0, Evaluate(0, model))])
                found = result.metrics.get("accuracy") if isinstance(result, Evaluated) else None
                if found is not None:
                    return found
        return None

    def _altered(self, settings: LiarSettings, liar: Liar, folder: Path | None) -> Worker | None:
        """Return a learner with the rows that a strategy trains on, if it alters any."""
        if not liar.alters_rows:
            return None
        scenario = self._scenario
        try:
            return make_learner(
                scenario.learning,
                peer_count=scenario.peers,
                seed=scenario.seed,
                folder=folder,
                threads=1,
                alter=partial(_altered_by, liar, _faults_of(settings)),
            )
        except ValueError as error:
            raise ScenarioError(f"faults.liars: {error}") from None

    def _require_fit(self, settings: LiarSettings, liar: Liar) -> None:
        """Refuse a strategy that would find nothing to lie about, or could not."""
        name, masking = settings.strategy, masking_of(self._scenario)
        if settings.norm is not None and not isinstance(liar, VectorLiar):
            raise ScenarioError(
                f"faults.liars: {name!r} puts in no false updates, so it takes no norm; leave it"
                " out"
            )
        if liar.algorithms and self._scenario.averaging.algorithm not in liar.algorithms:
            raise ScenarioError(
                f"faults.liars: {name!r} is for averaging.algorithm ="
                f" {' or '.join(map(repr, liar.algorithms))}; take another strategy, or set it"
            )
        if liar.is_in_words and masking != "real":
            raise ScenarioError(
                f"faults.liars: {name!r} lies in the words of masked sums; set averaging.masking to"
                " 'real', or take another strategy"
            )
        averaging = self._scenario.averaging
        is_masked = isinstance(averaging, CohortSettings | GroupSettings) and masking == "modelled"
        if isinstance(liar, VectorLiar) and is_masked and not self._keeps_to_clip(settings):
            raise ScenarioError(
                f"faults.liars: {name!r} does not keep to the clip, and modelled masks have no"
                " words to go round it by; give a norm of at most averaging.clip, or set"
                " averaging.masking to 'real'"
            )
        is_group = self._scenario.averaging.algorithm == "group"
        if liar.in_audits and not (self._scenario.is_audited and masking == "real"):
            raise ScenarioError(
                f"faults.liars: {name!r} lies about what is said in real audits of groups; set"
                " averaging.audit to 'void', or take another strategy"
            )
        if liar.in_groups is not None and liar.in_groups != is_group:
            where = "in groups only" if liar.in_groups else "in no group"
            raise ScenarioError(
                f"faults.liars: {name!r} lies about what is said {where}; take another strategy, or"
                " set averaging.algorithm"
            )

    def _keeps_to_clip(self, settings: LiarSettings) -> bool:
        averaging = self._scenario.averaging
        clip = averaging.clip if isinstance(averaging, CohortSettings | GroupSettings) else None
        return settings.norm is not None and clip is not None and settings.norm <= clip

    def _members(self, number: int, settings: LiarSettings) -> tuple[int, ...]:
        """Return who lies: as named, or drawn among those that no earlier entry has."""
        if settings.peers is not None:
            return settings.peers
        assert settings.share is not None
        named = [index for it in self._scenario.faults.liars for index in it.peers or ()]
        free = [
            index
            for index in range(self._scenario.peers)
            if index not in named and index not in self._groups
        ]
        count = min(round(settings.share * self._scenario.peers), len(free))
        return tuple(sorted(stream(self._scenario.seed, f"liars/{number}").sample(free, count)))

    def wrap(
        self,
        make_peer: Callable[[int], RunningPeer],
        roster: Roster,
        initial: Vector,
        identity_of: Callable[[int], Identity],
    ) -> Callable[[int], Machine]:
        """Return a function that makes the machine of an index, honest or lying."""
        averaging = self._scenario.averaging
        clip = averaging.clip if isinstance(averaging, GroupSettings) else None

        def partners_of(index: int, round_: int) -> tuple[int, ...]:
            if index not in models:
                models[index] = make_peer(index)
            return models[index].partners(round_)

        models: dict[int, RunningPeer] = {}

        def make(index: int) -> Machine:
            peer = make_peer(index)
            group = self._groups.get(index)
            if group is None:
                return peer
            life = self._lives[index] = self._lives.get(index, 0) + 1
            place = Place(
                index=index,
                peers=roster.peers,
                identity=identity_of(index),
                initial=initial,
                rounds=self._scenario.rounds,
                colluders=group.members,
                shared=group.shared,
                rng=stream(self._scenario.seed, f"liars/{index}/{life}"),
                peer=peer,
                norm=group.settings.norm,
                clip=clip,
                insight=self._insight,
                partners_of=partners_of,
                altered=group.altered,
            )
            faults = _faults_of(group.settings)
            return LyingPeer(group.make(), place, group.settings.from_round, faults)

        return make if self._groups else make_peer


def _faults_of(settings: LiarSettings) -> Callable[[], AbstractContextManager[None]]:
    """Return what tells an own strategy's errors as its own; those of ours stay tracebacks."""
    name = shipped_name(settings.strategy)
    return nullcontext if name in LIARS.shipped else partial(plugin_faults, LIARS, name)


def _altered_by(liar: Liar, faults: Callable[[], AbstractContextManager[None]], data: Data) -> Data:
    with faults():
        return liar.alter(data)
