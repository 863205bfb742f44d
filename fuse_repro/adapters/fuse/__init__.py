"""The FUSE adapter: its module, its fit from words, and the circulant arithmetic of its maps."""
