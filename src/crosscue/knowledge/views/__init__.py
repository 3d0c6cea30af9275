"""Three views of a picture in words: as a whole, its background, what is in it."""
