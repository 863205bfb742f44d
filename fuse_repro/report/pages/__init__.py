"""What stands on the page of each kind of run: plain data, which the template of the same name shows."""
