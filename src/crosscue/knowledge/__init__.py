"""Knowledge about images and captions: the language models and their cache, and one folder for each kind of knowledge."""
