"""What runs would compute, counted from their configs alone."""
