"""Tasks: from pictures to a network's input, and from its outputs to what was asked for."""
