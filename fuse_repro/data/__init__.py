"""Word corpora for fitting adapters, and Lightning data modules for images with captions."""
