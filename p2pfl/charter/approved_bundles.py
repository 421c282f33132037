"""The bundles that a peer's operator has approved, kept in the peer's folder by digest.

    DIR/bundles/DIGEST.bundle     one that was approved: without it here, it does not run

In which order they were approved is told by the operator's acts (p2pfl.store.acts).
"""

import difflib
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

from p2pfl.charter.bundles import Bundle, read_bundle
from p2pfl.charter.errors import PaperError
from p2pfl.store.acts import Act, add_act, read_acts
from p2pfl.store.files import PRIVATE, replace_file

BUNDLES = "bundles"
APPROVED = "task approved"
"""The act."""


def approve(folder: Path, bundle: Bundle, now: datetime) -> None:
    """Keep a bundle as approved, and note the act.

    Raises:
        PaperError: it cannot be kept.
        StoreError: the operator's acts are damaged.
    """
    read_acts(folder)  # Nothing is approved beside a damaged record.
    kept = place_of(folder, bundle.digest)
    try:
        kept.parent.mkdir(mode=0o700, exist_ok=True)
        replace_file(kept, bundle.content, mode=PRIVATE)
    except OSError as error:
        raise PaperError(f"cannot keep the bundle at {kept}: {error.strerror}") from None
    add_act(folder, Act(APPROVED, now, {"bundle": bundle.digest, "task": bundle.manifest.task}))


def require_approved(folder: Path, digest: str) -> Bundle:
    """Return a bundle that the operator has approved.

    Raises:
        PaperError: it was not, or was changed since; the line says how to approve it.
    """
    kept = place_of(folder, digest)
    if not kept.exists():
        raise PaperError(
            f"the task {digest[:16]} is not approved here: look at it with p2pfl task show, then"
            f" p2pfl task approve BUNDLE {folder}"
        )
    bundle = read_bundle(kept)
    if bundle.digest != digest:
        raise PaperError(f"{kept} was changed since it was approved; approve it again")
    return bundle


def last_approved(folder: Path) -> Bundle | None:
    """Return the bundle that was approved last, if there is one.

    Raises:
        PaperError: it was changed since.
        StoreError: the operator's acts are damaged.
    """
    acts, _ = read_acts(folder)
    digests = [act.facts["bundle"] for act in acts if act.name == APPROVED]
    return require_approved(folder, digests[-1]) if digests else None


def place_of(folder: Path, digest: str) -> Path:
    """Return where a bundle is kept if it is approved."""
    return folder / BUNDLES / f"{digest}.bundle"


def differences(before: Bundle | None, bundle: Bundle) -> Iterator[str]:
    """Tell line by line in what a bundle differs from the one approved before it."""
    old = {} if before is None else before.files
    for name in sorted({*old, *bundle.files}):
        was, now = old.get(name), bundle.files.get(name)
        if was == now:
            continue
        try:
            left = [] if was is None else was.decode().splitlines()
            right = [] if now is None else now.decode().splitlines()
        except UnicodeDecodeError:
            yield f"{name}: other bytes, which are no text"
            continue
        yield from difflib.unified_diff(
            left,
            right,
            "nothing" if was is None else f"approved/{name}",
            "nothing" if now is None else f"new/{name}",
            lineterm="",
        )
