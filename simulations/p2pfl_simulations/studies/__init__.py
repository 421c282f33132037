"""Studies: many runs of one scenario, with other settings and seeds, and what comes of them."""
