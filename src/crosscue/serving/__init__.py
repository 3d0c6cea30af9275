"""HTTP over collections and encoders: embeddings, search, labels and a page. Nothing here imports torch."""
