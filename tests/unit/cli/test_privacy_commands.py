"""`p2pfl privacy plan`: for people, for programs, and refusals in one line."""

import json

import pytest
from calling import P2pfl

ASKED = [
    *("--members", "16", "--rows", "10000", "--rate", "1/16"),
    *("--rounds", "200", "--epsilon", "2", "--drops", ".02"),
]


def test_a_plan_for_people(p2pfl: P2pfl) -> None:
    """Every line of a claim has who looks, whose noise is left, epsilon, and words."""
    ended = p2pfl("privacy", "plan", *ASKED, "--parameters", "101770")
    assert ended.code == 0
    text = " ".join(ended.out.split())
    assert "no run of p2pfl is private by it" in text
    assert "one row (per row, not per patient), there or not" in text
    assert "noise 2.00 clips" in text
    assert "at least 15 of 16" in text
    assert "5 colluding members 10 shares 2 3.3 % the claim" in text
    assert "the member itself 0 shares none 100.0 %" in text
    assert "find at most 33 in 1,000 that are" in text
    assert "A patient with two rows" in text


def test_a_plan_for_programs(p2pfl: P2pfl) -> None:
    plan = json.loads(p2pfl("privacy", "plan", *ASKED, "--json").out)
    assert plan["private"] is False
    assert plan["noise"] == pytest.approx(2.0, abs=0.005)
    assert len(plan["claims"]) == 5
    for claim in plan["claims"]:
        assert claim["unit"] == "row"
        assert claim["delta"] == 1e-5
        assert claim["releases"] == 200
    assert plan["claims"][-1]["epsilon"] is None


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--rate", "half"], "a rate is a fraction such as 1/16 or 0.0625, not 'half'"),
        (["--rate", "1/0"], "a rate is a fraction such as 1/16 or 0.0625, not '1/0'"),
        (["--unit", "patient"], "unit is record or member, not 'patient'"),
        (["--trust", "me"], "trust is coalition or nobody, not 'me'"),
        (["--noise", "2"], "give two of epsilon, noise and rounds: the third is worked out"),
        (["--delta", "nan"], "delta is above 0 and below 1, not nan"),
    ],
)
def test_refusals_are_one_line(p2pfl: P2pfl, arguments: list[str], message: str) -> None:
    ended = p2pfl("privacy", "plan", *ASKED, *arguments)
    assert (ended.code, ended.err) == (2, f"p2pfl: {message}\n")
