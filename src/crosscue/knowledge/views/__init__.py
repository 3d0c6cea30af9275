"""Three views of an image in words: the whole, the background, the things in it."""
