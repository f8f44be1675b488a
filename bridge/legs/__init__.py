"""What a call sees of a caller, whatever carries it."""
