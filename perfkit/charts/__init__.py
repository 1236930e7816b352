"""Values -> pictures: one file a kind of value, drawn with matplotlib, the same bytes from the same value."""
