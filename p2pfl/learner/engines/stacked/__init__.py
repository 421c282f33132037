"""Layers of many peers' models at once, forward and backward by hand.

Each family of layers has a file: the layers, and how a torch module is read as one. A value lies
with its rows first, [peers, rows, ...], or last, [peers, ..., rows]: convolutions and statistics
over rows are fastest with rows last, products over tokens with rows first.

What a peer gets is the same, bit for bit, whoever shares the stack:
- a batch is padded to a multiple of 16 rows, by its own size alone;
- products are batched ones over peers, and none is left to a kernel for single vectors;
- sums run within one peer.
"""
