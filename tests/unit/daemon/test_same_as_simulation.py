# mypy: disable-error-code="misc"
"""One peer, two worlds: over real sockets peers end with the bits that the simulator ends with."""

import asyncio
from contextlib import AsyncExitStack
from threading import Lock
from typing import Any

import numpy as np
import pytest
from driving import LISTEN, Driven, run

from p2pfl.learner.learner import make_learner
from p2pfl.libp2p import Host
from p2pfl_gossip.actions import Job, Machine
from p2pfl_gossip.events import Finished, RoundEnded
from p2pfl_gossip.learning import Evaluate, Train
from p2pfl_gossip.ledger.jobs import perform
from p2pfl_gossip.opening import Opening
from p2pfl_gossip.records import Record
from p2pfl_simulations.draws import stream
from p2pfl_simulations.group import make_gossips, make_identity, make_peers, make_roster
from p2pfl_simulations.running_peer import RunningPeer, running_peer
from p2pfl_simulations.scenario import make_scenario
from p2pfl_simulations.simulation import Simulation

COHORTS = {"algorithm": "cohorts", "cohort_size": 5, "deadline_s": 30.0}


GROUP = {"algorithm": "group", "weights": "samples", "deadline_s": 30.0}


@pytest.mark.parametrize(
    ("averaging", "peers", "rounds", "contributors"),
    [
        (COHORTS | {"masking": "none"}, 10, 3, 5),
        (COHORTS | {"masking": "real"}, 10, 3, 5),
        (GROUP, 10, 3, 10),
        (GROUP | {"audit": "void"}, 5, 1, 5),
    ],
    ids=["plain", "masked", "group", "audited"],
)
def test_vectors_are_the_same_bit_for_bit(
    averaging: dict[str, Any], peers: int, rounds: int, contributors: int
) -> None:
    """With masks as well, as secrets, and so rounding bits, come from the seed here."""
    scenario = make_scenario(
        {
            "peers": peers,
            "rounds": rounds,
            "seed": 5,
            "learning": {"task": "digits", "partition": {"kind": "dirichlet", "alpha": 0.3}},
            "averaging": averaging,
            "evaluation": {"baselines": []},
        }
    )
    learner = make_learner(scenario.learning, peer_count=peers, seed=5, folder=None, threads=1)
    simulation = Simulation(scenario, learner, lambda _: None)
    simulation.run()
    simulated = [host.machine for host in simulation.world.hosts]
    roster = make_roster(scenario)
    make_peer = make_peers(scenario, roster, learner.initial_vector(), learner.sample_count)

    def made(machine: Machine | None) -> RunningPeer:
        """Take the peer that a machine is around."""
        assert machine is not None
        opened = machine.peer if isinstance(machine, Opening) else None
        return running_peer(opened or machine)

    def around(index: int) -> Machine:
        """Make the machine of a daemon."""
        if averaging["algorithm"] == "group":
            return make_peer(index)
        make_gossip = make_gossips(scenario, roster, learner.initial_vector())
        return Opening(
            index=index,
            roster=roster,
            deadline_s=30.0,
            draw_seed=bytes(32),
            description=learner.description,
            make_peer=lambda _seed, desk: make_gossip(index, desk),
            rng=stream(index, "opening"),
        )

    one_at_a_time = Lock()

    async def main() -> None:
        async with AsyncExitStack() as stack:
            hosts = [
                await stack.enter_async_context(Host(make_identity(scenario.seed, index)))
                for index in range(scenario.peers)
            ]
            addresses = {
                host.peer_id: [str(it) for it in await host.listen(LISTEN)] for host in hosts
            }
            group = []
            for index, host in enumerate(hosts):

                def work(job: Job, index: int = index) -> Record:
                    if isinstance(job, (Train, Evaluate)):
                        with one_at_a_time:
                            return learner.run([(index, job)])[0]
                    return perform(job)

                others = {peer: at for peer, at in addresses.items() if peer != host.peer_id}
                group.append(Driven(around(index), host, addresses=others, work=work))
            for driven in group:
                driven.start()
            for driven in group:
                await driven.notes.until(Finished)
            await asyncio.gather(*(driven.end() for driven in group))
        for driven, other in zip(group, simulated, strict=True):
            ended = [event for event in driven.notes.events if isinstance(event, RoundEnded)]
            assert [event.contributors for event in ended] == [contributors] * rounds
            assert np.array_equal(made(driven.machine).vector, made(other).vector)

    run(main)
