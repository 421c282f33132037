"""The folders of a launched group: keys, settings and the roster that a scenario comes to."""

import socket
from contextlib import ExitStack
from pathlib import Path
from typing import Literal

from p2pfl.daemon.config import PeerConfig, PeerFolder, write_config
from p2pfl.group.cards import Member
from p2pfl.group.roster_file import GroupLearning, RosterFile, draw_nonce, write_roster
from p2pfl.store.keys import generate_keys, write_keys
from p2pfl_simulations.group import draw_seed
from p2pfl_simulations.scenario import Scenario

ROSTER = "roster.toml"
LOOPBACK = "127.0.0.1"


def make_folders(
    scenario: Scenario,
    folder: Path,
    task_folder: Path | None,
    *,
    log_level: Literal["debug", "info"] = "info",
) -> list[Path]:
    """Make a folder for each peer of a scenario, below `folder`, and the roster beside them.

    Members get fresh keys, and free ports on the loopback. The seed of cohorts and graphs is the
    one that a simulation takes, so that both draw the same.

    Args:
        scenario: what to run.
        folder: where to; it is there.
        task_folder: where the scenario's own task is imported from, and its data are relative to.
        log_level: of the peers' logs; at ``"debug"`` they name every frame.

    Raises:
        RosterError, ConfigError, KeyFileError: a file cannot be written.
    """
    names = [f"peer-{index:0{len(str(scenario.peers - 1))}}" for index in range(scenario.peers)]
    data_dir = scenario.learning.data_dir
    if data_dir is not None and task_folder is not None:
        data_dir = (task_folder / data_dir).resolve()
    folders, members = [], []
    for name, port in zip(names, free_ports(scenario.peers), strict=True):
        place = PeerFolder(folder / name)
        place.path.mkdir()
        keys = generate_keys()
        write_keys(place.key, keys)
        address = f"/ip4/{LOOPBACK}/tcp/{port}"
        config = PeerConfig(
            name=name,
            listen=(address,),
            addresses=(address,),
            roster=Path("..") / ROSTER,
            data_dir=data_dir,
            task_dir=None if task_folder is None else task_folder.resolve(),
            log_level=log_level,
            record=True,
        )
        write_config(place.path, config)
        folders.append(place.path)
        members.append(Member(name=name, peer_id=keys.identity.peer_id, addresses=config.addresses))
    write_roster(folder / ROSTER, _roster(scenario, tuple(members)))
    return folders


def free_ports(count: int) -> list[int]:
    """Return ports of the loopback that nobody listens on."""
    with ExitStack() as stack:  # Held until all are found, so that no port comes twice.
        found = [stack.enter_context(socket.socket()) for _ in range(count)]
        for one in found:
            one.bind((LOOPBACK, 0))
        return [one.getsockname()[1] for one in found]


def _roster(scenario: Scenario, members: tuple[Member, ...]) -> RosterFile:
    learning = scenario.learning
    return RosterFile(
        name=scenario.name,
        description=scenario.description,
        rounds=scenario.rounds,
        seed=scenario.seed,
        checkpoint_every=scenario.checkpoint_every,
        evaluate_every=scenario.evaluation.every,
        nonce=draw_nonce(),
        draw_seed=draw_seed(scenario.seed).hex(),
        learning=GroupLearning(
            **{name: getattr(learning, name) for name in GroupLearning.model_fields}
        ),
        averaging=scenario.averaging,
        members=members,
    )
