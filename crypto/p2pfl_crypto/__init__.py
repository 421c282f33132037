"""Keys, numbers and formulas: pure functions and small value types, free of IO and state."""
