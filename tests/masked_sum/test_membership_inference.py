"""Whose data holds a record? A plain update tells; what a coalition sees of a sum does not."""

import numpy as np
import pytest
from inference_attack import (
    Scores,
    Session,
    auc,
    of_masked_chunks,
    of_plain_update,
    of_sum,
    run_session,
)

SESSIONS = 3


@pytest.fixture(scope="module")
def sessions() -> list[Session]:
    return [run_session(seed) for seed in range(SESSIONS)]


def pooled(parts: list[Scores]) -> float:
    positives, negatives = zip(*parts, strict=True)
    return auc(np.concatenate(positives), np.concatenate(negatives))


def test_the_attack_works_on_a_single_update(sessions: list[Session]) -> None:
    assert pooled([of_plain_update(session) for session in sessions]) >= 0.7


def test_it_fails_on_the_sum_that_a_coalition_sees(sessions: list[Session]) -> None:
    assert pooled([of_sum(session) for session in sessions]) <= 0.55


def test_it_fails_on_the_masked_chunks_without_the_coalitions_masks(
    sessions: list[Session],
) -> None:
    assert pooled([of_masked_chunks(session) for session in sessions]) <= 0.55
