"""Whole-image networks that the method is compared with."""
