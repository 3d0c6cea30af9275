"""A package that adds a method and a reader to crosscue; one more of each cannot be imported."""
