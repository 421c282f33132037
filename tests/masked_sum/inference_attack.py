"""Membership inference: whose data holds this record? Against the plain exchange, and the masked.

Each peer takes one step of logistic regression on its own records and shares the update. The
attack scores a record by the inner product of its gradient with what is seen of the victim's update
(the gradient attack of Nasr, Shokri & Houmansadr, IEEE S&P 2019, for a convex model). Negatives are
records of the other honest members: the question is whose they are. That a record is in the cohort
at all may well show in the sum, masks or not; docs/threats.md says so.

The tests run a few sessions, benchmarks/membership_inference.py enough for narrow intervals.
"""

import numpy as np
import numpy.typing as npt
from session_driver import PATIENCE, SessionDriver, make_cohort

from p2pfl_crypto.masks import Mask, add_masks
from p2pfl_crypto.transcripts import pair_mask_key

MEMBERS, RECORDS, FEATURES = 8, 24, 160
VICTIM = 5
WEIGHT = 50.0

Scores = tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]


def gradients(seed: int) -> npt.NDArray[np.float64]:
    """The gradient of each record at a common model: float64[member, record, feature]."""
    random = np.random.default_rng(seed)
    records = random.normal(0, 1, (MEMBERS, RECORDS, FEATURES))
    labels = random.integers(0, 2, (MEMBERS, RECORDS))
    model = random.normal(0, 0.1, FEATURES)
    predicted = 1 / (1 + np.exp(-records @ model))
    return np.asarray((labels - predicted)[..., None] * records)


def scores(gradient: npt.NDArray[np.float64], seen: npt.NDArray[np.float64]) -> Scores:
    """Scores of the victim's records, and of those of the other honest members."""
    liars = coalition()
    others = [m for m in range(MEMBERS) if m != VICTIM and m not in liars]
    return gradient[VICTIM] @ seen, (gradient[others] @ seen).ravel()


def auc(positive: npt.NDArray[np.float64], negative: npt.NDArray[np.float64]) -> float:
    """Area under the curve: how often a positive's score exceeds a negative's."""
    return float((positive[:, None] > negative[None, :]).mean())


def coalition() -> tuple[int, ...]:
    """m members, owners of the victim's chunks among them."""
    return tuple(range(make_cohort(MEMBERS, FEATURES)[0].liars_max))


Session = tuple[npt.NDArray[np.float64], SessionDriver]


def run_session(seed: int) -> Session:
    """Run a session over members' updates; the gradients behind them, and the session."""
    gradient = gradients(seed)
    updates = [update.astype(np.float32) for update in gradient.mean(axis=1)]
    cohort, people = make_cohort(MEMBERS, FEATURES, clip=1.0)
    driver = SessionDriver(cohort, people, seed, vectors=updates, weights=[WEIGHT] * MEMBERS)
    return gradient, driver.run(until_s=PATIENCE.session_s / 2)


def of_plain_update(session: Session) -> Scores:
    """What anybody scores who sees the victim's update, as in a plain exchange."""
    gradient, driver = session
    return scores(gradient, driver.vectors[VICTIM].astype(np.float64))


def of_sum(session: Session) -> Scores:
    """What the coalition scores with the sum, less its own updates."""
    gradient, driver = session
    outcome = driver.check_exact()[0]
    assert len(outcome.members) == MEMBERS
    own = sum(driver.vectors[liar].astype(np.float64) for liar in coalition())
    return scores(gradient, outcome.mean.astype(np.float64) * MEMBERS - own)


def of_masked_chunks(session: Session) -> Scores:
    """What the coalition scores with the victim's masked chunks, less the masks that it knows."""
    gradient, driver = session
    cohort, encoding = driver.cohort, driver.cohort.encoding
    vector, weight = np.empty(FEATURES), encoding.encode_weight(WEIGHT)
    for chunk in range(cohort.chunk_count):
        body = np.frombuffer(driver.bodies[VICTIM, chunk][0], "<u4").copy()
        known = []
        for liar in coalition():
            machine = driver.machines[liar]
            assert machine._sharing.dealt is not None
            pair = machine._sharing.dealt.pair_keys[VICTIM]
            key = pair_mask_key(pair, machine._agreement.tau2, VICTIM, liar)
            known.append(Mask(key, -1 if liar > VICTIM else 1))
        add_masks(body, known, chunk)
        vector[cohort.entries_of(chunk)] = encoding.decode(body[:-1], weight)
    return scores(gradient, vector)
