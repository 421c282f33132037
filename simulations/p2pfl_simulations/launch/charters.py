"""The charter of a launched run: what a scenario comes to, signed by all, with keys made for it.

A launched group is founded as any other is, but by one hand: the launcher makes each member's keys,
and signs with them. The governance keys are then thrown away, so that nobody amends such a charter.
"""

import os
import time
from collections.abc import Sequence
from pathlib import Path

from p2pfl.charter.cards import FOUNDER_BYTES, GovernanceTable, MemberCard, commit
from p2pfl.charter.charter_file import CharterFile
from p2pfl.charter.first_states import write_first_state
from p2pfl.charter.form import CharterForm
from p2pfl.charter.from_settings import form_from_settings
from p2pfl.charter.keys import key_text
from p2pfl.charter.making import found
from p2pfl.daemon.config import PeerConfig
from p2pfl.group.privacy_settings import PrivacySettings
from p2pfl.learner.learner import Learner
from p2pfl.store.keys import PeerKeys
from p2pfl_crypto.governance import GovernanceKey
from p2pfl_crypto.identity import SEED_BYTES, Identity
from p2pfl_gossip.ledger.approvals import Says, approval_of
from p2pfl_simulations.scenario import Scenario

FIRST_STATE = "start.safetensors"


def sign_charter(
    scenario: Scenario,
    learner: Learner,
    peers: Sequence[tuple[PeerConfig, PeerKeys]],
    folder: Path,
    privacy: PrivacySettings | None,
) -> CharterFile:
    """Found the group or network of a scenario, and write its first state into a folder.

    Args:
        scenario: what to run.
        learner: of all peers; gives the first state, and who has how many rows.
        peers: settings and keys of each, in order.
        folder: where the first state goes.
        privacy: what the charter promises, with all rows counted; None if nothing.

    Raises:
        PaperError: there can be no such charter; the message says what to change.
    """
    write_first_state(folder / FIRST_STATE, learner.initial_vector())
    weights = [1.0] * len(peers)
    if scenario.averaging.weights == "samples":
        weights = [float(learner.sample_count(place)) for place in range(len(peers))]
    return signed_by_all(_form(scenario, folder, privacy), peers, weights)


def signed_by_all(
    form: CharterForm, peers: Sequence[tuple[PeerConfig, PeerKeys]], weights: Sequence[float]
) -> CharterFile:
    """Found a group or network of peers whose keys are all here, with governance keys made for it.

    Args:
        form: what it says; it names no members.
        peers: settings and keys of each, in order.
        weights: of each.

    Raises:
        PaperError: there can be no such charter; the message says what to change.
    """
    cards, bytes_of, signers = [], {}, []
    for (config, keys), weight in zip(peers, weights, strict=True):
        governor, secret = Identity(os.urandom(SEED_BYTES)), os.urandom(FOUNDER_BYTES)
        peer_id = keys.identity.peer_id
        key = GovernanceKey("ed25519", governor.public_key)
        cards.append(
            MemberCard(
                name=config.name,
                peer_id=peer_id,
                addresses=config.addresses,
                weight=weight,
                governance=GovernanceTable(keys=(key_text(key),)),
                commitment=commit(peer_id, secret).hex(),
            )
        )
        bytes_of[config.name] = secret
        signers += [governor, keys.identity]
    drafted = found(form, cards, now_s=int(time.time()), entropy=os.urandom)
    charter = drafted.with_all_shown(bytes_of)
    return charter.with_words(
        approval_of(
            charter.digest,
            Says.APPROVE,
            GovernanceKey("ed25519", signer.public_key),
            charter.charter.until,
            signer.sign,
        )
        for signer in signers
    )


def _form(scenario: Scenario, folder: Path, privacy: PrivacySettings | None) -> CharterForm:
    return form_from_settings(
        name=scenario.name,
        purpose=scenario.description or f"a trial: the scenario {scenario.name}",
        rounds=scenario.rounds,
        evaluate_every=scenario.evaluation.every,
        seed=scenario.seed,
        learning=scenario.learning,
        averaging=scenario.averaging,
        first_state=folder / FIRST_STATE,
        privacy=privacy,
        source=scenario.name,
    )
