"""How a group is founded: its first charter, and the epoch in which that holds."""

from collections.abc import Sequence

from p2pfl.group.settings import AUDITS, GroupSettings
from p2pfl_gossip.actions import Vector
from p2pfl_gossip.ledger.charter import (
    CHARTER_VERSION,
    FOREVER,
    NONE,
    Bounds,
    Charter,
    CharterMember,
    Epoch,
    Succeeds,
)
from p2pfl_gossip.ledger.privacy import Privacy, still
from p2pfl_gossip.ledger.states import StateItem, digest_state

NOTICE_S = 7 * 86400
"""How long a member has to object to other keys for it."""


def found(
    settings: GroupSettings,
    *,
    members: Sequence[CharterMember],
    nonce: bytes,
    rounds: int,
    initial: Vector,
    terms: bytes,
    bounds: Bounds | None = None,
    privacy: Privacy | None = None,
    succeeds: Succeeds | None = None,
) -> Epoch:
    """Found a group whose charter is not written by hand: in a simulation.

    Args:
        settings: how it averages.
        members: with their weights, in the order of admission.
        nonce: 32 bytes of the founders' own, so that the same members who begin anew are another
            group.
        rounds: models that are to come of it.
        initial: float32[d], the first state's model.
        terms: digest of all else that members agree on, 32 bytes.
        bounds: of what peers may change; nothing if not given.
        privacy: how sums are made private; None if they are not.
        succeeds: the group whose state the first one is; None if there is none.

    Raises:
        RefusedCharter: such a group cannot be; the message says why.
        ValueError: it tries too few times again (`retries_of`).
    """
    is_shared = privacy is not None and privacy.is_shared
    return Epoch.founded(
        Charter(
            version=CHARTER_VERSION,
            nonce=nonce,
            present=NONE,
            members=tuple(members),
            rounds=rounds,
            clip=settings.clip,
            patience_s=settings.patience_s,
            relay_s=settings.deadline_s,
            progress_s=settings.said_every_s,
            retries=settings.retries_of(len(members), is_noise_shared=is_shared),
            state=first_state(initial, privacy),
            not_before=0,
            until=FOREVER,
            notice_s=NOTICE_S,
            bounds=bounds or Bounds(),
            start=None,
            succeeds=succeeds,
            terms=terms,
            running=NONE,
            privacy=privacy,
            audit=AUDITS[settings.audit_of(len(members), is_noise_shared=is_shared)],
        )
    )


def first_state(initial: Vector, privacy: Privacy | None) -> tuple[StateItem, ...]:
    """Return the items of a first state: the model, and a momentum of zeros where there is one."""
    model = digest_state("model", initial).item
    if privacy is None or not privacy.momentum:
        return (model,)
    return (model, still(len(initial)))
