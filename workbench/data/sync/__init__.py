"""Backfill and sync: bring a provider's history into the lake, go on after any crash, and say how far it is.

The lake is committed first, the state file (`HOME/sync.sqlite`) after it: the state may lag the lake, never lead it. What was
read twice because of that changes nothing, since bars are imported by their natural key.
"""
