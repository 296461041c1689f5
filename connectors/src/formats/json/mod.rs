//! JSON: objects in, objects out.

pub(crate) mod encode;
pub(crate) mod object;
pub(crate) mod scan;
#[cfg(test)]
mod tests;
pub(crate) mod value;
