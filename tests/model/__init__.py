"""Small explicit models of the protocol, explored to their last state."""
