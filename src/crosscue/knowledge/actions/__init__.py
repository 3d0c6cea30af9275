"""Who does what, and how that looks: action triplets of captions and a state for each, from a model, a parser or rules."""
