"""Stage 1: YOLO finds the regions of interest. Its training, its weights from darknet."""
