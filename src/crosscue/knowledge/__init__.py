"""Text that a language model writes about pictures and captions: a client and its cache, and one folder or file a kind."""
