"""Annotations on disk."""
