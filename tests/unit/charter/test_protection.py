"""What a charter's way of averaging protects, in sentences."""

from pathlib import Path
from typing import Any

import pytest
from consortium import founded

from p2pfl.charter.settled import settled
from p2pfl.group.protection import describe_protection
from p2pfl_simulations import make_scenario
from p2pfl_simulations.results.claims import claim_sentence

NOTHING = "Nothing bounds what a member puts in"
PROVED = "A sum counts once all in it have proved"


@pytest.mark.parametrize(("audit", "said"), [("off", NOTHING), ("void", PROVED), ("name", PROVED)])
def test_a_charter_says_what_bounds_a_member_that_lies(
    audit: str, said: str, tmp_path: Path
) -> None:
    lines = describe_protection(settled(founded(tmp_path, averaging={"audit": audit})))
    assert [line.startswith(said) for line in lines].count(True) == 1
    other = NOTHING if said == PROVED else PROVED
    assert not any(line.startswith(other) for line in lines)


@pytest.mark.parametrize(
    ("averaging", "said"),
    [
        ({"algorithm": "group"}, PROVED),
        ({"algorithm": "group", "audit": "off"}, NOTHING),
        ({"algorithm": "group", "masking": "modelled"}, PROVED),
        ({"algorithm": "cohorts", "cohort_size": 8}, NOTHING),
        ({"algorithm": "cohorts", "cohort_size": 8, "masking": "none"}, ""),
    ],
)
def test_a_run_says_what_bounds_a_peer_that_lies(averaging: dict[str, Any], said: str) -> None:
    scenario = make_scenario(
        {"peers": 16, "learning": {"task": "integers"}, "averaging": averaging}
    )
    claim = claim_sentence(scenario)
    assert (said in claim) if said else claim == ""
