"""Who has what we have: members' descriptions, held against our own.

Each member tells the digest of its description. Where that is another one than ours, its pages are
asked for until the first difference is found. Whoever differs counts as away, and nothing of its
is averaged. Losing a message only delays: `ask_again` asks again.
"""

from p2pfl_gossip.description import Description, DescriptionPage, Difference, digest_of
from p2pfl_gossip.records import Digest, Message, UInt32

DIFFERENCES_MAX = 8
"""Members whose difference is found and named: enough to go and look. Others are counted."""


class Present(Message, frozen=True, tag=9):
    """I take part in the opening; `description` is the digest of my description."""

    description: Digest


class DescriptionRequest(Message, frozen=True, tag=10):
    """Tell me the page of your description whose tensors begin at `first`."""

    first: UInt32


COMPARISON_MESSAGES = Present | DescriptionRequest | DescriptionPage
"""All that members say to each other about their descriptions."""


class Comparison:
    """What one member knows of the others' descriptions.

    Args:
        ours: our own.
        index: our place among the members.

    Attributes:
        digest: of our own description.
        differing: members that told another digest than ours, and are not known to differ by
            rounding alone; each with its difference once that is found.
    """

    def __init__(self, ours: Description, index: int) -> None:
        self.digest = ours.digest
        self.differing: dict[int, Difference | None] = {}
        self._ours = ours
        self._told = {index: ours.digest}
        self._asked: dict[int, int] = {}  # The first tensor of the page that is to come.

    def is_alike(self, member: int) -> bool:
        """Whether a member has told that it has what we have."""
        return member in self._told and member not in self.differing

    def on_told(self, member: int, digest: bytes) -> list[tuple[int, DescriptionRequest]]:
        """Note what a member told; return whom to ask for what."""
        if self._told.get(member) != digest:
            self._told[member] = digest
            self.differing.pop(member, None)
            self._asked.pop(member, None)
            if digest != self.digest:
                self.differing[member] = None
        return self._ask_more()

    def on_page(
        self, member: int, page: DescriptionPage
    ) -> tuple[Difference | None, list[tuple[int, DescriptionRequest]]]:
        """Take a page; one that we do not wait for, as we asked again, tells nothing.

        Returns:
            the difference, if it is found now; and whom to ask for what.
        """
        if self._asked.get(member) != page.first:
            return None, []
        if member not in self._told:  # We asked for the page to know its digest.
            del self._asked[member]
            return None, self.on_told(member, digest_of(page))
        found = self._ours.compare(page)
        if isinstance(found, int):
            self._asked[member] = found
            return None, [(member, DescriptionRequest(found))]
        del self._asked[member]
        if found is None and digest_of(page) != self._told[member]:
            found = Difference("unsaid")  # What it shows is not what it told the digest of.
        if found is None:
            del self.differing[member]
        else:
            self.differing[member] = found
        return found, self._ask_more()

    def ask_what(self, member: int) -> list[tuple[int, DescriptionRequest]]:
        """Return what to ask a member that has told nothing yet; nothing, if it was asked."""
        if member in self._told or member in self._asked:
            return []
        self._asked[member] = 0
        return [(member, DescriptionRequest(0))]

    def ask_again(self, member: int | None = None) -> list[tuple[int, DescriptionRequest]]:
        """Return whom to ask for what, as answers of a member, or of any, may be lost."""
        self._asked = {it: first for it, first in self._asked.items() if member not in (None, it)}
        return self._ask_more()

    def page(self, request: DescriptionRequest) -> DescriptionPage:
        """Answer a request."""
        return self._ours.page(request.first)

    def _ask_more(self) -> list[tuple[int, DescriptionRequest]]:
        """Ask those whose difference is not known, as many at once as may be named."""
        known = sum(found is not None for found in self.differing.values())
        room = DIFFERENCES_MAX - known - len(self._asked)
        if room <= 0:
            return []
        fresh = [
            member
            for member, found in self.differing.items()
            if found is None and member not in self._asked
        ][:room]
        self._asked |= dict.fromkeys(fresh, 0)
        return [(member, DescriptionRequest(0)) for member in fresh]
