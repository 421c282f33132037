"""Averaging machines from settings, outside of any simulation."""

import numpy as np
import pytest

from p2pfl.group.averaging import AveragingError, Group, make_averaging
from p2pfl.group.settings import CohortSettings
from p2pfl_crypto.identity import Identity
from p2pfl_gossip.averaging.masked_cohorts import MaskedCohorts
from p2pfl_gossip.desk import Desk
from p2pfl_gossip.masked_sum.machine import MaskedSum
from p2pfl_gossip.roster import Roster

PEOPLE = [Identity(bytes([index]) * 32) for index in range(8)]


def group() -> Group:
    return Group(
        roster=Roster(person.peer_id for person in PEOPLE),
        initial=np.zeros(10, np.float32),
        draw_seed=bytes(32),
        group_id=b"group",
        identity_of=PEOPLE.__getitem__,
        entropy_of=lambda _index: bytes,
    )


def test_cohorts_are_masked_by_default_and_in_full() -> None:
    machine = make_averaging(CohortSettings(cohort_size=8), group())(0, Desk())
    assert type(machine) is MaskedCohorts
    assert machine.session_type is MaskedSum


def test_modelled_masks_cannot_be_had_outside_of_a_simulation() -> None:
    with pytest.raises(AveragingError, match=r"for simulations only; set masking to 'real'"):
        make_averaging(CohortSettings(cohort_size=8, masking="modelled"), group())
