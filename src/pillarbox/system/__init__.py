"""The floor: what every room stands on and no room is about. It knows nothing of the domain."""
