"""What no gray range can reach: the networks that add to the mask and take from it."""
