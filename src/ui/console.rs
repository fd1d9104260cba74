//! The one door for output: results to stdout, the rest to stderr. A closed pipe is a quiet end.
//!
//! Strings may hold ANSI styles; they are taken out where the stream is no terminal, or as `--ansi` says.

use std::io::{self, ErrorKind, IsTerminal, Write};

pub use anstream::ColorChoice;

/// Settles for the whole process whether colours are written; [`ColorChoice::Auto`] asks the stream and `NO_COLOR`.
pub fn choose_color(choice: ColorChoice) {
    choice.write_global();
}

/// Whether stdout is a terminal.
pub fn stdout_is_terminal() -> bool {
    io::stdout().is_terminal()
}

/// Whether stderr is a terminal.
pub fn stderr_is_terminal() -> bool {
    io::stderr().is_terminal()
}

/// Whether stdin is a terminal.
pub fn stdin_is_terminal() -> bool {
    io::stdin().is_terminal()
}

/// Whether colours written to stdout arrive: a terminal that knows them, or `--ansi always`.
pub fn stdout_is_colored() -> bool {
    anstream::AutoStream::choice(&io::stdout()) != ColorChoice::Never
}

/// Whether colours written to stderr arrive.
pub fn stderr_is_colored() -> bool {
    anstream::AutoStream::choice(&io::stderr()) != ColorChoice::Never
}

/// Rows and columns of the terminal behind stderr, if there is one.
pub fn stderr_size() -> Option<(u16, u16)> {
    let size = rustix::termios::tcgetwinsize(io::stderr()).ok()?;
    (size.ws_row > 0 && size.ws_col > 0).then_some((size.ws_row, size.ws_col))
}

/// Writes a result as it is.
pub fn out(text: &str) {
    let mut stream = anstream::stdout().lock();
    finish(stream.write_all(text.as_bytes()).and_then(|()| stream.flush()));
}

/// Writes one line of a result.
pub fn out_line(text: &str) {
    out(&format!("{text}\n"));
}

/// Writes bytes of a result, unchanged (log lines of a service need not be UTF-8, and keep their own escapes).
pub fn out_bytes(bytes: &[u8]) {
    let mut stream = io::stdout().lock();
    finish(stream.write_all(bytes).and_then(|()| stream.flush()));
}

/// Writes bytes to stderr, unchanged.
pub fn err_bytes(bytes: &[u8]) {
    finish(io::stderr().lock().write_all(bytes));
}

/// Writes one line for the user that is no result.
pub fn err_line(text: &str) {
    let mut stream = anstream::stderr().lock();
    finish(stream.write_all(format!("{text}\n").as_bytes()));
}

/// Writes a question, without the end of a line, and returns the answer's line without its end.
pub fn ask(question: &str) -> io::Result<String> {
    let mut stream = anstream::stderr().lock();
    finish(stream.write_all(question.as_bytes()).and_then(|()| stream.flush()));
    let mut answer = String::new();
    io::stdin().read_line(&mut answer)?;
    Ok(answer.trim().to_owned())
}

/// Asks a question; anything but yes is no.
pub fn agrees(question: &str) -> io::Result<bool> {
    let answer = ask(question)?;
    Ok(matches!(answer.to_ascii_lowercase().as_str(), "y" | "yes"))
}

/// Asks on stderr and reads one line from the terminal behind stdin, which does not show it.
pub fn ask_secret(question: &str) -> io::Result<String> {
    use rustix::termios::{LocalModes, OptionalActions, tcgetattr, tcsetattr};
    let before = tcgetattr(io::stdin())?;
    let mut silent = before.clone();
    silent.local_modes.remove(LocalModes::ECHO);
    tcsetattr(io::stdin(), OptionalActions::Now, &silent)?;
    let answer = ask(question);
    tcsetattr(io::stdin(), OptionalActions::Now, &before)?;
    err_line("");
    answer
}

/// A reader that went away (`rcompose logs | head`) has all it wants: the process ends, quietly and well.
fn finish(written: io::Result<()>) {
    match written {
        Err(error) if error.kind() == ErrorKind::BrokenPipe => std::process::exit(0),
        // Any other failure (a full disk behind `>`) cannot be told on the stream that failed; the other one may work.
        Err(error) => {
            let _ = writeln!(io::stderr().lock(), "error: cannot write output: {error}");
            std::process::exit(1);
        }
        Ok(()) => {}
    }
}
