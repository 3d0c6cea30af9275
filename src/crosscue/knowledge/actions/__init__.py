"""Action knowledge of captions: triplets of subject, action and object, and a visual state for each."""
