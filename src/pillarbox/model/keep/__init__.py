"""What was read and rendered before, on disk."""
