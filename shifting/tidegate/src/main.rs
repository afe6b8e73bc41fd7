//! The program `tidegate`. Everything it does is in the library beside it.

use std::process::ExitCode;

use clap::Parser as _;

fn main() -> ExitCode {
    tidegate::cli::run(tidegate::cli::Arguments::parse())
}
