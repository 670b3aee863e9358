"""Vector stores under one interface, for `peers.py`: one module each, run in a process each."""
