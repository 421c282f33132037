"""The ledger of a group: one certified model a round, and who may say so."""
