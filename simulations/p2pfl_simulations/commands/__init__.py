"""The commands of simulated and launched runs; they join `p2pfl` by an entry point."""
