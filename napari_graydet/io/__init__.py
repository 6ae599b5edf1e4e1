"""Bytes to core types and back, with limits."""
