"""What a member would average: its model's tensors, its start, what stays frozen, its task's code.

Members compare their descriptions before anything is averaged (comparison.py). A digest is enough
while they are the same; where they are not, pages of the description find the first difference,
so that people are told by name what to mend.

The start and the frozen tensors are computed from a seed, and kernels differ between processors in
the last bits. So each has sums beside its digest: two starts whose sums agree but for rounding are
the same start.

Nothing of a page is taken on trust. A member that lies in it can only be found different.
"""

import math
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Annotated

import numpy as np

from p2pfl_crypto.hashing import body_digest, hash_parts
from p2pfl_gossip.actions import Vector
from p2pfl_gossip.records import ByteSize, Codec, Digest, Message, Record, UInt32, UInt63

NAME_LENGTH_MAX = 120
"""Characters of a tensor's name or a file's; long enough for any model that people name."""

DIMENSIONS_MAX = 16
"""Of a tensor that is described in full; nobody was seen to use more than eight."""

TENSORS_PER_PAGE = 64
"""At most 20 KiB, and a model of 10,000 tensors is compared in 157 pages."""

SOURCES_MAX = 32
"""Files of a task that a page names; the digest covers all."""

DESCRIPTION_RECORD = "description"
"""The first page of the description that a group was opened with, as a member keeps it."""

SUMS = 32
"""Sums of a fingerprint. More would tell smaller changes apart, which no average notices."""

ROUNDING = 1e-5
"""Two sums agree within this share of the sum of magnitudes: 80 times float32's rounding."""

_ODD = re.compile(r"[^A-Za-z0-9_./\-]")
_SHOWN = r"\A[A-Za-z0-9_./?~\-]+\Z"

Name = Annotated[str, ByteSize(min_length=1, max_length=NAME_LENGTH_MAX, pattern=_SHOWN)]
"""May go to a log as it is."""

Shape = Annotated[tuple[UInt63, ...], ByteSize(max_length=DIMENSIONS_MAX)]
Sums = Annotated[tuple[float, ...], ByteSize(min_length=SUMS, max_length=SUMS)]


class Tensor(Record, frozen=True, array_like=True, forbid_unknown_fields=True):
    """A tensor that travels: its name, shape, and type of number in the module."""

    name: Name
    shape: Shape
    dtype: Name

    def __str__(self) -> str:
        return f"{self.name} {self.kind}"

    @property
    def kind(self) -> str:
        """Shape, and the type unless it is the usual one: ``"[16, 8]"``."""
        shape = f"[{', '.join(map(str, self.shape))}]"
        return shape if self.dtype == "float32" else f"{self.dtype} {shape}"


class Source(Record, frozen=True, array_like=True, forbid_unknown_fields=True):
    """Code of a task: the name of a file or package, and its digest or version."""

    name: Name
    version: Name


class Fingerprint(Record, frozen=True, array_like=True, forbid_unknown_fields=True):
    """Values that all must share: their digest, and sums that bear rounding.

    Attributes:
        digest: of all values.
        sums: of every 32nd value, from each of the first 32.
        magnitudes: the same of absolute values.
    """

    digest: Digest
    sums: Sums
    magnitudes: Sums

    def agrees(self, other: "Fingerprint") -> bool:
        """Whether both are of the same values but for rounding."""
        if self.digest == other.digest:
            return True
        return all(
            math.isfinite(theirs) and abs(ours - theirs) <= ROUNDING * size
            for ours, theirs, size in zip(self.sums, other.sums, self.magnitudes, strict=True)
        ) and all(
            math.isfinite(theirs) and abs(ours - theirs) <= ROUNDING * ours
            for ours, theirs in zip(self.magnitudes, other.magnitudes, strict=True)
        )


class DescriptionPage(Message, frozen=True, tag=11):
    """A description, with those of its tensors that begin at `first`.

    Attributes:
        layout: digest of all tensors.
        count: of all tensors.
        first: place of the first that is given.
        tensors: at most TENSORS_PER_PAGE.
        start: the initial values of what travels.
        frozen: the values of what does not travel, and is the same for all.
        code: digest of all sources.
        sources: at most SOURCES_MAX, by name.
    """

    layout: Digest
    count: UInt32
    first: UInt32
    tensors: Annotated[tuple[Tensor, ...], ByteSize(max_length=TENSORS_PER_PAGE)]
    start: Fingerprint
    frozen: Fingerprint
    code: Digest
    sources: Annotated[tuple[Source, ...], ByteSize(max_length=SOURCES_MAX)]


class Difference(Record, frozen=True):
    """The first thing in which another description differs from ours.

    Attributes:
        what: ``"layout"``, ``"start"``, ``"frozen"`` or ``"code"``; ``"unsaid"`` if the digests
            differ and no page tells in what, which only a lie does.
        name: of the tensor or file; empty where there is none.
        theirs: what it is there, for people; empty where there is nothing to say.
        ours: what it is here.
    """

    what: str
    name: str = ""
    theirs: str = ""
    ours: str = ""


