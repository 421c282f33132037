"""One peer of the averaging bench: whole peers over libp2p, whose training yields a fixed vector.

    python average_ours.py INDEX PEERS ENTRIES ROUNDS masked|plain|group

Training adds a fixed vector to the model that a round begins with. In a group the journal is on the
disk, as certified models are kept before they are signed.

Lines on standard output: the address; then, once the others' addresses came on standard input, one
JSON object with the seconds of each round's averaging and the memory.
"""

import asyncio
import json
import os
import resource
import sys
import tempfile
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from random import Random

import numpy as np
from around_driver import Deaf, Nothing, identity
from uvloop import new_event_loop

from p2pfl.daemon.driver import SWITCH_INTERVAL_S, Driver
from p2pfl.daemon.hands import Journal
from p2pfl.daemon.links import Links
from p2pfl.group.averaging import Group, make_averaging
from p2pfl.group.founding import found
from p2pfl.group.settings import CohortSettings, GroupSettings
from p2pfl.libp2p import Host
from p2pfl.store.journal import Store
from p2pfl_gossip import events
from p2pfl_gossip.actions import Event, Job, Machine, Vector
from p2pfl_gossip.description import Description, fingerprint
from p2pfl_gossip.desk import Desk
from p2pfl_gossip.learning import Train, Trained
from p2pfl_gossip.ledger.charter import CharterMember
from p2pfl_gossip.ledger.jobs import perform
from p2pfl_gossip.ledger.member import GroupMember
from p2pfl_gossip.opening import Opening
from p2pfl_gossip.peer import Peer
from p2pfl_gossip.peer_state import PeerSettings
from p2pfl_gossip.records import Record
from p2pfl_gossip.roster import Roster

DEADLINE_S = 60.0
NOTHING_SAID = Description((), fingerprint(()), fingerprint(()), ())


class Watch(Deaf):
    """Times the averaging of each round."""

    def __init__(self) -> None:
        self.began_s = 0.0
        self.contributors = 0
        self.seconds: list[float] = []
        self.done = asyncio.Event()
        self.checks: list[float] = []

    def on_event(self, now_s: float, event: Event) -> None:
        if isinstance(event, events.AveragingStarted):
            self.began_s = now_s
        elif isinstance(event, events.RoundEnded):
            self.seconds.append(now_s - self.began_s)
            self.checks.append(float(event.vector[0]))
            self.contributors = event.contributors
        elif isinstance(event, events.Finished):
            self.done.set()


async def main(index: int, peers: int, entries: int, rounds: int, masking: str) -> None:
    sys.setswitchinterval(SWITCH_INTERVAL_S)
    roster = Roster(identity(peer).peer_id for peer in range(peers))
    initial = np.zeros(entries, np.float32)
    initial.flags.writeable = False
    is_group = masking == "group"

    def work(job: Job) -> Record:
        if not isinstance(job, Train):
            return perform(job)
        onwards = job.vector + np.float32(index + 1)
        onwards.flags.writeable = False
        return Trained(onwards, 1, 0.0)

    with ExitStack() as stack:
        journal: Journal = Nothing()
        if is_group:
            folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="p2pfl-average-"))
            journal = stack.enter_context(Store.open(Path(folder) / "journal"))
        machine: Machine
        if is_group:
            machine = _make_member(index, roster, initial, rounds)
        else:
            machine = _make_opening(index, roster, initial, rounds, masking)
        await _run(index, roster, machine, journal, work)


def _make_member(index: int, roster: Roster, initial: Vector, rounds: int) -> GroupMember:
    entries = len(initial)
    founding = found(
        GroupSettings(clip=2.0 * len(roster) * entries**0.5, deadline_s=DEADLINE_S, audit="off"),
        members=[
            CharterMember(identity(peer).public_key, f"m{peer}", f"m{peer}")
            for peer in range(len(roster))
        ],
        nonce=bytes(32),
        rounds=rounds,
        initial=initial,
        terms=bytes(32),
    )
    return GroupMember(
        founding=founding,
        identity=identity(index),
        initial=initial,
        settings=PeerSettings(rounds, DEADLINE_S, checkpoint_every=0, evaluate_every=0),
        seed="bench",
        entropy=os.urandom,
    )


def _make_opening(
    index: int, roster: Roster, initial: Vector, rounds: int, masking: str
) -> Opening:
    peers = len(roster)
    settings = CohortSettings(
        cohort_size=peers,
        masking="real" if masking == "masked" else "none",
        deadline_s=DEADLINE_S,
        clip=2.0 * peers * rounds,
    )

    def make_peer(draw_seed: bytes, desk: Desk) -> Peer:
        group = Group(
            roster, initial, draw_seed, bytes(32), lambda _: identity(index), lambda _: os.urandom
        )
        averaging = make_averaging(settings, group)
        return Peer(
            index=index,
            roster=roster,
            settings=PeerSettings(rounds, DEADLINE_S, checkpoint_every=0, evaluate_every=0),
            initial=initial,
            make_averaging=lambda inner: averaging(index, inner),
            seed="bench",
            desk=desk,
        )

    return Opening(
        index=index,
        roster=roster,
        deadline_s=1.0,
        draw_seed=bytes(32),
        description=NOTHING_SAID,
        make_peer=make_peer,
        rng=Random(index),
    )


async def _run(
    index: int,
    roster: Roster,
    machine: Machine,
    journal: Journal,
    work: Callable[[Job], Record],
) -> None:
    async with Host(identity(index), allow=frozenset(roster.peers)) as host:
        addresses = await host.listen("/ip4/127.0.0.1/tcp/0")
        print(addresses[0], flush=True)
        loop = asyncio.get_running_loop()
        everybody = json.loads(await loop.run_in_executor(None, sys.stdin.readline))
        watch = Watch()
        driver = Driver(machine, journal=journal, work=work, observer=watch)
        links = Links(
            host,
            addresses={
                p: [a] for p, a in zip(roster.peers, everybody, strict=True) if p != host.peer_id
            },
            group_id=bytes(32),
            receiver=driver,
        )
        before_kb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        stop = asyncio.Event()

        async def end() -> None:
            await watch.done.wait()
            usage = resource.getrusage(resource.RUSAGE_SELF)
            print(
                json.dumps(
                    {
                        "seconds": watch.seconds,
                        "contributors": watch.contributors,
                        "values": watch.checks,
                        "before_kb": before_kb,
                        "peak_kb": usage.ru_maxrss,
                        "cpu_s": usage.ru_utime + usage.ru_stime,
                    }
                ),
                flush=True,
            )
            await loop.run_in_executor(None, sys.stdin.readline)  # Until everybody has finished.
            stop.set()

        ending = loop.create_task(end())
        await driver.run(links, stop)
        await ending


if __name__ == "__main__":
    own, peers, entries, rounds = (int(word) for word in sys.argv[1:5])
    with asyncio.Runner(loop_factory=new_event_loop) as runner:
        runner.run(main(own, peers, entries, rounds, sys.argv[5]))
