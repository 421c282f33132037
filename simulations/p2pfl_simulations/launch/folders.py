"""The folders of a launched group: keys, settings, and the charter that a scenario comes to."""

import os
import socket
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Literal

from p2pfl.charter.charter_file import SUFFIX, write_file
from p2pfl.daemon.config import PeerConfig, PeerFolder, Trial, write_config
from p2pfl.group.privacy_settings import PrivacySettings
from p2pfl.learner.learner import Learner
from p2pfl.privacy.planner import Plan
from p2pfl.store.keys import generate_keys, write_keys
from p2pfl_simulations.group import draw_seed
from p2pfl_simulations.launch.budgets import BUDGET, anchor_of, open_budget
from p2pfl_simulations.launch.charters import FIRST_STATE, sign_charter
from p2pfl_simulations.scenario import Scenario

LOOPBACK = "127.0.0.1"


def make_folders(
    scenario: Scenario,
    folder: Path,
    task_folder: Path | None,
    learner: Learner,
    *,
    plan: Plan | None = None,
    step_s: Sequence[float] | None = None,
    log_level: Literal["debug", "info"] = "info",
) -> list[Path]:
    """Make a folder for each peer of a scenario, below `folder`, with a charter signed by all.

    Members get fresh keys, and free ports on the loopback. The seed of cohorts and graphs is the
    one that a simulation takes, so that both draw the same. In a private group each gets a budget
    too, of just what the charter may cost.

    Args:
        scenario: what to run.
        folder: where to; it is there.
        task_folder: where the scenario's own task is imported from, and its data are relative to.
        learner: of all peers of the scenario.
        plan: of a private scenario.
        step_s: how long a training step of each peer takes at least; as long as its machine takes,
            if not given.
        log_level: of the peers' logs; at ``"debug"`` they name every frame.

    Raises:
        PaperError, ConfigError, KeyFileError, LaunchError: it cannot be, or a file cannot be
            written.
    """
    names = [f"peer-{index:0{len(str(scenario.peers - 1))}}" for index in range(scenario.peers)]
    data_dir = scenario.learning.data_dir
    if data_dir is not None and task_folder is not None:
        data_dir = (task_folder / data_dir).resolve()
    peers = []
    for place, (name, port) in enumerate(zip(names, free_ports(scenario.peers), strict=True)):
        address = f"/ip4/{LOOPBACK}/tcp/{port}"
        config = PeerConfig(
            name=name,
            listen=(address,),
            addresses=(address,),
            data_dir=data_dir,
            device=scenario.learning.device,
            log_level=log_level,
            record=True,
            budget=None if plan is None else BUDGET,
            budget_anchor=None if plan is None else anchor_of(name),
            trial=Trial(
                peers=scenario.peers,
                place=place,
                draw_seed=draw_seed(scenario.seed).hex(),
                partition=scenario.learning.partition,
                task_dir=None if task_folder is None else task_folder.resolve(),
                checkpoint_every=scenario.checkpoint_every,
                step_s=0.0 if step_s is None else step_s[place],
            ),
        )
        peers.append((config, generate_keys()))
    charter = sign_charter(scenario, learner, peers, folder, _told(scenario, plan))
    folders = []
    for config, keys in peers:
        place_of = PeerFolder(folder / config.name)
        place_of.charters.mkdir(parents=True)
        write_keys(place_of.key, keys)
        write_config(place_of.path, config)
        write_file(place_of.charters / f"group{SUFFIX}", charter, is_new=True)
        os.link(folder / FIRST_STATE, place_of.charters / FIRST_STATE)
        if plan is not None:
            open_budget(place_of.path, plan)
        folders.append(place_of.path)
    return folders


def _told(scenario: Scenario, plan: Plan | None) -> PrivacySettings | None:
    """Return what a charter says of a plan: rows and drops are agreed there, not counted."""
    if plan is None or scenario.privacy is None:
        return None
    question = plan.question
    return scenario.privacy.model_copy(update={"rows": question.rows, "drops": question.drops})


def free_ports(count: int) -> list[int]:
    """Return ports of the loopback that nobody listens on."""
    with ExitStack() as stack:  # Held until all are found, so that no port comes twice.
        found = [stack.enter_context(socket.socket()) for _ in range(count)]
        for one in found:
            one.bind((LOOPBACK, 0))
        return [one.getsockname()[1] for one in found]
