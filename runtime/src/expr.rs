//! Row expressions with the failing rows set apart.
