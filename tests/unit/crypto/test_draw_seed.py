"""Commitments to a draw, and the seed that the revealed secrets give."""

import hashlib

import pytest

from p2pfl_crypto.draw_seed import combine_draw, commit_draw

GROUP = bytes(range(32))
SECRETS = [bytes([value]) * 32 for value in (1, 2, 3)]


def blake2b(person: bytes, *parts: bytes) -> bytes:
    """Hash as the docstrings say, written down a second time."""
    text = b"".join(len(part).to_bytes(8, "little") + part for part in parts)
    return hashlib.blake2b(text, digest_size=32, person=person).digest()


def test_the_formulas_are_those_of_the_docstrings() -> None:
    assert commit_draw(SECRETS[0]) == blake2b(b"p2pfl/drawcommit", SECRETS[0])
    assert combine_draw(GROUP, SECRETS) == blake2b(b"p2pfl/draw-seed", GROUP, *SECRETS)


def test_the_formulas_are_pinned() -> None:
    assert (
        commit_draw(SECRETS[0]).hex()
        == "33db366b9dc9ff0275612a8cfa6f5ef6abf21b19dc89e3eaa9f19159878d344b"
    )
    assert (
        combine_draw(GROUP, SECRETS).hex()
        == "c092c8ef7c5ea0b267643a8ad59d591f7139322d010ff820f402002e1b2bbb5d"
    )


def test_group_order_number_and_every_secret_change_the_seed() -> None:
    seeds = {
        combine_draw(GROUP, SECRETS),
        combine_draw(bytes(32), SECRETS),
        combine_draw(GROUP, SECRETS[::-1]),
        combine_draw(GROUP, SECRETS[:2]),
        *(
            combine_draw(GROUP, [*SECRETS[:place], bytes(32), *SECRETS[place + 1 :]])
            for place in range(3)
        ),
    }
    assert len(seeds) == 7


def test_a_commitment_is_not_the_seed_of_a_group_of_one() -> None:
    assert commit_draw(SECRETS[0]) != combine_draw(GROUP, SECRETS[:1])


@pytest.mark.parametrize("length", [0, 31, 33])
def test_other_lengths_are_refused(length: int) -> None:
    with pytest.raises(ValueError, match="32 bytes"):
        commit_draw(bytes(length))
    with pytest.raises(ValueError, match="32 bytes"):
        combine_draw(GROUP, [*SECRETS, bytes(length)])
    with pytest.raises(ValueError, match="group id"):
        combine_draw(bytes(length), SECRETS)


def test_no_secrets_give_no_seed() -> None:
    with pytest.raises(ValueError, match="every member"):
        combine_draw(GROUP, [])
