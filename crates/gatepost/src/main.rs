//! The `gatepost` binary: picks the allocator; everything else is in the library.

use std::process::ExitCode;

// glibc's allocator keeps what bursts of sessions needed; mimalloc gives it back.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    gatepost::cli::main()
}
