"""Questions to a model: where a value comes from, who uses a class, what differs, what is doubtful."""
