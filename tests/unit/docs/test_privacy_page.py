"""docs/privacy.md says what the planner says, and who is private."""

import json
import re
from pathlib import Path

from calling import P2pfl

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
