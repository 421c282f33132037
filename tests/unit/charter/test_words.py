"""The phrase that founders read to each other: how many bits, and what a bad line makes of it."""

import pytest

from p2pfl.charter.words import PHRASE_WORDS, WORD_BITS, WORDS, phrase_of, read_phrase

DIGEST = bytes(range(32))


def edits(word: str) -> set[str]:
    """All texts that are one letter away."""
    letters = "abcdefghijklmnopqrstuvwxyz"
    cuts = [(word[:place], word[place:]) for place in range(len(word) + 1)]
    return (
        {left + right[1:] for left, right in cuts if right}
        | {left + letter + right[1:] for left, right in cuts if right for letter in letters}
        | {left + letter + right for left, right in cuts for letter in letters}
    ) - {word}


def test_it_has_81_bits() -> None:
    assert len(set(WORDS)) == len(WORDS) == 2**WORD_BITS == 512
    assert PHRASE_WORDS * WORD_BITS == 81


def test_no_word_is_taken_for_another() -> None:
    assert len({word[:4] for word in WORDS}) == len(WORDS)
    assert all(word.isascii() and word.islower() and 4 <= len(word) <= 6 for word in WORDS)
    assert [word for word in WORDS if edits(word) & set(WORDS)] == []


def test_a_digest_has_one_phrase() -> None:
    expected = "kiwi harp lyric chair flask jaguar spruce jury oboe"
    assert " ".join(phrase_of(DIGEST)) == expected


def test_every_bit_of_a_digest_counts() -> None:
    number = int.from_bytes(DIGEST)
    phrases = {phrase_of((number ^ 1 << bit).to_bytes(32)) for bit in range(256)}
    assert len(phrases | {phrase_of(DIGEST)}) == 257


def test_each_place_takes_every_word() -> None:
    phrases = [phrase_of(number.to_bytes(32)) for number in range(8192)]
    for place in range(PHRASE_WORDS):
        assert {phrase[place] for phrase in phrases} == set(WORDS)


def test_a_phrase_is_read_as_people_type_it() -> None:
    phrase = phrase_of(DIGEST)
    assert read_phrase(" ".join(phrase)) == phrase
    assert read_phrase(", ".join(word[:4].upper() for word in phrase) + "\n") == phrase


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("", "a phrase has 9 words, not 0"),
        (" ".join(WORDS[:8]), "a phrase has 9 words, not 8"),
        (" ".join([*WORDS[:8], "xylophone"]), "'xylophone' is no word of a phrase"),
        (" ".join([*WORDS[:8], WORDS[0][:3]]), f"'{WORDS[0][:3]}' is no word of a phrase"),
    ],
)
def test_what_is_no_phrase_is_refused(text: str, fault: str) -> None:
    with pytest.raises(ValueError, match=fault):
        read_phrase(text)
