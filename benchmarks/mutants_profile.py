"""How Hypothesis draws while mutants are tested: the same examples each time, and none is shrunk.

Whether a test fails is all that counts, and a small example of why takes most of the time.
"""

from hypothesis import Phase, settings

settings.register_profile(
    "mutants", phases=(Phase.explicit, Phase.generate), derandomize=True, database=None
)
settings.load_profile("mutants")
