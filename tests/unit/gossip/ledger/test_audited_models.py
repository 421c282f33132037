"""What an audited sum moves a model by: all of it, also where an entry is out of range."""

from typing import Any

import numpy as np
import pytest

from p2pfl_crypto.encoding import DeltaEncoding
from p2pfl_gossip.ledger.jobs import MakeModel, ModelMade, perform

MEMBERS, CLIP = 7, 2.0
ENCODING = DeltaEncoding(MEMBERS, CLIP, 1.0)


def made(total: Any, *, is_audited: bool) -> ModelMade:
    result = perform(
        MakeModel(
            encoding=ENCODING,
            base=np.zeros(len(total), np.float32),
            slices=(slice(0, len(total)),),
            sums=(total,),
            weight=float(MEMBERS),
            members_weight=5.0,
            member_count=5,
            is_audited=is_audited,
        )
    )
    assert isinstance(result, ModelMade)
    return result


@pytest.mark.parametrize("is_audited", [True, False])
def test_a_liar_in_bounds_takes_from_an_audited_sum_nothing_that_others_gave(
    is_audited: bool,
) -> None:
    """Four give all they may to one entry, a fifth 1.2 times that: within its bound, out of range.

    Without an audit the chunk stays as it was, and what four gave is lost with it.
    """
    total = np.zeros(8, np.int32)
    total[0] = int(5.2 * ENCODING.quantum_max)
    total[1] = 1000
    result = made(total.view(np.uint32), is_audited=is_audited)
    assert result.out_of_range == (() if is_audited else (0,))
    assert result.model[0] == pytest.approx(5.2 * CLIP / MEMBERS if is_audited else 0.0)
    assert bool(result.model[1]) == is_audited
