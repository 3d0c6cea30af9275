"""A package that adds a method and a reader to crosscue, and one method that cannot be imported."""
