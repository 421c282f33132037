"""A study of some members of a group: it takes over their cards and the group's terms."""

from pathlib import Path
from typing import Any

import pytest
from consortium import (
    DAY_S,
    MEMBERS,
    NOW_S,
    Draws,
    Member,
    amended,
    drafted,
    founded,
    founding_form,
)

from p2pfl.charter.charter_file import CharterFile
from p2pfl.charter.errors import PaperError
from p2pfl.charter.frames import faults_under, require_under, under_frame
from p2pfl.charter.making import found

BERGEN = Member("bergen")
DPIA = {"kind": "dpia", "digest": "11" * 32, "until": NOW_S + DAY_S}
OF_OSLO = {"kind": "ethics", "digest": "22" * 32, "of": "oslo"}
OF_BERGEN = {"kind": "ethics", "digest": "33" * 32, "of": "bergen"}
OWN = {"kind": "permit", "digest": "44" * 32}
NAMES = frozenset(member.name for member in MEMBERS)


@pytest.fixture(scope="module")
def frame(tmp_path_factory: pytest.TempPathFactory) -> CharterFile:
    return founded(
        tmp_path_factory.mktemp("frame"),
        (*MEMBERS, BERGEN),
        agreement="signed on paper by six",
        documents=[DPIA, OF_OSLO, OF_BERGEN],
        require=["dpia"],
        retention_days=77,
        notice_days=9,
    )


def study(
    folder: Path, frame: CharterFile, members: tuple[Member, ...] = MEMBERS, **changes: Any
) -> CharterFile:
    names = frozenset(member.name for member in members)
    form = under_frame(founding_form(folder, name="study", **changes), frame, names)
    return found(form, [it.card() for it in members], now_s=NOW_S, entropy=Draws())


def test_a_study_takes_over_what_it_does_not_say_itself(tmp_path: Path, frame: CharterFile) -> None:
    """Documents of those that are in it, not of others; its own come beside them."""
    made = study(tmp_path, frame, documents=[OWN, DPIA], require=["permit"])
    terms = made.terms
    assert terms.under == frame.digest.hex()
    assert made.text_of(terms.agreement) == "signed on paper by six"
    assert (terms.retention_days, made.charter.notice_s) == (77, 9 * DAY_S)
    assert terms.require == ("dpia", "permit")
    kinds = [(it.kind, it.of) for it in terms.documents]
    assert kinds == [("ethics", "oslo"), ("permit", None), ("dpia", None)]
    require_under(made, frame)
    own = study(tmp_path, frame, agreement="another", retention_days=5, notice_days=1)
    assert own.text_of(own.terms.agreement) == "another"
    assert (own.terms.retention_days, own.charter.notice_s) == (5, DAY_S)
    require_under(own, frame)


@pytest.mark.parametrize(
    ("members", "said"),
    [
        ((*MEMBERS[:4], Member("york")), "york is no member of the frame"),
        ((*MEMBERS[:4], Member("turin", controller="others")), "turin has another controller"),
        ((*MEMBERS[:4], Member("turin", generation="2")), "turin has other governance keys"),
        ((*MEMBERS[:4], Member("turin", key_count=2)), "turin has other governance keys"),
    ],
)
def test_cards_are_those_of_the_frame(
    tmp_path: Path, frame: CharterFile, members: tuple[Member, ...], said: str
) -> None:
    with pytest.raises(PaperError, match=f"it is no study under that frame: {said}"):
        require_under(study(tmp_path, frame, members), frame)


def test_terms_that_are_left_out_are_named(tmp_path: Path, frame: CharterFile) -> None:
    """Of a study that names its frame by itself."""
    plain = drafted(tmp_path, under=frame.digest.hex())
    assert list(faults_under(plain, frame)) == [
        "the frame requires the document dpia, and the study does not",
        "the document dpia of the group is the frame's, and not here",
        "the document ethics of oslo is the frame's, and not here",
    ]


def test_a_study_names_the_charter_that_it_is_under(tmp_path: Path, frame: CharterFile) -> None:
    assert next(faults_under(drafted(tmp_path), frame)).startswith(
        "the charter that it is under is none"
    )
    later = amended(frame, rounds=41)
    fault = next(faults_under(study(tmp_path, frame), later))
    assert fault.endswith(f"{frame.digest.hex()[:16]}, not {later.digest.hex()[:16]}")
    with pytest.raises(PaperError, match="under is abababababababab in the TOML, and"):
        study(tmp_path, frame, under="ab" * 32)


def test_a_frame_that_cannot_be_taken_over_is_told(tmp_path: Path, frame: CharterFile) -> None:
    erased = frame.without_texts()
    with pytest.raises(PaperError, match="agreement was erased in this file"):
        study(tmp_path, erased)
    assert study(tmp_path, erased, agreement="another").terms.under == frame.digest.hex()
    network = founded(tmp_path, averaging={"algorithm": "none"}, bounds={})
    for other in (network, drafted(tmp_path)):
        with pytest.raises(PaperError, match="a study is under the charter of a group"):
            study(tmp_path, other)
