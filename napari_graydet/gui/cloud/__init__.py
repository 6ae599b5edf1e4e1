"""The cloud (x, y, gray) of an ROI with its 3D box, on a canvas of its own."""
