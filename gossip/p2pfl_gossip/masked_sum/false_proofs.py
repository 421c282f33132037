"""Whether a proof, or a dealing, that a member signed is false: what anybody can find out.

A proof says itself of which sum and seed it is, and its author's bound follows from the charter. No
honest member signs one that does not hold, of whatever sum: so one that does not names its author.
"""

from p2pfl_crypto.audit.checking import ProofShown, check_one
from p2pfl_crypto.audit.shortness import InvalidProof
from p2pfl_crypto.audit.transcript import Statement
from p2pfl_crypto.key_agreement import agreement_secret_of, public_key_of
from p2pfl_crypto.transcripts import proof_context, seed_commitment, share_digest
from p2pfl_gossip.masked_sum.audit_jobs import gives_coin, rebuilt
from p2pfl_gossip.masked_sum.messages import SHARE_LABELS, AuditProof, FalseShares, ShareKind


def is_false_proof(proof: AuditProof, bound: int) -> bool:
    """Tell whether a proof does not hold; it takes a tenth of a second of a processor.

    Args:
        proof: whose signature was checked.
        bound: its author's, by `audit_jobs.bound_of`.
    """
    context = proof_context(proof.session, proof.ballot, proof.sums, proof.seed, proof.member)
    try:
        check_one(ProofShown(Statement(context, bound, proof.commitment), proof.proof))
    except InvalidProof:
        return True
    return False


def are_false_shares(
    said: FalseShares,
    dealers: tuple[int, ...],
    holders: tuple[int, ...],
    threshold: int,
    mask_key: bytes = b"",
    *,
    is_audited: bool,
) -> bool:
    """Tell whether shares that a header names do not give the secret that they are of.

    An honest dealer's t shares give its secret, whichever they are.

    Args:
        said: whose header's signature was checked.
        dealers: U1, as it says. Of another list the header's digests are none of these holders'.
        holders: as it says.
        threshold: t.
        mask_key: that the dealer advertised, if the shares are of its scalar.
        is_audited: whether there are coins, and shares of them.
    """
    header, count = said.header, len(dealers)
    kinds = list(ShareKind) if is_audited else [ShareKind.SEED, ShareKind.SCALAR]
    sizes = (len(header.commitments), len(header.share_digests), len(said.shares), len(holders))
    named = (64 if is_audited else 32, 32 * len(kinds) * count, 32 * threshold, threshold)
    if sizes != named or said.kind not in kinds:
        return False
    if header.pair_digests:  # No member takes such a header; and it may be too long to be kept.
        return False
    shares = {}
    for at, holder in enumerate(holders):
        if holder not in dealers:
            return False
        share = said.shares[32 * at : 32 * at + 32]
        place = 32 * (said.kind * count + dealers.index(holder))
        label = SHARE_LABELS[said.kind]
        digest = share_digest(header.tau1, label, header.dealer, holder, share)
        if header.share_digests[place : place + 32] != digest:
            return False
        shares[holder + 1] = share
    match said.kind:
        case ShareKind.SEED:
            seed = rebuilt(shares)
            commitment = header.commitments[:32]
            return seed is None or seed_commitment(header.tau1, header.dealer, seed) != commitment
        case ShareKind.SCALAR:
            scalar = rebuilt(shares)
            if not mask_key:
                return False  # What they should give is not known.
            return scalar is None or public_key_of(agreement_secret_of(scalar)) != mask_key
    return not gives_coin(shares, header.commitments[32:])
