"""`p2pfl privacy open`, `ledger`, `status` and `forfeit`: a data set's budget, for people."""

import json
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec
import typer
from rich import box
from rich.console import Console
from rich.table import Table

from p2pfl.cli.errors import DIFFERENT, BadInput
from p2pfl.privacy.budget.book import BudgetStanding
from p2pfl.privacy.budget.ledger import (
    ID_BYTES,
    BudgetLedger,
    RestoredLedger,
    create,
    forfeit,
    open_ledger,
    read_records,
)
from p2pfl.privacy.errors import PrivacyError

_SHORT = 12  # Digits of a charter's digest on a screen.


@contextmanager
def _bad_input() -> Iterator[None]:
    try:
        yield
    except PrivacyError as error:
        raise BadInput(str(error)) from error


def open_budget(path: Path, anchor: Path, *, dataset: str, epsilon: float, delta: float) -> None:
    """Make a ledger and its anchor."""
    with _bad_input():
        made = create(
            *(path, anchor),
            dataset=dataset,
            epsilon=epsilon,
            delta=delta,
            entropy=os.urandom(ID_BYTES),
        )
    print(
        f"{path}: {dataset} may cost an epsilon of {epsilon:g} at a delta of {delta:g}, over all"
        f" groups (order {made.book.opened.order})"
    )


def show_records(path: Path, *, as_json: bool) -> None:
    """Print all records."""
    with _bad_input():
        read = read_records(path)
    documents = [msgspec.to_builtins(record) for record in read.records]
    if as_json:
        print(json.dumps(documents, indent=2))
        return
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, header_style="dim")
    for name in ("line", "record", "charter"):
        table.add_column(name, no_wrap=True)
    table.add_column("what")
    for number, document in enumerate(documents, 1):
        kind = document.pop("record")
        charter = document.pop("charter", "")[:_SHORT]
        what = ", ".join(f"{name} {_short(value)}" for name, value in document.items())
        table.add_row(str(number), kind, charter, what)
    Console(highlight=False, markup=False).print(table)


def show_status(path: Path, anchor: Path, *, as_json: bool) -> int:
    """Print what is left, and whether the ledger is where its anchor says; return an exit code."""
    problem = None
    try:
        read = open_ledger(path, anchor)
    except RestoredLedger as error:
        problem = str(error)
        with _bad_input():
            read = read_records(path)
    except PrivacyError as error:
        raise BadInput(str(error)) from error
    if as_json:
        print(json.dumps(_status_document(read, problem), indent=2))
    else:
        _print_status(read, problem)
    return DIFFERENT if problem else 0


def forfeit_budget(path: Path, anchor: Path, *, is_sure: bool) -> None:
    """Count every charter in full, once somebody has read why and has said yes."""
    with _bad_input():
        if not is_sure:
            question = _before_forfeiting(path, anchor)
            if not sys.stdin.isatty():
                raise BadInput(f"{question} --yes says so")
            if not typer.confirm(question):
                raise BadInput("nothing was forfeited")
        book = forfeit(path, anchor).book
    left = 100 * max(0.0, 1 - book.charged / book.budget)
    print(f"{path}: every charter counts in full; {left:.0f} % of the budget is left for new ones")


def _before_forfeiting(path: Path, anchor: Path) -> str:
    """Say what stands with a ledger, and ask."""
    lost = "Every charter counts in full and ends"
    try:
        open_ledger(path, anchor)
        problem = f"{path} is where its anchor says, and can be used as it is"
    except RestoredLedger as error:
        problem, _, _ = str(error).partition(";")
        if not anchor.exists():
            lost = "Without it the whole budget counts as spent"
    return f"{problem}. {lost}. Go on?"


def _status_document(read: BudgetLedger, problem: str | None) -> dict[str, Any]:
    book = read.book
    return {
        "dataset": book.opened.dataset,
        "epsilon": book.opened.epsilon,
        "delta": book.opened.delta,
        "unit": "row",
        "order": book.opened.order,
        "budget_divergence": book.budget,
        "charged_divergence": book.charged,
        "charged_epsilon": book.epsilon,
        "usable": problem is None,
        "problem": problem,
        "records": len(read.records),
        "head": read.head,
        "charters": [
            {
                "charter": charter,
                "state": one.state.value,
                "rounds": one.reserved.rounds,
                "spent": one.spent,
                "presumed": one.presumed,
                "left": one.left,
                "epsilon": one.reserved.epsilon,
                "charged_divergence": one.charged,
                "alone": one.reserved.alone,
            }
            for charter, one in book.charters.items()
        ],
    }


def _print_status(read: BudgetLedger, problem: str | None) -> None:
    book = read.book
    console = Console(highlight=False, markup=False)
    console.print(
        f"{book.opened.dataset}: epsilon {book.opened.epsilon:g} at delta {book.opened.delta:g},"
        f" of which {book.epsilon:.2g} is charged"
    )
    if problem:
        console.print(f"nothing can be spent: {problem}", style="bold", soft_wrap=True)
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, header_style="dim")
    table.add_column("charter", no_wrap=True)
    table.add_column("state", no_wrap=True)
    for name in ("rounds", "spent", "left", "epsilon", "of the budget"):
        table.add_column(name, justify="right", no_wrap=True)
    for charter, one in book.charters.items():
        table.add_row(*_row(charter, one, book.budget))
    if book.charters:
        console.print(table)
    if any(one.reserved.alone for one in book.charters.values()):
        console.print("The whole budget went to one charter; nothing may follow it.")


def _row(charter: str, one: BudgetStanding, budget: float) -> tuple[str, ...]:
    share = "all" if one.reserved.alone else f"{100 * one.charged / budget:.0f} %"
    return (
        charter[:_SHORT],
        one.state.value,
        f"{one.reserved.rounds:,}",
        f"{one.spent:,}",
        f"{one.left:,}",
        f"{one.reserved.epsilon:.2g}",
        share,
    )


def _short(value: object) -> str:
    if isinstance(value, float):
        return f"{value:.4g}"
    text = str(value)
    return text[:_SHORT] if len(text) == 64 else text
