//! JSON: objects in, objects out.

pub(crate) mod object;
pub(crate) mod scan;
pub(crate) mod value;
