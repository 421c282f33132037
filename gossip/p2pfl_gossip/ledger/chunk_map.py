"""Which chunks of an item are here, and of how many members each missing one has been asked."""

_NO, _YES = 0, 1


class ChunkMap:
    """The chunks of one item. One is open while it is neither here nor asked for.

    A chunk that is here may still turn out to be false: then it is open again.
    """

    def __init__(self, count: int) -> None:
        self.count = count
        self._is_open = bytearray([_YES]) * count  # Searched in C: there may be thousands.
        self._is_here = bytearray(count)
        self._askers = bytearray(count)

    @property
    def open_count(self) -> int:
        """Return how many chunks are open."""
        return self._is_open.count(_YES)

    def is_here(self, chunk: int) -> bool:
        """Tell whether a chunk has come."""
        return self._is_here[chunk] == _YES

    def askers(self, chunk: int) -> int:
        """Return of how many members a chunk is asked."""
        return self._askers[chunk]

    def open_run(self, length_max: int) -> range:
        """Return the first open chunks that lie side by side; empty if none is open."""
        first = self._is_open.find(_YES)
        if first < 0:
            return range(0)
        end = self._is_open.find(_NO, first, first + length_max)
        return range(first, min(first + length_max, self.count) if end < 0 else end)

    def ask(self, chunks: range) -> None:
        """Note that chunks are asked of one member more."""
        for chunk in chunks:
            self._askers[chunk] += 1
            self._is_open[chunk] = _NO

    def release(self, chunks: range) -> None:
        """Note that chunks are asked of one member less."""
        for chunk in chunks:
            self._askers[chunk] -= 1
            self._open_if_wanted(chunk)

    def take(self, chunk: int) -> None:
        """Note that a chunk is here."""
        self._is_here[chunk] = _YES
        self._is_open[chunk] = _NO

    def refuse(self, chunk: int) -> None:
        """Note that a chunk that came was false, or could not be looked at."""
        self._is_here[chunk] = _NO
        self._open_if_wanted(chunk)

    def _open_if_wanted(self, chunk: int) -> None:
        if not self._askers[chunk] and not self._is_here[chunk]:
            self._is_open[chunk] = _YES
