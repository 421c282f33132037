"""`p2pfl privacy plan`: asks the planner, and writes its answer for people or programs."""

import json
import math
from collections.abc import Mapping
from enum import Enum
from fractions import Fraction
from typing import Any, TypeVar

from rich import box
from rich.console import Console
from rich.table import Table

from p2pfl.cli.errors import BadInput
from p2pfl.privacy.claims import Claim, in_words
from p2pfl.privacy.errors import PrivacyError
from p2pfl.privacy.mechanisms import Trust, Unit
from p2pfl.privacy.planner import Plan, Question, make_plan, points_lost

NOT_YET = "This is a plan. No data are protected by it until a group's charter states it."

Choice = TypeVar("Choice", bound=Enum)


def show_plan(asked: Mapping[str, Any], *, as_json: bool) -> None:
    """Print a plan.

    Args:
        asked: the fields of `Question`, as they were written: `rate`, `unit`, `trust` as text.
        as_json: print JSON.
    """
    try:
        question = Question(
            **{
                **asked,
                "rate": rate_of(asked["rate"]),
                "unit": choice_of(Unit, "unit", asked["unit"]),
                "trust": choice_of(Trust, "trust", asked["trust"]),
            }
        )
        plan = make_plan(question)
    except PrivacyError as error:
        raise BadInput(str(error)) from error
    if as_json:
        print(json.dumps(_as_document(plan), indent=2))
    else:
        _print(plan)


def rate_of(text: str) -> Fraction:
    """Read a rate as it was written, or raise PrivacyError."""
    try:
        return Fraction(text)
    except (ValueError, ZeroDivisionError):
        raise PrivacyError(f"a rate is a fraction such as 1/16 or 0.0625, not {text!r}") from None


def choice_of(kind: type[Choice], name: str, text: str) -> Choice:
    """Find what was named, or raise PrivacyError that says what there is."""
    try:
        return kind(text)
    except ValueError:
        known = " or ".join(choice.value for choice in kind)
        raise PrivacyError(f"{name} is {known}, not {text!r}") from None


def _unit_word(plan: Plan) -> str:
    return "member" if plan.question.unit is Unit.MEMBER else "row"


def _as_document(plan: Plan) -> dict[str, Any]:
    """Everything that a figure of epsilon needs stands beside it; infinity is null."""
    mechanism, question = plan.mechanism, plan.question
    unit = _unit_word(plan)
    needed = {
        "unit": unit,
        "neighbours": "add or remove",
        "delta": question.delta,
        "releases": plan.rounds * mechanism.steps,
    }
    return {
        "private": False,
        "note": NOT_YET,
        "unit": unit,
        "per_patient": False,
        "trust": mechanism.trust.value,
        "members": mechanism.members,
        "members_in_a_sum": mechanism.least,
        "colluding": mechanism.colluding,
        "rate": mechanism.rate_units / 2**32,
        "rounds": plan.rounds,
        "steps": mechanism.steps,
        "noise": mechanism.noise,
        "noise_of_each_member": mechanism.share,
        "sensitivity": mechanism.sensitivity,
        "table": mechanism.width.digest.hex(),
        "delta": question.delta,
        "epsilon": plan.epsilon,
        "epsilon_by_renyi": plan.renyi_epsilon,
        "epsilon_if_replaced": plan.kin.replaced,
        "epsilon_if_two_rows": plan.kin.with_two_rows,
        "rounds_refused": plan.refused,
        "noise_to_signal": plan.noise_to_signal,
        "to_lower_noise_to_signal": list(plan.advice),
        "claims": [
            {
                "adversary": claim.adversary,
                "is_the_claim": claim.is_the_claim,
                "shares_it_cannot_subtract": claim.shares,
                "epsilon": claim.epsilon if math.isfinite(claim.epsilon) else None,
                "found_at_1_in_100_false_alarms": claim.found,
                **needed,
            }
            for claim in plan.claims
        ],
        "in_words": in_words(_the_claim(plan), unit),
    }


