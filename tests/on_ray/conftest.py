"""Tests on real Ray, which is in an environment of its own: `scripts/setup-ray` makes it.

`test_small.py` is of every test run and starts Ray once, in processes of its own. What needs a
cluster of several nodes, or a bucket, takes minutes on two cores, and is run by `scripts/test-ray`.
"""

from importlib.util import find_spec

NEEDS = {"test_cluster.py": "ray", "test_store.py": "moto"}

collect_ignore_glob = [name for name, package in NEEDS.items() if not find_spec(package)]
