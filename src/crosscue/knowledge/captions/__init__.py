"""Captions of a fine-grained set of pictures: drafted, judged, cleaned, named, and given negatives."""
