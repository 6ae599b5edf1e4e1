"""A training run from the accepted images to the registry's entry, in a process of its own."""
