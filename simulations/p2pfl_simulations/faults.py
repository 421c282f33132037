"""What goes wrong: churn, dropout within a round, crashes and partitions, drawn from the seed.

The injector watches the peers' reports to time its faults, and switches hosts off and on. Each
fault has random streams of its own, so one more kind of fault does not change the others' draws.
"""

from p2pfl_gossip.actions import Event
from p2pfl_gossip.events import AveragingStarted, Finished, RoundStarted
from p2pfl_simulations.draws import array_stream, sampler, stream
from p2pfl_simulations.fault_settings import Backups, FaultSettings, NetworkPartition, PlannedFault
from p2pfl_simulations.testbed import PeerHandle, Testbed

AT_ACTION = "crash_at_action"

EXCHANGE_LATENCIES = 4
"""A fault within an exchange strikes in its first four latencies, in which most exchanges run."""


class FaultInjector:
    """Carries the faults of a scenario out on a world.

    Args:
        settings: what goes wrong.
        seed: of the scenario.
        training_s: how long each peer trains in one round, in virtual time.

    Attributes:
        training_s: the same.
    """

    def __init__(self, settings: FaultSettings, *, seed: int, training_s: list[float]) -> None:
        self._settings, self.training_s = settings, training_s
        self._is_healed = False
        self._world: Testbed
        self._rngs = {kind: stream(seed, f"faults/{kind}") for kind in ("dropout", "crash")}
        self._armed: dict[int, str] = {}  # Peer -> the fault that awaits its exchange.
        self._finished: set[int] = set()  # Membership only.
        self._partition_rng = stream(seed, "faults/partition")
        self._churn_rng = stream(seed, "faults/churn")
        self._backup_rng = stream(seed, "faults/backups")
        self._action_rng = stream(seed, f"faults/{AT_ACTION}")
        self._offline_s = {
            kind: sampler(distribution, array_stream(seed, f"faults/{kind}/offline"))
            for kind, distribution in (
                ("dropout", settings.dropout and settings.dropout.offline_s),
                ("crash", settings.crash and settings.crash.restart_s),
                (AT_ACTION, settings.crash_at_action and settings.crash_at_action.restart_s),
                ("churn", settings.churn and settings.churn.offline_s),
            )
            if distribution
        }
        if settings.churn:
            self._session_s = sampler(
                settings.churn.session_s, array_stream(seed, "faults/churn/session")
            )

    def start(self, world: Testbed) -> None:
        """Plan what does not depend on the peers' rounds."""
        self._world = world
        if self._settings.churn:
            for host in world.hosts:
                if self._churn_rng.random() < self._settings.churn.share:
                    world.queue.call_at(
                        world.queue.now_s + self._session_s(), self._end_session, host
                    )
        for host in world.hosts:
            self._plan_at_action(host)
        if self._settings.backups:
            self._copy_later(self._settings.backups)
        for fault in self._settings.planned:
            world.queue.call_at(world.queue.now_s + fault.start_s, self._begin_planned, fault)
        for partition in self._settings.partitions:
            world.queue.call_at(world.queue.now_s + partition.start_s, self._split, partition)

    def on_report(self, now_s: float, host: PeerHandle, event: Event) -> None:
        """Draw at each peer's round whether it drops out or crashes within, and when."""
        if self._is_healed:
            return
        if isinstance(event, RoundStarted):
            self._armed.pop(host.index, None)
            for kind, settings in (
                ("dropout", self._settings.dropout),
                ("crash", self._settings.crash),
            ):
                if settings and self._rngs[kind].random() < settings.probability:
                    if self._rngs[kind].random() < 0.5:
                        delay_s = self._rngs[kind].random() * self.training_s[host.index]
                        self._plan(now_s + delay_s, host, kind)
                    else:
                        self._armed[host.index] = kind
        elif isinstance(event, AveragingStarted) and host.index in self._armed:
            kind = self._armed.pop(host.index)
            within = self._rngs[kind].random() * EXCHANGE_LATENCIES
            self._plan(now_s + within * self._world.network.draw_latency(), host, kind)
        elif isinstance(event, Finished):
            self._finished.add(host.index)

    def on_incident(self, now_s: float, host: PeerHandle | None, kind: str, detail: str) -> None:
        """Nothing: incidents are our own doing."""

    def heal(self) -> None:
        """End all faults, for good: nobody is cut off, and who is away comes back now."""
        self._is_healed = True
        self._world.split(None)
        for fault in self._settings.planned:
            self._end_planned(fault)
        for host in self._world.hosts:
            self._world.bring_online(host, "healed")

    def _plan(self, at_s: float, host: PeerHandle, kind: str) -> None:
        self._world.queue.call_at(at_s, self._strike, host, kind, host.life)

    def _strike(self, host: PeerHandle, kind: str, life: int) -> None:
        if (
            self._is_healed
            or not host.is_online
            or host.life != life
            or host.index in self._finished
        ):
            return
        silent = bool(self._settings.dropout and self._settings.dropout.silent)
        kills = kind == "crash"
        self._world.take_offline(host, kind, kills=kills, silent=silent and not kills)
        self._return_later(host, kind)

    def _plan_at_action(self, host: PeerHandle) -> None:
        """Draw whether a process dies at one of its actions, and at which."""
        settings = self._settings.crash_at_action
        if settings and not self._is_healed and self._action_rng.random() < settings.probability:
            actions = self._action_rng.randint(1, settings.actions)
            self._world.strike_after(host, actions, self._strike_at_action)

    def _strike_at_action(self, host: PeerHandle) -> None:
        if not self._is_healed and host.index not in self._finished:
            self._world.take_offline(host, "crash", kills=True)
            self._return_later(host, AT_ACTION)

    def _copy_later(self, backups: Backups) -> None:
        self._world.queue.call_at(
            self._world.queue.now_s + backups.every_s, self._copy_records, backups
        )

    def _copy_records(self, backups: Backups) -> None:
        if self._is_healed:
            return
        for host in self._world.hosts:
            if self._backup_rng.random() < 0.5:  # So that copies are of different age.
                self._world.copy_records(host)
        self._copy_later(backups)

    def _maybe_restore(self, host: PeerHandle) -> None:
        """Have a process that is to start begin with an older copy of its records."""
        backups = self._settings.backups
        if backups and not self._is_healed and self._backup_rng.random() < backups.probability:
            self._world.restore_records(host)

    def _end_session(self, host: PeerHandle) -> None:
        if self._is_healed or host.index in self._finished:
            return
        if host.is_online:
            self._world.take_offline(host, "churn", kills=True)
            self._return_later(host, "churn")
        else:
            self._next_session(host)

    def _return_later(self, host: PeerHandle, kind: str) -> None:
        at_s = self._world.queue.now_s + self._offline_s[kind]()
        self._world.queue.call_at(at_s, self._return, host, kind)

    def _return(self, host: PeerHandle, kind: str) -> None:
        if kind == AT_ACTION:
            self._plan_at_action(host)
        if kind != "dropout" and not host.is_online:
            self._maybe_restore(host)
        self._world.bring_online(host, "crash" if kind == AT_ACTION else kind)
        if kind == "churn" and not self._is_healed:
            self._next_session(host)

    def _next_session(self, host: PeerHandle) -> None:
        at_s = self._world.queue.now_s + self._session_s()
        self._world.queue.call_at(at_s, self._end_session, host)

    def _begin_planned(self, fault: PlannedFault) -> None:
        if self._is_healed:
            return
        world = self._world
        now_s = world.queue.now_s
        hosts = [world.hosts[index] for index in fault.peers]
        if fault.kind == "link":
            world.cut(*hosts)
        else:
            for host in hosts:
                world.take_offline(host, fault.kind, kills=fault.kind == "crash")
        world.queue.call_at(now_s + fault.duration_s, self._end_planned, fault)
        if fault.every_s is not None:
            world.queue.call_at(now_s + fault.every_s, self._begin_planned, fault)

    def _end_planned(self, fault: PlannedFault) -> None:
        hosts = [self._world.hosts[index] for index in fault.peers]
        if fault.kind == "link":
            self._world.mend(*hosts)
        else:
            for host in hosts:
                self._world.bring_online(host, fault.kind)

    def _split(self, partition: NetworkPartition) -> None:
        """Divide the network by shares, at random; heal it later."""
        world = self._world
        if self._is_healed:
            return
        order = list(range(len(world.hosts)))
        self._partition_rng.shuffle(order)
        parts = [0] * len(order)
        total, before, taken = sum(partition.shares), 0.0, 0
        for part, share in enumerate(partition.shares):
            before += share
            end = round(before / total * len(order))
            for peer in order[taken:end]:
                parts[peer] = part
            taken = end
        world.split(parts)
        world.queue.call_at(world.queue.now_s + partition.duration_s, world.split, None)
