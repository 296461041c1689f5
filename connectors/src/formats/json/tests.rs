//! The decoder against every kind of bad input, and both directions against each other.
