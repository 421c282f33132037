"""What a run's figures must add up to."""

from collections.abc import Callable, Iterable

from p2pfl_gossip import wire
from p2pfl_gossip.averaging.age_gossip import AgedModelHeader
from p2pfl_gossip.averaging.cohort_averaging import MeanHeader, PartHeader
from p2pfl_gossip.averaging.fedavg import GlobalModelHeader
from p2pfl_gossip.averaging.neighbour_averaging import VectorHeader
from p2pfl_gossip.averaging.push_sum import RunningSumHeader
from p2pfl_gossip.records import Message
from p2pfl_simulations.checkers.base import Checker, Violation
from p2pfl_simulations.results.run import PeerRow, RoundRow
from p2pfl_simulations.scenario import Scenario, masking_of


class CountedOnce(Checker):
    """The tables count each honest peer at most once in a round.

    Args:
        rounds: returns the table of rounds.
        peers: returns the table of peers.
    """

    def __init__(
        self, rounds: Callable[[], Iterable[RoundRow]], peers: Callable[[], Iterable[PeerRow]]
    ) -> None:
        self._rounds, self._peers = rounds, peers

    def on_end(self, now_s: float) -> None:
        """Add the tables up."""
        count = len(self.watched.peers) - len(self.watched.liars)
        for row in self._rounds():
            if not 0 <= row.ended <= count or row.lost != count - row.ended:
                raise Violation(f"round {row.round} was ended by {row.ended} of {count} peers")
            if not 0 <= row.incomplete <= row.ended:
                raise Violation(f"{row.incomplete} of {row.ended} ends were incomplete")
            if not 0 <= row.online <= count:
                raise Violation(f"{row.online} of {count} peers were online")
        keys = [(row.round, row.peer) for row in self._peers()]
        if len(set(keys)) != len(keys):
            raise Violation("a peer was evaluated twice in a round")


class BytesAsFormula(Checker):
    """Where nothing goes wrong, the bytes sent are exactly those of the algorithm's formula.

    For averaging in the open; to be asked once all that is on its way has arrived.

    Args:
        scenario: without faults, losses or liars, and with deadlines that nobody misses.
        bytes_sent: returns the bytes that all peers have sent.
    """

    def __init__(self, scenario: Scenario, bytes_sent: Callable[[], int]) -> None:
        assert masking_of(scenario) == "none"
        self._scenario, self._bytes_sent = scenario, bytes_sent

    def on_end(self, now_s: float) -> None:
        """Work the formula out."""
        expected = sum(self._of_round(round_) for round_ in range(self._scenario.rounds))
        if self._bytes_sent() != expected:
            raise Violation(f"{self._bytes_sent()} bytes were sent, not {expected}")

    def _of_round(self, round_: int) -> int:
        """Return what the peers send in a round in which nobody is late."""
        averaging, peers = self._scenario.averaging, self._scenario.peers
        model = self.watched.initial.nbytes
        match averaging.algorithm:
            case "cohorts":
                total = 0
                cohorts: dict[tuple[int, ...], None] = {}
                for peer in range(peers):  # Of each member: parts to all owners, means to all.
                    cohort = self.watched.cohort_of(peer, round_)
                    cohorts[cohort] = None
                    bitmap = bytes((len(cohort) + 7) // 8)
                    total += (len(cohort) - 1) * _size(PartHeader(round_, 1.0))
                    total += (len(cohort) - 1) * _size(MeanHeader(round_, bitmap))
                # A cohort of n moves 2 (n - 1) models; so each member, 2 (n - 1)/n of one.
                return total + sum(2 * (len(cohort) - 1) * model for cohort in cohorts)
            case "dsgd":
                return self._edges() * (_size(VectorHeader(round_, 1.0)) + model)
            case "push-sum":
                return self._edges() * (_size(RunningSumHeader(round_, 0, 1.0)) + 2 * model)
            case "epidemic":
                return peers * averaging.fanout * (_size(VectorHeader(round_, 1.0)) + model)
            case "age-gossip":
                return peers * averaging.fanout * (_size(AgedModelHeader(1.0)) + model)
            case "fedavg":
                there, back = _size(VectorHeader(round_, 1.0)), _size(GlobalModelHeader(round_))
                return (peers - 1) * (there + back + 2 * model)
        return 0

    def _edges(self) -> int:
        """Count the sends of one round along a topology."""
        peers = self._scenario.peers
        match self._scenario.averaging.topology.kind:  # type: ignore[union-attr]
            case "ring":
                return 2 * peers if peers > 2 else peers
            case "complete":
                return peers * (peers - 1)
            case "exponential":
                return peers  # Each sends to one.
        raise NotImplementedError(self._scenario.averaging)


def _size(header: Message) -> int:
    return len(wire.encode(header))
