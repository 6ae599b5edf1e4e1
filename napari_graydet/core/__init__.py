"""The method itself: numpy, scipy and scikit-image only."""
