"""`auto`: one of several maps, chosen without labels of the target."""
