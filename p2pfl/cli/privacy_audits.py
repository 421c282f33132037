"""`p2pfl privacy audit`: attacks this machine's noise, and says what that proves."""

import json
import os
from collections.abc import Mapping
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table

from p2pfl.cli.errors import DIFFERENT, BadInput
from p2pfl.cli.privacy_plans import choice_of, rate_of
from p2pfl.privacy.auditing import Finding, PlantedFault, audit
from p2pfl.privacy.errors import PrivacyError
from p2pfl.privacy.mechanisms import Mechanism
from p2pfl.privacy.planner import DELTA, Question, make_plan
from p2pfl_crypto.private_streams import ENTROPY_BYTES

ROWS = 1000
"""Of the plan that is audited: only delta depends on them."""

ONLY_FAILS = "An audit that refutes nothing proves nothing: it only failed to refute the claim."


def show_audit(asked: Mapping[str, Any], *, runs: int, plant: str, as_json: bool) -> int:
    """Print what attacks prove; return an exit code.

    Args:
        asked: fields of `Question`, as they were written.
        runs: with the row, and as many without.
        plant: a `PlantedFault`.
        as_json: print JSON.
    """
    try:
        fault = choice_of(PlantedFault, "plant", plant)
        least = asked["members"] if asked["least"] is None else asked["least"]
        plan = make_plan(
            Question(**{**asked, "rate": rate_of(asked["rate"]), "least": least, "rows": ROWS})
        )
        found = audit(
            plan.mechanism,
            plan.rounds,
            claim=plan.epsilon,
            delta=DELTA,
            runs=runs,
            entropy=os.urandom(ENTROPY_BYTES),
            fault=fault,
        )
    except PrivacyError as error:
        raise BadInput(str(error)) from error
    is_refuted = any(it.is_refuted for it in found)
    if as_json:
        tests = [
            {"test": it.test, "figure": it.figure, "allowed": it.allowed, "refuted": it.is_refuted}
            for it in found
        ]
        document = {"epsilon": plan.epsilon, "delta": DELTA, "planted": fault, "tests": tests}
        print(json.dumps({**document, "refuted": is_refuted}, indent=2))
    else:
        _print(plan.mechanism, plan.rounds, plan.epsilon, runs, fault, found)
    return DIFFERENT if is_refuted else 0


def _print(
    mechanism: Mechanism,
    rounds: int,
    epsilon: float,
    runs: int,
    fault: PlantedFault,
    found: list[Finding],
) -> None:
    console = Console(highlight=False, markup=False)
    planted = "" if fault is PlantedFault.NONE else f"; planted: {fault}"
    console.print(
        f"Claimed: epsilon {epsilon:.3g} of one row at delta {DELTA:g}, {rounds:,} rounds,"
        f" {mechanism.colluding} of {mechanism.members} members collude. {runs:,} runs with the"
        f" row, {runs:,} without, of this machine's noise{planted}."
    )
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, header_style="dim")
    table.add_column("test")
    for name in ("found", "allowed", ""):
        table.add_column(name, justify="right", no_wrap=True)
    for it in found:
        low, high = it.allowed
        table.add_row(
            it.test,
            f"{it.figure:.3f}",
            f"{low:.3f} to {high:.3f}",
            "refutes the claim" if it.is_refuted else "",
        )
    console.print(table)
    if not any(it.is_refuted for it in found):
        console.print(ONLY_FAILS)
