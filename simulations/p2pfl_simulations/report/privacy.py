"""The report's section of what differential privacy promises, to whom."""

from html import escape

from p2pfl.cli.quantities import plural
from p2pfl_simulations.report.page import section, table
from p2pfl_simulations.results.privacy import NOT_PRIVATE, told_epsilon, told_found
from p2pfl_simulations.results.run import RunResult


def privacy_section(run: RunResult) -> str:
    """Write a line for each adversary; one line where nothing bounds what may be learnt."""
    row = run.privacy
    if row is None:
        return section("Differential privacy", NOT_PRIVATE)
    told = "".join(f"<li>{escape(sentence)}</li>" for sentence in row.sentences())
    return section(
        "Differential privacy",
        f"What each can learn: {row.caption()}.",
        table(
            ["who looks", "noise left", "epsilon", "finds at most", ""],
            [
                [
                    escape(claim.adversary),
                    plural(claim.shares, "share"),
                    told_epsilon(claim.epsilon),
                    told_found(claim.found),
                    "the claim" if claim.is_the_claim else "&nbsp;",
                ]
                for claim in row.claims
            ],
        ),
        f"<ul>{told}</ul>",
    )
