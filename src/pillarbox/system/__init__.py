"""The floor: what every room stands on and no room is about. It knows no word of the domain."""
