//! What the tests of the product share: servers, in the process and as the real binary.
