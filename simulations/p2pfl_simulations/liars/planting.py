"""Who lies in a scenario, and the machines that they run."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from p2pfl.plugins import PluginError
from p2pfl.plugins.finding import maker_of
from p2pfl_crypto.identity import Identity
from p2pfl_gossip.actions import Machine, Vector
from p2pfl_gossip.roster import Roster
from p2pfl_simulations.draws import stream
from p2pfl_simulations.liars.liar import Liar, LyingPeer, Place
from p2pfl_simulations.liars.registry import LIARS
from p2pfl_simulations.running_peer import RunningPeer
from p2pfl_simulations.scenario import LiarSettings, Scenario, ScenarioError


@dataclass(frozen=True)
class _Group:
    """The liars of one entry of a scenario, who collude."""

    settings: LiarSettings
    members: tuple[int, ...]
    make: Callable[[], Liar]
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
        for number, settings in enumerate(scenario.faults.liars):
            members = self._members(number, settings)
            try:
                make = maker_of(LIARS, settings.strategy, settings.arguments, folder)
            except PluginError as error:
                raise ScenarioError(f"faults.liars: {error}") from None
            self._require_fit(settings.strategy, make())
            group = _Group(settings, members, make, {})
            self._groups.update(dict.fromkeys(members, group))
        self.indices = frozenset(self._groups)
        self.strategies = {
            index: self._groups[index].settings.strategy for index in sorted(self._groups)
        }

    def _require_fit(self, name: str, liar: Liar) -> None:
        """Refuse a strategy that would find nothing to lie about."""
        is_group = self._scenario.averaging.algorithm == "group"
        if liar.in_groups is not None and liar.in_groups != is_group:
            where = "in groups only" if liar.in_groups else "in no group"
            raise ScenarioError(
                f"faults.liars: {name!r} lies about what is said {where}; take another strategy, or"
                " set averaging.algorithm"
            )

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
            )
            return LyingPeer(group.make(), place, group.settings.from_round)

        return make if self._groups else make_peer
