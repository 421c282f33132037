"""How Hypothesis draws while mutants are tested: few examples, the same ones, and none is shrunk.

Whether a test fails is all that counts, and a small example of why takes most of the time.
"""

from hypothesis import Phase, settings

settings.register_profile(
    "mutants",
    phases=(Phase.explicit, Phase.generate),
    max_examples=25,
    derandomize=True,
    database=None,
)
settings.load_profile("mutants")
