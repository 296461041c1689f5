//! The `millstream` binary: everything is in the library's `cli`.

use std::process::ExitCode;

/// glibc gives every large buffer back to the system at once, which costs up to half of the time in kernels
/// that allocate.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    millstream::cli::main()
}
