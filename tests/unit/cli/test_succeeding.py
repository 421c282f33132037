"""`p2pfl charter succeed`, and `verify --predecessor`: a group goes on where one lost too many."""

import tomllib
from collections.abc import Callable
from pathlib import Path

from calling import Ended, P2pfl
from certified_peers import make_peer
from consortium import founded
from ledger_group import governor_of, model_of, two_epochs

from p2pfl.charter.charter_file import read_file, write_file
from p2pfl.charter.first_states import read_first_state
from p2pfl.charter.keys import make_key
from p2pfl.charter.words import phrase_of
from p2pfl.store.passphrases import INTERACTIVE
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


def test_members_of_before_sign_for_a_group_that_they_are_not_in(p2pfl: P2pfl) -> None:
    """The new group's members are all others: four of the five of before must let them."""
    succeeds = tomllib.loads(succeeded(p2pfl).out)["succeeds"]
    new = Path("new.charter")
    task = {"name": "digits", "first_state": "start.safetensors"}
    write_file(new, founded(Path(), succeeds=succeeds, task=task), is_new=True)
    phrase = " ".join(phrase_of(read_file(new).digest))
    Path("word").touch(0o600)
    Path("word").write_text("horse\n")
    for number in (1, 2, 3, 4):
        key, seed = Path(f"{number}.key"), governor_of(number).seed
        make_key(key, "ed25519", b"horse", cost=INTERACTIVE, entropy=_first_gives(seed))
        sign = ("charter", "sign", "new.charter", "--key", str(key), "--passphrase-file", "word")
        words = ("--phrase", phrase)
        if number == 1:
            alone = p2pfl(*sign, *words)
            assert (alone.code, "is no key of a member of this charter" in alone.err) == (2, True)
        checked = p2pfl("charter", "verify", "new.charter", "--predecessor", "berlin")
        assert checked.code != 0, "fewer than four of before have signed"
        ended = p2pfl(*sign, *words, "--predecessor", "berlin")
        assert ended.code == 0, ended.err
        assert ("enough" in ended.out) == (number == 4)
    checked = p2pfl("charter", "verify", "new.charter", "--predecessor", "berlin")
    assert checked.code == 0, checked.out + checked.err
    assert read_file(new).founding_standing().is_enough


def _first_gives(seed: bytes) -> Callable[[int], bytes]:
    """Entropy that gives a seed first, so that a key is known, and zeros then."""
    given = iter((seed,))
    return lambda size: next(given, bytes(size))
