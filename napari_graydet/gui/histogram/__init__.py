"""The gray histogram of an ROI with the range of its box."""
