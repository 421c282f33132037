"""Where models train and in which numbers they compute: the CPU or an accelerator; float32 or bf16.

Parameters, gradients and optimisers are float32 in any case. With bf16 the products of forward and
loss are in bfloat16, by torch's autocast, and gradients come back in float32.
"""

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass

import torch

from p2pfl.learner.errors import LearningError

_PRESENT: dict[str, Callable[[], bool]] = {
    "cuda": torch.cuda.is_available,
    "mps": torch.backends.mps.is_available,
}


@dataclass(frozen=True)
class Placement:
    """A device and a type of number.

    Attributes:
        device: where tensors are.
        dtype: what products are computed in.
    """

    device: torch.device
    dtype: torch.dtype

    @property
    def is_plain(self) -> bool:
        """Whether it is the CPU in float32, which all engines take."""
        return self.device.type == "cpu" and self.dtype == torch.float32

    @property
    def told(self) -> str:
        """For people."""
        kind = "bf16" if self.dtype == torch.bfloat16 else "float32"
        return f"on {self.device.type} in {kind}"

    def put(self, tensor: torch.Tensor) -> torch.Tensor:
        """Return a tensor on the device; every batch goes through here."""
        return tensor.to(self.device)

    def computing(self) -> AbstractContextManager[object]:
        """Compute in the type while this is entered."""
        if self.dtype == torch.float32:
            return nullcontext()
        return torch.autocast(self.device.type, self.dtype)

    def forked(self) -> AbstractContextManager[None]:
        """Put torch's generators, that of the device too, back when this is left."""
        is_cuda = self.device.type == "cuda"
        return torch.random.fork_rng(devices=[torch.cuda.current_device()] if is_cuda else [])

    def seed(self, seed: int) -> None:
        """Seed the generators that dropout draws from."""
        torch.default_generator.manual_seed(seed)
        if self.device.type == "cuda":
            torch.cuda.manual_seed(seed)
        elif self.device.type == "mps":
            torch.mps.manual_seed(seed)


PLAIN = Placement(torch.device("cpu"), torch.float32)


def find_placement(device: str, dtype: str) -> Placement:
    """Return what the settings name; ``"auto"`` is an accelerator if there is one.

    Raises:
        LearningError: this machine has no such device.
    """
    if device == "auto":
        device = next((name for name, present in _PRESENT.items() if present()), "cpu")
    elif device != "cpu" and not _PRESENT[device]():
        raise LearningError(
            f"device = {device!r}: torch {torch.__version__} finds none on this machine; set device"
            " = 'cpu' or 'auto', or install torch for it"
        )
    return Placement(torch.device(device), torch.bfloat16 if dtype == "bf16" else torch.float32)
