"""Captions for a fine-grained set of images: drafting, judging, cleaning, naming, review and negatives."""
