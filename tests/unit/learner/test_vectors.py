"""Modules as flat vectors and back."""

import numpy as np
import pytest
import torch

from p2pfl.learner.errors import LearningError
from p2pfl.learner.vectors import VectorLayout, readable
from p2pfl_gossip.memory import ALIGNMENT_BYTES, RECYCLED_BYTES_MIN, VectorMemory


def test_a_module_survives_the_round_trip() -> None:
    module = torch.nn.Sequential(
        torch.nn.Conv1d(2, 3, 2), torch.nn.BatchNorm1d(3), torch.nn.Linear(4, 5)
    )
    names = [*dict(module.named_parameters()), "1.running_mean"]
    layout = VectorLayout(module, names)
    vector = layout.to_vector(module)
    assert vector.dtype == np.float32
    assert vector.shape == (layout.length,) == (12 + 3 + 3 + 3 + 20 + 5 + 3,)
    other = np.arange(layout.length, dtype=np.float32)
    layout.to_module(other, module)
    assert layout.to_vector(module).tolist() == other.tolist()
    # A linear layer's weight lies transposed: inputs by outputs.
    linear = module[2].get_parameter("weight")
    assert linear.T.flatten().tolist() == other[21:41].tolist()


def test_views_share_the_memory_of_the_vector() -> None:
    module = torch.nn.Linear(3, 2)
    layout = VectorLayout(module, ["weight", "bias"])
    vector = torch.zeros(layout.length)
    layout.views(vector)["weight"][1, 2] = 7
    assert vector.tolist() == [0, 0, 0, 0, 0, 7, 0, 0]


def test_names_that_cannot_travel_are_refused() -> None:
    module = torch.nn.BatchNorm1d(3)
    with pytest.raises(LearningError, match="no such tensor"):
        VectorLayout(module, ["weight", "wait"])
    with pytest.raises(LearningError, match=r"torch\.int64"):
        VectorLayout(module, ["num_batches_tracked"])
    with pytest.raises(LearningError, match="nothing to learn"):
        VectorLayout(module, [])


def test_read_only_arrays_become_tensors_of_the_same_memory() -> None:
    array = np.arange(4, dtype=np.float32)
    array.flags.writeable = False
    tensor = readable(array)
    assert tensor.data_ptr() == array.ctypes.data
    assert tensor.tolist() == [0, 1, 2, 3]
    assert readable(np.zeros(0, np.float32)).shape == (0,)


def test_memory_is_used_again_only_when_no_view_of_it_is_left() -> None:
    length = RECYCLED_BYTES_MIN // 4 + 3
    memory = VectorMemory(length)
    taken = [memory.take() for _ in range(300)]
    addresses = {vector.ctypes.data for vector in taken}
    assert len(addresses) == 300
    assert all(address % ALIGNMENT_BYTES == 0 for address in addresses)
    for number, vector in enumerate(taken):
        vector[:] = number
    kept = taken[7][5:9]
    address = taken[8].ctypes.data
    del vector, taken[7:9]
    again = memory.take()
    assert again.ctypes.data == address
    assert memory.take().ctypes.data not in addresses
    assert kept.tolist() == [7] * 4
    assert all((vector == vector[0]).all() for vector in taken)
