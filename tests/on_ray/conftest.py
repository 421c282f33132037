"""Tests on a real Ray cluster: `scripts/test-ray` runs them, in an environment that has Ray.

Its processes take some 15 seconds of processor time, so they are no part of ./scripts/test.
"""

from importlib.util import find_spec

collect_ignore_glob = [] if find_spec("ray") else ["test_*.py"]
