"""One peer as a process: the machine of p2pfl_gossip, driven over libp2p.

`driver.py` carries out a machine's actions, `links.py` its traffic; the rest is what an operator
sees: configuration, control socket, logs, metrics.
"""
