"""All protocols, as state machines without IO."""
