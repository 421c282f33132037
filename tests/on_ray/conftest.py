"""Tests on real Ray, which is in an environment of its own: `scripts/setup-ray` makes it.

`test_small.py` is of every test run and starts Ray once, in processes of its own. What needs a
cluster of several nodes takes 99 s on two cores, and is run by `scripts/test-ray`.
"""

from importlib.util import find_spec

collect_ignore_glob = [] if find_spec("ray") else ["test_cluster.py"]
