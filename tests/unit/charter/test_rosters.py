"""From a roster, as version 0.1 wrote it before there were charters, to the founding charter."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from consortium import MEMBERS, NOW_S, Draws

from p2pfl.charter.cards import MemberCard
from p2pfl.charter.errors import PaperError
from p2pfl.charter.first_states import write_first_state
from p2pfl.charter.form import CharterForm
from p2pfl.charter.making import found
from p2pfl.charter.rosters import form_of_roster
from p2pfl.charter.settled import settled

ROSTER = Path(__file__).parents[2] / "vectors" / "roster.toml"
PEERS = {
    "berlin": "12D3KooWNoh1gUgPhv13UtTfGx24sxm2ZZCE5cFTsfH7Lu4ih5cC",
    "lyon": "12D3KooWK8Lu7rRNkErn3BPVreLK1iaGCjyMUd2ydou69nW67a4S",
    "oslo": "12D3KooWFrxZZZdXrqS71oBbf9FBDYS3fBRxu2EEmtq2dSrCNQAT",
    "porto": "12D3KooWGPV8BTtMEGpdgHQK6Z5L4f2vAMmTLd7zBbYvHjFuuEYt",
    "turin": "12D3KooWNw4Vw62f77oQ4kfW9GC5vrffVqvHg7UsJPHtkX8V98wf",
}


def cards(**peers: str) -> list[MemberCard]:
    """The members' cards, with governance keys made since."""
    known = {member.name: member.card() for member in MEMBERS}
    return [
        known[name].model_copy(update={"peer_id": peer_id, "weight": 320.0})
        for name, peer_id in (PEERS | peers).items()
    ]


def form_of(path: Path, folder: Path, founders: list[MemberCard], **more: Any) -> CharterForm:
    start = folder / "start.safetensors"
    write_first_state(start, np.zeros(235, np.float32))
    return form_of_roster(path, founders, first_state=start, bundle=None, **more)


def test_the_charter_says_what_the_roster_said(tmp_path: Path) -> None:
    form = form_of(ROSTER, tmp_path, cards())
    charter = found(form, cards(), now_s=NOW_S, entropy=Draws())
    agreed = settled(charter)
    assert (agreed.name, agreed.rounds, agreed.seed, agreed.evaluate_every) == ("five", 5, 1, 1)
    assert (agreed.learning.task, agreed.learning.options) == ("digits", {"hidden": [3]})
    assert agreed.learning.training.learning_rate == 0.1
    assert (agreed.averaging.algorithm, agreed.averaging.weights) == ("group", "samples")
    assert {it.name: it.peer_id for it in agreed.members} == PEERS
    assert {member.weight for member in charter.charter.members} == {320.0}
    assert form.purpose == "goes on from the roster of five"


def test_a_roster_of_cohorts_becomes_a_network(tmp_path: Path) -> None:
    path = tmp_path / "roster.toml"
    text = ROSTER.read_text()
    head, _, rest = text.partition("[averaging]")
    cohorts = 'algorithm = "cohorts"\ncohort_size = 5\nmasking = "real"\nclip = 2.0\n'
    path.write_text(f"{head}[averaging]\n{cohorts}\n[[members]]{rest.partition('[[members]]')[2]}")
    form = form_of(path, tmp_path, cards())
    charter = found(form, cards(), now_s=NOW_S, entropy=Draws())
    assert charter.is_network
    assert settled(charter).averaging.model_dump()["clip"] == 2.0


@pytest.mark.parametrize(
    ("founders", "fault"),
    [
        (cards()[:4], "turin is a member, and its card is missing: --card"),
        (cards(oslo=PEERS["lyon"]), "the card of oslo is of another peer, 12D3KooWK8Lu"),
        ([*cards(), MEMBERS[0].card().model_copy(update={"name": "york"})], "york is no member"),
    ],
)
def test_the_cards_are_those_of_its_members(
    tmp_path: Path, founders: list[MemberCard], fault: str
) -> None:
    with pytest.raises(PaperError, match=fault):
        form_of(ROSTER, tmp_path, founders)


def test_what_is_no_roster_of_a_group_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "roster.toml"
    path.write_text(ROSTER.read_text() + '\n[learning.partition]\nkind = "iid"\n')
    with pytest.raises(PaperError, match="the roster of a trial"):
        form_of(path, tmp_path, cards())
    path.write_text("name = 7\n")
    with pytest.raises(PaperError, match="name: "):
        form_of_roster(path, cards(), first_state=path, bundle=None)
