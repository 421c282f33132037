"""The seed of a group's cohorts, which no member chooses: each commits, then all reveal.

Blum's coin flipping (CRYPTO 1981), for many: every member hands in the hash of a secret before it
knows any other's, and the seed is the hash of all secrets. One honest secret makes it uniform, as
long as all are revealed. What is not prevented: the last one to reveal knows the seed before the
others do and may keep silent; so the members wait for every secret, and draw nothing before.
"""

from collections.abc import Sequence

from p2pfl_crypto.hashing import DIGEST_BYTES, hash_parts

DRAW_SECRET_BYTES = 32


def commit_draw(secret: bytes) -> bytes:
    """Commit to a secret contribution: H("p2pfl/drawcommit", secret).

    Args:
        secret: 32 uniform bytes, for one group only: once revealed it is no secret in another.

    Returns:
        32 public bytes, which bind their maker and tell nothing of the secret.

    Raises:
        ValueError: the secret is not 32 bytes.
    """
    _require_secret(secret)
    return hash_parts(b"p2pfl/drawcommit", secret)


def combine_draw(group_id: bytes, secrets: Sequence[bytes]) -> bytes:
    """Combine all revealed secrets into the seed: H("p2pfl/draw-seed", group_id, s_0, s_1, ...).

    Args:
        group_id: 32 bytes; the roster's commitments are part of what it names.
        secrets: one of each member, in roster order, each checked against its commitment.

    Returns:
        32 bytes, known to every member.

    Raises:
        ValueError: no secrets, or a part is not 32 bytes.
    """
    if len(group_id) != DIGEST_BYTES:
        raise ValueError(f"a group id has {DIGEST_BYTES} bytes, not {len(group_id)}")
    if not secrets:
        raise ValueError("a draw takes the secret of every member, and there is none")
    for secret in secrets:
        _require_secret(secret)
    return hash_parts(b"p2pfl/draw-seed", group_id, *secrets)


def _require_secret(secret: bytes) -> None:
    if len(secret) != DRAW_SECRET_BYTES:
        raise ValueError(f"a draw's secret has {DRAW_SECRET_BYTES} bytes, not {len(secret)}")
