"""Tables as people have them: a schema that members agree on, and each member's own file."""
