"""Work on the machines of a Ray cluster: the only package that knows Ray (the extra "ray")."""
