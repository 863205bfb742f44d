"""Sweeps: many runs from one command, none of which can take the others with it.

sweep.json names the points, status.json in each point's directory says how far it is; nothing else is kept,
so any process can go on with a sweep at any time.
"""