@dataclass(frozen=True)
class Description:
    """What a member would average.

    Attributes:
        tensors: those that travel, in order.
        start: of their initial values.
        frozen: of the values that do not travel and must be the same for all.
        sources: the task's code, by name.
        layout: digest of the tensors.
        code: digest of the sources.
        digest: of all.
    """

    tensors: tuple[Tensor, ...]
    start: Fingerprint
    frozen: Fingerprint
    sources: tuple[Source, ...]
    layout: bytes = field(init=False)
    code: bytes = field(init=False)
    digest: bytes = field(init=False)

    def __post_init__(self) -> None:
        lines = (f"{it.name}\0{it.shape}\0{it.dtype}".encode() for it in self.tensors)
        object.__setattr__(self, "layout", hash_parts(b"p2pfl/layout", *lines))
        files = (f"{it.name}\0{it.version}".encode() for it in self.sources)
        object.__setattr__(self, "code", hash_parts(b"p2pfl/code", *files))
        object.__setattr__(self, "digest", digest_of(self))

    @property
    def page_count(self) -> int:
        """How many pages show all tensors, and that there are no more."""
        return len(self.tensors) // TENSORS_PER_PAGE + 1

    def page(self, first: int) -> DescriptionPage:
        """Return the page whose tensors begin at `first`; without any beyond the last."""
        return DescriptionPage(
            layout=self.layout,
            count=len(self.tensors),
            first=first,
            tensors=self.tensors[first : first + TENSORS_PER_PAGE],
            start=self.start,
            frozen=self.frozen,
            code=self.code,
            sources=self.sources[:SOURCES_MAX],
        )

    def compare(self, page: DescriptionPage) -> Difference | int | None:
        """Find the first difference between another description and ours.

        Args:
            page: of the other one.

        Returns:
            it; None if there is none that matters; or an int, the first tensor of the page that
            must be seen to know.
        """
        if page.layout != self.layout:
            return self._compare_tensors(page)
        if not self.start.agrees(page.start):
            return Difference("start")
        if not self.frozen.agrees(page.frozen):
            return Difference("frozen")
        if page.code != self.code:
            return self._compare_sources(page)
        return None

    def _compare_tensors(self, page: DescriptionPage) -> Difference | int:
        place = page.first
        for theirs in page.tensors:
            ours = self.tensors[place] if place < len(self.tensors) else None
            if ours is None or ours.name != theirs.name:
                here = "missing" if ours is None else str(ours)
                return Difference("layout", f"tensor {place + 1}", str(theirs), here)
            if ours != theirs:
                return Difference("layout", ours.name, theirs.kind, ours.kind)
            place += 1
        if place < min(page.count, len(self.tensors)) and page.tensors:
            return place
        if place < len(self.tensors) and place == page.count:
            return Difference("layout", f"tensor {place + 1}", "missing", str(self.tensors[place]))
        if place < page.count and page.tensors:
            return place
        return Difference("unsaid")

    def _compare_sources(self, page: DescriptionPage) -> Difference:
        ours = {it.name: it.version for it in self.sources[:SOURCES_MAX]}
        theirs = {it.name: it.version for it in page.sources}
        for name in sorted(ours.keys() | theirs.keys()):
            here, there = ours.get(name, "missing"), theirs.get(name, "missing")
            if here != there:
                return Difference("code", name, there, here)
        return Difference("code")


_CODEC = Codec(DescriptionPage, frame_bytes_max=64 * 1024)

encode_page = _CODEC.encode
"""To keep a page."""


def decode_page(kept: bytes) -> DescriptionPage:
    """Read what `encode_page` made, or raise MalformedFrame."""
    page = _CODEC.decode_untrusted(kept)
    assert isinstance(page, DescriptionPage)
    return page


def digest_of(described: Description | DescriptionPage) -> bytes:
    """Return the digest of a description, which any of its pages tells as well."""
    start, frozen = described.start.digest, described.frozen.digest
    return hash_parts(b"p2pfl/describe", described.layout, start, frozen, described.code)


def describe_tensor(name: str, shape: Sequence[int], dtype: str) -> Tensor:
    """Describe a tensor that travels.

    A name with other characters than identifiers have, or too long, is cut to what may be shown,
    with a part of its digest, so that two names never look alike.
    """
    shown = _shown(name, (name, tuple(shape), dtype), whole=len(shape) <= DIMENSIONS_MAX)
    return Tensor(shown, tuple(shape)[:DIMENSIONS_MAX], _shown(dtype, dtype))


def describe_source(name: str, version: str) -> Source:
    """Describe code of a task, by the name of a file or package."""
    return Source(_shown(name, name), _shown(version, version))


def fingerprint(arrays: Iterable[Vector]) -> Fingerprint:
    """Digest float32 values, and sum them; one array at a time is held."""
    digests, sums, sizes = [], np.zeros(SUMS), np.zeros(SUMS)
    for values in arrays:
        flat = np.ascontiguousarray(values, dtype="<f4").reshape(-1)
        digests.append(body_digest(flat.data) if flat.size else b"")
        with np.errstate(all="ignore"):  # Masks of minus infinity have digests, and no sums.
            for place in range(min(SUMS, flat.size)):
                sums[place] += flat[place::SUMS].sum(dtype=np.float64)
                sizes[place] += np.abs(flat[place::SUMS]).sum(dtype=np.float64)
    digest = hash_parts(b"p2pfl/values", *digests)
    return Fingerprint(digest, tuple(sums.tolist()), tuple(sizes.tolist()))


def _shown(text: str, meant: object, *, whole: bool = True) -> str:
    odd = _ODD.sub("?", text)
    if whole and odd == text and 0 < len(text) <= NAME_LENGTH_MAX:
        return text
    digest = hash_parts(b"p2pfl/name", repr(meant).encode()).hex()[:8]
    return f"{odd[: NAME_LENGTH_MAX - 9]}~{digest}"