def _the_claim(plan: Plan) -> Claim:
    return next(claim for claim in plan.claims if claim.is_the_claim)


def _print(plan: Plan) -> None:
    console = Console(highlight=False, markup=False)
    console.print(NOT_YET + "\n", style="bold", soft_wrap=True)
    facts = Table(box=None, show_header=False, pad_edge=False, padding=(0, 3, 0, 2))
    facts.add_column(no_wrap=True)
    facts.add_column()
    for name, value in _facts(plan):
        facts.add_row(name, value)
    console.print(facts)
    console.print()
    console.print(_table_of_claims(plan))
    for line in _sentences(plan):
        console.print(f"  {line}", soft_wrap=False)


def _facts(plan: Plan) -> list[tuple[str, str]]:
    mechanism, question = plan.mechanism, plan.question
    word = _unit_word(plan)
    unit = "a whole member" if word == "member" else "one row (per row, not per patient)"
    facts = [
        ("unit", f"{unit}, there or not"),
        (
            "epsilon, delta",
            f"{plan.epsilon:.3g}, {question.delta:.1g}; by Renyi {plan.renyi_epsilon:.3g}",
        ),
    ]
    if word == "row":
        assert question.rows is not None
        lot = f"each row by a chance of {float(question.rate):.4g}"
        facts.append(("lot", f"{lot}: about {question.rows * float(question.rate):,.0f} rows"))
    steps = "" if mechanism.steps == 1 else f", {mechanism.steps} steps each"
    facts.append(("rounds", f"{plan.rounds:,}{steps}, with those that come to nothing"))
    facts.append(("noise", f"{mechanism.noise:.2f} clips"))
    if mechanism.trust is Trust.NOBODY:
        facts.append(("of each member", "all of it: no other member is counted on"))
    else:
        honest = f"{mechanism.shares} of {mechanism.least} that do not collude"
        facts.append(("of each member", f"{mechanism.share:.2f} clips; {honest} make it up"))
        refused = (
            f"; fewer are there in {100 * plan.refused:.2g} % of rounds" if question.drops else ""
        )
        facts.append(("in a sum", f"at least {mechanism.least} of {mechanism.members}{refused}"))
    if plan.noise_to_signal is not None:
        lost = points_lost(plan.noise_to_signal)
        facts.append(
            ("noise to signal", f"{plan.noise_to_signal:.2g}; costs {lost} points (rule of thumb)")
        )
    return facts


def _table_of_claims(plan: Plan) -> Table:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, header_style="dim")
    table.add_column("who looks", no_wrap=True)
    table.add_column("noise left", justify="right", no_wrap=True)
    table.add_column("epsilon", justify="right")
    table.add_column("finds at most", justify="right", no_wrap=True)
    table.add_column("")
    for claim in plan.claims:
        known = math.isfinite(claim.epsilon)
        table.add_row(
            claim.adversary,
            f"{claim.shares} shares" if claim.shares != 1 else "1 share",
            _figure(claim.epsilon) if known else "none",
            f"{math.ceil(1000 * claim.found) / 10:.1f} %",
            "the claim" if claim.is_the_claim else "",
            style="bold" if claim.is_the_claim else "",
        )
    return table


def _figure(epsilon: float) -> str:
    return f"{epsilon:.2g}" if epsilon < 10 else f"{epsilon:.0f}"


def _sentences(plan: Plan) -> list[str]:
    word = _unit_word(plan)
    lines = [
        f"Found: of the {word}s that are in the data, where 1 % of those that are not are accused.",
        in_words(_the_claim(plan), word),
    ]
    if plan.kin.replaced is not None:
        lines.append(
            f"If neighbours differ by what a {word} holds, not by its being there, epsilon is"
            f" {plan.kin.replaced:.2g}."
        )
    if plan.kin.with_two_rows is not None:
        lines.append(
            f"A patient with two rows, in one member or in two, has an epsilon of"
            f" {plan.kin.with_two_rows:.2g}. Nobody can see who has."
        )
    lines += [f"Less noise to signal: {advice}." for advice in plan.advice]
    return lines
