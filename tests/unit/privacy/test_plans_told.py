"""What a plan prints, and docs/privacy.md, are what the planner says.

Beside the planner's tests, since all of them ask for the same plan, which takes seconds.
"""

import json
import re
from pathlib import Path

import pytest
from calling import P2pfl

ASKED = [
    *("--members", "16", "--rows", "10000", "--rate", "1/16"),
    *("--rounds", "200", "--epsilon", "2", "--drops", ".02"),
]
PAGE = (Path(__file__).parents[3] / "docs" / "privacy.md").read_text()


def test_the_table_of_who_learns_how_much_is_the_planners(p2pfl: P2pfl) -> None:
    (command,) = re.findall(r"^p2pfl (privacy plan .*)$", PAGE, re.MULTILINE)
    plan = json.loads(p2pfl(*command.split(), "--json").out)
    section = PAGE.partition("## Who learns how much")[2].partition("\n## ")[0]
    rows = [
        [cell.strip(" *") for cell in line.strip("|").split("|")]
        for line in section.splitlines()
        if line.startswith("| ")
    ][1:]
    assert len(rows) == len(plan["claims"])
    for row, claim in zip(rows, plan["claims"], strict=True):
        assert row[1].split()[0] == str(claim["shares_it_cannot_subtract"] or "none")
        if claim["epsilon"] is not None:
            # Bounds are rounded up, as a bound must be, to the digits that the page gives.
            digits = len(row[2].partition(".")[2])
            assert abs(float(row[2]) - claim["epsilon"]) <= 0.5 * 10**-digits
            assert 0 <= float(row[3]) - 100 * claim["found_at_1_in_100_false_alarms"] < 1
    text = " ".join(PAGE.split())
    assert f"at 2, it is {plan['epsilon_if_two_rows']:.1f}" in text
    assert f"epsilon 2 is {plan['epsilon_if_replaced']:.1f}" in text


def test_the_page_says_who_is_private(p2pfl: P2pfl) -> None:
    assert "**A group is private if its charter says so**" in PAGE
    assert "Plan differential privacy" in " ".join(p2pfl("privacy", "--help").out.split())


def test_a_plan_for_people(p2pfl: P2pfl) -> None:
    """Every line of a claim has who looks, whose noise is left, epsilon, and words."""
    ended = p2pfl("privacy", "plan", *ASKED, "--parameters", "101770")
    assert ended.code == 0
    text = " ".join(ended.out.split())
    assert "No data are protected by it until" in text
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
