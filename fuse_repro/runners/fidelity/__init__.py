"""How good the gradients are that maps carry."""
