"""`p2pfl peer baseline`: trains a model on a peer's own rows alone."""

import json
from pathlib import Path

from rich.console import Console

from p2pfl.cli.errors import peer_errors
from p2pfl.cli.figures import told_figure
from p2pfl.cli.quantities import plural
from p2pfl.daemon.config import PeerFolder, read_config


def make_baseline(path: Path, *, as_json: bool) -> None:
    """Train the baseline of the peer in a folder, keep it there, and tell what it reaches."""
    from p2pfl.daemon.errors import ServiceError
    from p2pfl.daemon.membership import membership_of
    from p2pfl.daemon.own_baseline import Baseline, gain_of, train_baseline, write_baseline

    folder, errors = PeerFolder(path), Console(stderr=True, highlight=False)
    with peer_errors():
        config = read_config(path)
        membership = membership_of(folder, config)
        agreed = membership.agreed
        learner, place = membership.learner()
        if not learner.test_count(place):
            raise ServiceError(
                "this peer has no test rows of its own to measure on: the task's"
                " held_out is 0, or it has too few rows"
            )
        with errors.status("trains alone") as shown:

            def tell(done: int) -> None:
                shown.update(f"trains alone: round {done} of {agreed.rounds}")

            model = train_baseline(learner, place, agreed.rounds, tell)
        made = Baseline(model, agreed.rounds)
        write_baseline(folder.baseline, learner, made)
    local = gain_of(learner, place, None, made).local
    rows = learner.sample_count(place), learner.test_count(place)
    if as_json:
        figures = {"primary": learner.primary.name, "local": local, "rounds": agreed.rounds}
        print(json.dumps(figures | {"train_rows": rows[0], "test_rows": rows[1]}))
        return
    print(
        f"alone, on {plural(rows[0], 'own row')}: {told_figure(learner.primary, local)}"
        f" ({learner.primary.title}) after {plural(agreed.rounds, 'round')}, on"
        f" {plural(rows[1], 'own test row')}; p2pfl peer status {path} holds the joint model"
        " against it"
    )
