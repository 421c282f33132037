"""What takes the place of torch's calls under vmap: attention by products, dropout by masks."""

from typing import Any

import pytest
import torch
from torch.nn import functional

from p2pfl.learner.engines.vmap_calls import StackedCalls, WithoutDropout, draw_masks

GENERATOR = torch.Generator().manual_seed(0)
SEEN = torch.rand(5, 7, generator=GENERATOR) < 0.7
SEEN[:, 0] = True


def draw(*shape: int) -> torch.Tensor:
    return torch.randn(*shape, generator=GENERATOR, dtype=torch.float64)


@pytest.mark.parametrize(
    ("keys", "named"),
    [
        (4, {}),
        (4, {"scale": 0.3}),
        (4, {"attn_mask": SEEN}),
        (4, {"attn_mask": draw(5, 7)}),
        (4, {"is_causal": True}),
        (2, {"enable_gqa": True}),
    ],
)
def test_attention_by_products_is_that_of_torch(keys: int, named: dict[str, Any]) -> None:
    query, key, value = draw(3, 4, 5, 6), draw(3, keys, 7, 6), draw(3, keys, 7, 6)
    expected = functional.scaled_dot_product_attention(query, key, value, **named)
    with StackedCalls():
        found = functional.scaled_dot_product_attention(query, key, value, **named)
    torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-12)
    with WithoutDropout():
        named |= {"dropout_p": 0.9}
        found = functional.scaled_dot_product_attention(query, key, value, **named)
    torch.testing.assert_close(found, expected, rtol=0, atol=0)


def test_dropout_is_by_masks_in_order_and_only_in_training() -> None:
    x = torch.ones(40, 50)
    calls = StackedCalls()
    with calls:
        functional.dropout(x, 0.25, training=True)
        functional.dropout(x, 0.0, training=True)
        functional.dropout(x, 0.5, training=False)
        functional.dropout(x[:2], 1.0)
    assert calls.asked == [((40, 50), 0.25), ((2, 50), 1.0)]
    generators = [torch.Generator().manual_seed(seed) for seed in (1, 2, 1)]
    first, second = draw_masks(calls.asked, generators)
    assert first.shape == (3, 40, 50)
    assert second.shape == (3, 2, 50)
    assert not second.any()
    assert set(first.reshape(-1).tolist()) == {0.0, float(torch.tensor(1 / 0.75))}
    assert abs(float((first == 0).float().mean()) - 0.25) < 0.03
    assert torch.equal(first[0], first[2])
    assert not torch.equal(first[0], first[1])
    with StackedCalls([first[0], second[0]]):
        assert torch.equal(functional.dropout(x, 0.25), first[0])
        assert not functional.dropout(x[:2], 1.0).any()
        with pytest.raises(IndexError):
            functional.dropout(x, 0.25)
    with WithoutDropout():
        assert functional.dropout(x, 0.9) is x
