"""Linear algebra below the maps: the t-product and its least squares, and regularised normal equations."""
