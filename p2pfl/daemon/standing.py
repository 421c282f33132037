"""How a running peer stands, as it tells its operator: for `p2pfl peer status`, and as metrics."""

import time
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from p2pfl.daemon import measures as measuring
from p2pfl.daemon.chartering import Chartering
from p2pfl.daemon.directory import Directory
from p2pfl.daemon.driver import Driver
from p2pfl.daemon.ledger_standing import ledger_measures, ledger_status
from p2pfl.daemon.links import NOT_YET, UP, Links
from p2pfl.daemon.lookout import Lookout
from p2pfl.daemon.measures import Snapshot, counter, gauge
from p2pfl.daemon.recording import Sent
from p2pfl.daemon.reporter import Reporter
from p2pfl.group.lossy import Counted
from p2pfl.learner.tensor_parts import Beyond
from p2pfl.libp2p import Host
from p2pfl_crypto.identity import PeerId
from p2pfl_gossip.ledger.member import GroupMember
from p2pfl_gossip.opening import Opening

PeerMachine = Opening | GroupMember
"""What a daemon runs."""


def ledger_of(machine: PeerMachine) -> GroupMember | None:
    """Return the member that keeps a ledger, if a machine is one."""
    return machine if isinstance(machine, GroupMember) else None


class PeerStanding:
    """Reads the parts of a running peer, and changes nothing."""

    def __init__(
        self,
        machine: PeerMachine,
        reporter: Reporter,
        *,
        directory: Directory,
        host: Host,
        driver: Driver,
        links: Links,
        lookout: Lookout,
        began_s: float,
        chartering: Chartering | None = None,
    ) -> None:
        self._machine, self._reporter = machine, reporter
        self._directory, self._chartering = directory, chartering
        self._host, self._driver, self._links, self._lookout = host, driver, links, lookout
        self._began_s = began_s  # By the monotonic clock.
        self._ledger = ledger_of(machine)

    def status(self, *, is_stopping: bool) -> dict[str, Any]:
        """Return what `p2pfl peer status` shows."""
        directory, agreed = self._directory, self._directory.agreed
        charter = self._chartering and self._chartering.status()
        return {
            "name": directory.name,
            "peer_id": self._host.peer_id,
            "addresses": list(map(str, self._host.addresses)),
            "group": {"name": agreed.name, "id": directory.group_id.hex()},
            "state": self._machine.state,
            "stopping": is_stopping,
            "round": self._machine.round,
            "rounds": agreed.rounds,
            "up_s": round(self._up_s(), 3),
            "latest": dict(self._reporter.latest),
            "figures": dict(self._reporter.figures),
            "clipped": {
                name: {"values": it.values, "of": it.size, "largest": it.largest}
                for name, it in self._clipped().items()
            },
            "tripwire": self._tripwire(),
            "lossy": [
                {"kind": kind, "tensor": tensor, **asdict(it)}
                for (kind, tensor), it in self._lossy().items()
            ],
            "differing": dict(self._reporter.differing),
            "counts": dict(self._reporter.counts),
            "traffic": dict(self._links.counters),
            "pairs_without_link": self._lookout.unlinked(),
            "charter": charter,
            "ledger": self._ledger and ledger_status(self._ledger, self._host.peer_id),
            "members": [
                {
                    "name": member.name,
                    "peer_id": member.peer_id,
                    "link": "self"
                    if member.peer_id == directory.own
                    else self._links.states.get(PeerId(member.peer_id), NOT_YET),
                }
                for member in agreed.members
            ],
        }

    def sent(self) -> Sent:
        """Return what has left over links so far."""
        counts = self._links.counters
        frames = counts["frames_sent"] + counts["bodies_sent"]
        return Sent(frames, counts["bytes_sent"], dict(self._driver.sent_bytes))

    def snapshot(self) -> Snapshot:
        """Gather metrics; called on the metrics thread, so nothing is awaited or changed."""
        reporter, agreed = self._reporter, self._directory.agreed
        links = {
            reporter.name_of(peer_id): link for peer_id, link in self._links.states.copy().items()
        }
        up = {name: float(link == UP) for name, link in links.items()}
        counts = {name: count for name, count in reporter.counts.items() if "." not in name}
        measures = [
            measuring.build_info(),
            measuring.state_of(self._machine.state),
            gauge("round", "Rounds that are done.", self._machine.round),
            gauge("rounds", "Rounds that the group wants to do.", agreed.rounds),
            gauge("members", "Members of the group, this one included.", len(agreed.members)),
            gauge("members_linked", "Other members to whom a link stands.", sum(up.values())),
            gauge(
                "members_differing",
                "Other members that would average something else, and are named in the log.",
                len(reporter.differing),
            ),
            gauge(
                "clipped_values",
                "Values that the last masked sum cut to averaging.clip, by tensor.",
                {name: float(it.values) for name, it in self._clipped().items()},
                "tensor",
            ),
            counter(
                "lossy",
                "Rounds in which values, weight, update or training of this peer were cut or lost,"
                " by kind and tensor.",
                {
                    f"{kind} {tensor}".strip(): float(it.rounds)
                    for (kind, tensor), it in self._lossy().items()
                },
                "what",
            ),
            gauge("link", "1 where a link to the member stands, 0 where not.", up, "member"),
            gauge(
                "pairs_without_link",
                "Pairs of other members that have no link to each other, as they say.",
                len(self._lookout.unlinked()),
            ),
            gauge("up_seconds", "Seconds since the peer started.", self._up_s()),
            reporter.round_times.measure(),
            # A task names its figures as it likes, so a name is a label and not a metric's name.
            gauge(
                "figure", "Figures of the newest evaluation.", dict(reporter.public_figures), "name"
            ),
            counter("events", "What the peer has reported, by the event.", counts, "event"),
            counter(
                "refused",
                "Frames of members that broke the protocol, by the reason.",
                _after_dot(reporter.counts, "refused"),
                "reason",
            ),
            counter(
                "traffic",
                "Frames, bodies and bytes over links.",
                dict(self._links.counters),
                "name",
            ),
            counter(
                "sent_bytes",
                "Bytes given to the links, by the message.",
                dict(self._driver.sent_bytes),
                "message",
            ),
            counter(
                "driver",
                "Inputs that the peer was told, and actions carried out for it.",
                dict(self._driver.counters),
                "name",
            ),
            *([] if self._ledger is None else ledger_measures(self._ledger)),
            *measuring.libp2p(self._host.metrics()),
        ]
        if reporter.round_times.ended_at_s is not None:
            text = "When the last round ended, as Unix time."
            ended = gauge("last_round_timestamp_seconds", text, reporter.round_times.ended_at_s)
            measures.append(ended)
        loss = None if reporter.is_private else reporter.latest.get("training_loss")
        if loss is not None:
            measures.append(gauge("training_loss", "Loss of the newest training.", loss))
        if (wire := reporter.tripwire) is not None:
            text = "New models whose loss on own held-out rows rose beyond the tripwire."
            measures.append(gauge("own_loss_rises", text, wire.rises))
            if wire.loss is not None:
                text = "Loss of the newest model on own held-out rows."
                measures.append(gauge("own_loss", text, wire.loss))
        return Snapshot(self._machine.state not in ("new", "left"), measures)

    def _tripwire(self) -> dict[str, Any] | None:
        wire = self._reporter.tripwire
        if wire is None:
            return None
        last = None if wire.last is None else asdict(wire.last)
        return {"loss": wire.loss, "rises": wire.rises, "last": last}

    def _clipped(self) -> dict[str, Beyond]:
        return {} if self._reporter.lossy is None else self._reporter.lossy.clipped.copy()

    def _lossy(self) -> dict[tuple[str, str], Counted]:
        return {} if self._reporter.lossy is None else self._reporter.lossy.counts.copy()

    def _up_s(self) -> float:
        return time.monotonic() - self._began_s


def _after_dot(counts: Mapping[str, int], name: str) -> dict[str, float]:
    prefix = f"{name}."
    return {key[len(prefix) :]: it for key, it in counts.items() if key.startswith(prefix)}
