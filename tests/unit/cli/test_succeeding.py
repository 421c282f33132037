"""`p2pfl charter succeed`, and `verify --predecessor`: a group goes on where one lost too many."""

import tomllib
from pathlib import Path

from calling import Ended, P2pfl
from certified_peers import make_peer
from ledger_group import model_of, two_epochs

from p2pfl.charter.first_states import read_first_state
from p2pfl_gossip.ledger.states import digest_state

_, _, HISTORY = two_epochs()


def succeeded(p2pfl: P2pfl) -> Ended:
    make_peer(p2pfl, HISTORY)
    return p2pfl("charter", "succeed", "berlin", "start.safetensors")


def test_the_head_s_model_is_the_first_state_and_the_draft_names_it(p2pfl: P2pfl) -> None:
    ended = succeeded(p2pfl)
    assert ended.code == 0, ended.err
    vector, item = read_first_state(Path("start.safetensors"))
    assert vector.tobytes() == model_of(8.0).tobytes()
    assert item == digest_state("model", model_of(8.0)).item
    table = tomllib.loads(ended.out)["succeeds"]
    head = HISTORY.head.head
    assert table == {
        "group": HISTORY.epoch.group.hex(),
        "charter": HISTORY.epoch.digest.hex(),
        "epoch": head.epoch,
        "round": head.round,
        "entry": head.entry.hex(),
    }
    again = p2pfl("charter", "succeed", "berlin", "start.safetensors")
    assert (again.code, "made once" in again.err) == (2, True)


def test_another_group_begins_with_the_model_of_an_old_peer(p2pfl: P2pfl) -> None:
    make_peer(p2pfl, HISTORY)
    task = ("task", "begin", "berlin/certified_six.py:Six", "begin.safetensors")
    ended = p2pfl(*task, "--model", "berlin")
    assert ended.code == 0, ended.err
    vector, _ = read_first_state(Path("begin.safetensors"))
    assert vector.tobytes() == model_of(8.0).tobytes()
    ended = p2pfl("task", "begin", "integers", "other.safetensors", "--model", "berlin")
    assert (ended.code, "it is of another task" in ended.err) == (2, True)
    assert not Path("other.safetensors").exists()
