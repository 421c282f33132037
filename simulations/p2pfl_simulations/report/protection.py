"""What a run's averaging protects, and what it does not, in plain words."""

from html import escape

from p2pfl.group.settings import GroupSettings
from p2pfl_simulations.results.claims import claim_sentence, robust_name, robust_of
from p2pfl_simulations.scenario import Scenario, masking_of

PLAIN = {
    "none": "Nothing travels: every peer trains alone.",
    "fedavg": "No masking: the server sees the model of every peer in the clear.",
    "cohorts": (
        "No masking: partners see your model in the clear. In a cohort each member averages one"
        " part of the model, and receives that part from every other member."
    ),
}
EVERY_PARTNER = "No masking: every partner sees your model in the clear."

AGAINST_THE_MEAN = (
    "The mean may say much by itself, and means over many rounds can be solved for. Only"
    " differential privacy bounds that, and there is none here."
)
AGAINST_THE_SUM = (
    "The sum may say much by itself, and two rounds that differ by one member tell its update"
    " nearly. Only differential privacy bounds that, and there is none here."
)
SUM_WITH_NOISE = "What sums tell of a single record, over all rounds, is bounded: see below."
ANY_UPDATE = (
    "A member may put in any update up to the clip, a norm that it shares with all: nobody can look"
    " at it."
)
ANY_MODEL = "A peer may put in any model, up to the clip: nobody can look at it."


def protection(scenario: Scenario) -> str:
    """Write the section that says who could see what."""
    match masking_of(scenario):
        case "real" if isinstance(scenario.averaging, GroupSettings):
            kind, rows = "a group's", _group_rows(scenario)
        case "real":
            kind, rows = "masked", _masked_rows(scenario)
        case "modelled":
            kind, rows = "modelled masked", _modelled_rows(scenario)
        case _:
            kind, rows = "plain", _plain_rows(scenario)
    written = "".join(f"<li>{escape(row)}</li>" for row in rows)
    heading = f"What {kind} averaging protects, and what it does not"
    return f'<section class="plain"><h2>{heading}</h2><ul>{written}</ul></section>'


def _plain_rows(scenario: Scenario) -> list[str]:
    robust = robust_of(scenario)
    seen = PLAIN.get(scenario.averaging.algorithm, EVERY_PARTNER)
    if robust is not None and scenario.averaging.algorithm == "cohorts":
        seen = EVERY_PARTNER  # Each works the rule out for itself, on whole models.
    return [
        "Rows of data never leave their peer; models do.",
        seen,
        (
            "A model can give away what it was trained on (membership inference,"
            " reconstruction). Plain averaging is for research, and for networks whose members"
            " trust each other."
        ),
        "Nothing guards against a peer that sends a false model."
        if robust is None
        else f"Against peers that send false models: {robust_name(robust)}, which partners can work"
        " out since they saw models in the clear. It bounds what few liars do; it finds nobody, and"
        " a backdoor is slowed, not stopped.",
    ]


def _masked_rows(scenario: Scenario) -> list[str]:
    return [
        "Rows of data never leave their peer; models leave it masked.",
        (
            "The members of a cohort learn the weighted mean of their models and no single one,"
            " unless a third of them or more collude. Neither the protocol nor its code has been"
            " audited."
        ),
        claim_sentence(scenario),
        AGAINST_THE_MEAN,
        ANY_MODEL,
        "Here all secrets come from the scenario's seed: a simulation keeps none from who runs it.",
    ]


def _group_rows(scenario: Scenario) -> list[str]:
    return [
        "Rows of data never leave their peer; updates of the model leave it masked.",
        claim_sentence(scenario),
        (
            "No member moves, and no model is taken, on one member's word: only a certificate"
            " counts. Neither the protocol nor its code has been audited."
        ),
        "Weights, and who is in which model, are known to all members.",
        AGAINST_THE_SUM if scenario.privacy is None else SUM_WITH_NOISE,
        ANY_UPDATE,
        "Here all secrets come from the scenario's seed: a simulation keeps none from who runs it.",
    ]


def _modelled_rows(scenario: Scenario) -> list[str]:
    return [
        (
            "Nothing: keys, shares, signatures and masks were replaced by stand-ins of their sizes."
            " It is for simulations only, and ends with the models, the bytes and the events that"
            " real masks give."
        ),
        claim_sentence(scenario),
        AGAINST_THE_MEAN,
        ANY_MODEL,
    ]
