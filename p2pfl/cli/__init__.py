"""The command line: `p2pfl`."""
