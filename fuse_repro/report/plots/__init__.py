"""Plots by matplotlib as inline SVG in the page's own colours."""
