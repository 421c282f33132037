"""Every named limit of the product is named by a test, which reaches it."""

from named_limits import all_limits, named_in_tests

LATER: dict[str, str] = {
    "p2pfl_simulations.report": "bounds how much is drawn; nothing from outside reaches it",
}
"""By package: why its limits are not looked for."""

INNER: dict[tuple[str, str], str] = {
    ("p2pfl_simulations.trace", "_PENDING_MAX"): "how much is digested at once",
    ("p2pfl_simulations.masking", "CHECKED_MAX"): "how many sums are checked again",
    ("p2pfl_simulations.checkers.secrecy", "PROBES_MAX"): "how thoroughly a checker looks",
}
"""Single ones that bound nothing that a stranger sends, with what they are."""


def _is_looked_for(limit: tuple[str, str]) -> bool:
    module, _ = limit
    is_later = any(module == it or module.startswith(f"{it}.") for it in LATER)
    return not is_later and limit not in INNER


def test_every_named_limit_is_named_by_a_test() -> None:
    named = named_in_tests()
    unnamed = [limit for limit in all_limits() if _is_looked_for(limit) and limit not in named]
    assert unnamed == [], "write a test that reaches it, and fails without it"


def test_no_exception_is_left_over() -> None:
    """Who takes a limit out, or names it, takes it out here too."""
    named, limits = named_in_tests(), all_limits()
    assert [limit for limit in INNER if limit not in limits or limit in named] == []
    for package in LATER:
        assert any(module.startswith(package) for module, _ in limits)
