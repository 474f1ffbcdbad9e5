"""One file per change of the schema, in order. Written once, never edited after a release."""
