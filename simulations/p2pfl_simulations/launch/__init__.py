"""A scenario in real processes: `p2pfl launch` runs each peer as `p2pfl peer run` would."""
