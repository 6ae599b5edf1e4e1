"""Stage 2: PointNet finds the 3D box in a ROI's cloud; the paper's way, and the simple rivals."""
