"""What people sign on paper, a member's machine takes: the same bytes, digests and approvals."""

from pathlib import Path

from consortium import MEMBERS, amended, founded

from p2pfl.charter.chain import chain_of
from p2pfl.charter.charter_file import CharterFile
from p2pfl_gossip.desk import Desk
from p2pfl_gossip.ledger.charter import Epoch, encode_charter
from p2pfl_gossip.ledger.history import History
from p2pfl_gossip.ledger.messages import Parcel
from p2pfl_gossip.ledger.proposals import Proposals
from p2pfl_gossip.ledger.seat import Seat


def parcel_of(file: CharterFile) -> Parcel:
    return Parcel(
        encode_charter(file.charter), file.terms_bytes, file.running_bytes, file.approvals
    )


def machine_of(group: CharterFile) -> Proposals:
    epoch = Epoch.founded(group.charter)
    seat = Seat(epoch, MEMBERS[0].identity, bytes, Desk())
    seat.begin(100.0)
    return Proposals(seat, History(epoch))


def test_an_amendment_is_taken_as_it_was_signed(tmp_path: Path) -> None:
    group = founded(tmp_path)
    machine = machine_of(group)
    assert machine.present.digest == group.digest
    proposed = amended(group, purpose="another")
    for count in range(1, 5):
        file = proposed.with_words([member.says(proposed) for member in MEMBERS[:count]])
        machine.propose(parcel_of(file))
        (there,) = machine.open
        assert there.digest == file.digest
        assert (there.terms, there.running) == (file.terms_bytes, file.running_bytes)
        assert there.standing == file.standing_after(group)
    assert there.standing is not None
    assert there.standing.is_enough
    assert chain_of([group, file]).present == file


def test_a_running_change_is_taken_too(tmp_path: Path) -> None:
    group = founded(tmp_path)
    machine = machine_of(group)
    proposed = amended(group, rounds=140)
    file = proposed.with_words([member.peer_says(proposed) for member in MEMBERS[:4]])
    machine.propose(parcel_of(file))
    (there,) = machine.open
    assert there.standing is not None
    assert (there.standing.kind, there.standing.is_enough) == ("running", True)
