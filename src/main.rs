//! The binary: calls [`rcompose::cli::run`] and turns its result into an exit code.

fn main() -> std::process::ExitCode {
    rcompose::cli::run()
}
