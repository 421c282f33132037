"""Sessions with one kind of fault in one phase, drawn from a seed.

The tests run a few seeds of each cell, the sweep in benchmarks/ ten thousand.
"""

from collections.abc import Callable
from random import Random
from typing import Any

import msgspec
from session_driver import CODEC, Rewrite, SessionDriver, make_cohort

from p2pfl_gossip.actions import Action, Send, SendBulk
from p2pfl_gossip.masked_sum.phases import Phase
from p2pfl_gossip.records import MalformedFrame

PHASES = (
    Phase.ADVERTISE,
    Phase.DEAL,
    Phase.AGREE,
    Phase.CHUNK,
    Phase.VOTE,
    Phase.REVEAL,
)
MEMBERS_MAX = 9


class CrashIn:
    """Crashes members after a number of actions in a phase; restarts them if asked to."""

    def __init__(
        self, victims: dict[int, tuple[Phase, int]], restart_after_s: float | None = None
    ) -> None:
        self._victims = victims
        self._left = {rank: actions for rank, (_, actions) in victims.items()}
        self._restart_after_s = restart_after_s

    def __call__(self, driver: SessionDriver, rank: int, _action: Action) -> bool:
        if rank not in self._victims or driver.incarnation[rank]:
            return False
        if driver.machines[rank].phase < self._victims[rank][0]:
            return False
        self._left[rank] -= 1
        if self._left[rank] >= 0:
            return False
        if self._restart_after_s is not None:
            driver.at(self._restart_after_s, lambda: driver.restart(rank))
        return True


def in_phase(phase: Phase, change: Callable[[SessionDriver, Action], list[Action]]) -> Rewrite:
    """Change what a member sends from a phase on."""

    def rewrite(driver: SessionDriver, rank: int, action: Action) -> list[Action]:
        is_sent = isinstance(action, Send | SendBulk)
        if not is_sent or driver.machines[rank].phase < phase:
            return [action]
        changed = change(driver, action)
        driver.strikes += changed != [action]
        return changed

    return rewrite


def say_nothing(_driver: SessionDriver, _action: Action) -> list[Action]:
    return []


def flip_bits(driver: SessionDriver, action: Action) -> list[Action]:
    """Change some bits of a message; what does not decode any more would end the link."""
    if not isinstance(action, Send):
        return [action]
    frame = bytearray(CODEC.encode(action.message))
    for _ in range(driver.random.randint(1, 3)):
        bit = driver.random.randrange(8 * len(frame))
        frame[bit // 8] ^= 1 << bit % 8
    try:
        message: Any = CODEC.decode_untrusted(bytes(frame))
    except MalformedFrame:
        return []
    return [msgspec.structs.replace(action, message=message)]


def say_late(driver: SessionDriver, action: Action) -> list[Action]:
    """Send after several deadlines; a body's ticket comes back late too."""
    rank = next(
        rank for rank, machine in driver.machines.items() if machine._core is driver.speaking
    )
    driver.at(driver.random.uniform(0, 20), lambda: driver.perform(rank, action))
    return []


def say_twice(_driver: SessionDriver, action: Action) -> list[Action]:
    """Send each message again; a body has one ticket, so the second goes without."""
    if isinstance(action, SendBulk):
        return [action, msgspec.structs.replace(action, ticket=None)]
    return [action, action]


FAULTS = (
    "one crash",
    "n - t crashes",
    "n - t + 1 crashes",
    "crash and restart",
    "leader crashes",
    "mute",
    "late",
    "twice",
    "flipped bits",
    "5% loss",
)


def draw(
    seed: int,
    make_members: Callable[..., Any] = make_cohort,
    driver_type: type[SessionDriver] = SessionDriver,
) -> tuple[Phase, str, Any]:
    """Draw a session: its cell follows from the seed, the rest from a stream of its own.

    Args:
        seed: of the session.
        make_members: makes a cohort, or an epoch's members; and the identities.
        driver_type: what runs it.
    """
    cell = seed % (len(PHASES) * len(FAULTS))
    phase, fault = PHASES[cell % len(PHASES)], FAULTS[cell // len(PHASES)]
    random = Random(f"{seed}/fault")
    n = random.randint(5, MEMBERS_MAX)
    cohort, people = make_members(
        n, random.randint(4, 40), owner_count=random.choice((2, 2, 3)), round=random.randint(0, 99)
    )
    some = random.sample(range(n), n)
    options: dict[str, Any] = {"tells_down": random.random() < 0.5}

    def victims(count: int) -> dict[int, tuple[Phase, int]]:
        return {rank: (phase, random.randint(0, 2 * n)) for rank in some[:count]}

    spare = n - cohort.threshold
    match fault:
        case "one crash":
            options["before"] = CrashIn(victims(1))
        case "n - t crashes":
            options["before"] = CrashIn(victims(spare))
        case "n - t + 1 crashes":
            options["before"] = CrashIn(victims(spare + 1))
        case "crash and restart":
            options["before"] = CrashIn(victims(1), random.uniform(0.1, 10))
        case "leader crashes":
            options["before"] = CrashIn({cohort.leader(0): (phase, random.randint(0, 2 * n))})
        case "mute":
            options["rewrite"] = {some[0]: in_phase(phase, say_nothing)}
        case "late":
            options["rewrite"] = {some[0]: in_phase(phase, say_late)}
        case "twice":
            options["rewrite"] = {some[0]: in_phase(phase, say_twice)}
        case "flipped bits":
            options["rewrite"] = {some[0]: in_phase(phase, flip_bits)}
        case "5% loss":
            options["loss"], options["loss_from"] = 0.05, phase
    return phase, fault, driver_type(cohort, people, seed, **options)


def draw_drops(seed: int, members_max: int) -> SessionDriver:
    """Draw a session of 5 to `members_max` members of which up to n - t drop out in any phase."""
    random = Random(f"{seed}/drops")
    # Half of the sessions have up to 9 members, one in seven more than 32: time grows as n squared.
    n = round(5 * (members_max / 5) ** (random.random() ** 2))
    cohort, people = make_cohort(
        n,
        random.randint(1, 60),
        owner_count=random.choice((2, 2, 3)),
        clip=random.choice((0.5, 8.0)),  # Vectors of deviation 3: with 0.5 most entries clip.
        round=random.randint(0, 99),
    )
    drops = random.randint(0, n - cohort.threshold)
    victims = {
        rank: (random.choice(PHASES), random.randint(0, 3 * n))
        for rank in random.sample(range(n), drops)
    }
    weights = [random.choice((random.uniform(0.01, 100), 100.0)) for _ in range(n)]
    return SessionDriver(
        cohort,
        people,
        seed,
        before=CrashIn(victims),
        weights=weights,
        tells_down=random.random() < 0.5,
    )


def outcome_of(driver: SessionDriver) -> str:
    """Check all that must hold, and say in a word how the session ended for the honest."""
    driver.check_safety()
    outcomes = driver.check_exact()
    honest = [
        rank
        for rank in range(driver.cohort.size)
        if rank not in driver.dead and rank not in driver.rewrite and not driver.incarnation[rank]
    ]
    summed = [rank for rank in honest if rank in outcomes]
    if not summed:
        return "aborted"
    if len(summed) < len(honest):
        return "exact for some"
    if any(outcomes[rank].kept for rank in summed):
        return "chunks kept"
    return "exact"
