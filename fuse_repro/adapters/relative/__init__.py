"""Relative prompt transfer: its module, the matching problem, the anchors' frame, and its calibration."""
