"""Checks of the ledger's checkers, taken out one by one: each must be missed by its test."""

from planting import Fault

FILE = "simulations/p2pfl_simulations/checkers/ledger.py"
TEST = "tests/unit/simulations/test_ledger_checks.py::"
AUDITING = "simulations/p2pfl_simulations/checkers/auditing.py"
AUDITED = "tests/simulation/test_audited_groups.py::"


def _blind(name: str, old: str, test: str, new: str = "if False:") -> Fault:
    return Fault(f"checkers: {name}", FILE, old, new, TEST + test)


TWO_SAYINGS = "test_two_sayings_of_an_honest_member_are_found"

CHECKERS: tuple[Fault, ...] = (
    _blind("one advert a round", "if known is not None:", TWO_SAYINGS),
    _blind("rounds of adverts grow", "if advert.round <= said.round:", TWO_SAYINGS),
    _blind(
        "heads of adverts never fall",
        "if advert.head.place < said.head and advert.rest != Rest.START:",
        TWO_SAYINGS,
    ),
    _blind(
        "one entry signed a round",
        "if not self._is_unknown(host, place, EntrySignature):",
        TWO_SAYINGS,
    ),
    _blind(
        "what enough others hold is not said again",
        "if (*place, kind) not in lacking or len(holders) > size - threshold_of(size):",
        "test_what_a_backup_lacks_must_be_heard_of_from_those_who_hold_it",
        "if (*place, kind) not in lacking:",
    ),
    _blind(
        "one certified entry a round",
        "if other != head:",
        "test_two_certified_entries_of_a_round_are_found",
    ),
    _blind(
        "what is certified descends from what is final",
        "if head != earlier:",
        "test_a_history_without_a_final_entry_is_found",
    ),
    _blind(
        "t adverts make final",
        "if len(named) < needed or self._final == head:",
        "test_a_history_without_a_final_entry_is_found",
        "if self._final == head:",
    ),
    _blind(
        "a head never falls",
        "if before is not None and head.place < before.place:",
        "test_a_head_that_falls_and_a_model_of_another_are_found",
    ),
    _blind(
        "a model is the one of its digest",
        'if digest not in [digest_state(it, model).item.digest for it in ("model", MOMENTUM)]:',
        "test_a_head_that_falls_and_a_model_of_another_are_found",
    ),
    _blind(
        "a round ends with the certified model",
        "if entry is not None and self._checked.get(entry.state[0].digest, print_) != print_:",
        "test_a_head_that_falls_and_a_model_of_another_are_found",
    ),
    _blind(
        "all finish with one history",
        "self._require_descent(later, earlier)",
        "test_members_that_finish_apart_are_found",
        "pass",
    ),
    Fault(
        "checkers: what liars add to an audited sum is bounded",
        AUDITING,
        "if math.sqrt(square) > CLAIMED * liars * quanta:",
        "if False:",
        AUDITED + "test_the_checker_sees_a_sum_that_no_audit_has_bounded",
    ),
    Fault(
        "checkers: no coin before t have the sums",
        AUDITING,
        "if len(signers) < needed:",
        "if False:",
        AUDITED + "test_the_checker_sees_a_coin_that_is_shown_too_early",
    ),
)
