"""The layers over the image in the main canvas."""
