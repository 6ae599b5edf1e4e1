"""Ours, the baselines and the simple rivals trained and scored on the same images."""
