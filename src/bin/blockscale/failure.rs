//! Why a command did not do what it was told, and the exit code for it.

use blockscale::checkpoint;
use std::io::{self, ErrorKind, Write};
use std::process::ExitCode;

/// A failure of this program.
pub const INTERNAL: u8 = 1;
/// A failure that the user can mend.
const USER: u8 = 2;

/// The end of a command before its time.
#[derive(Debug)]
pub enum Failure {
    /// The input, the arguments or the place of the output are wrong.
    User(String),
    /// This program is wrong.
    Internal(String),
    /// Nobody reads the output any more.
    ClosedPipe,
}

impl Failure {
    /// Prints the one line and returns the exit code.
    pub fn report(self) -> ExitCode {
        let (message, code) = match self {
            Self::User(message) => (message, USER),
            Self::Internal(message) => (message, INTERNAL),
            Self::ClosedPipe => return ExitCode::SUCCESS,
        };
        print(&message);
        ExitCode::from(code)
    }
}

/// Prints `message` as one line on standard error.
pub fn print(message: &str) {
    say("error", message);
}

/// Prints what the user should know although all went well.
pub fn note(message: &str) {
    say("note", message);
}

fn say(kind: &str, message: &str) {
    // With standard error closed there is nobody left to tell.
    let _ = writeln!(io::stderr(), "{kind}: {}", one_line(message));
}

/// The text with its control characters escaped: names come from files.
pub fn one_line(text: &str) -> String {
    let mut line = String::with_capacity(text.len());
    for c in text.chars() {
        match c.is_control() {
            true => line.extend(c.escape_default()),
            false => line.push(c),
        }
    }
    line
}

impl From<blockscale::Error> for Failure {
    fn from(error: blockscale::Error) -> Self {
        Self::User(error.to_string())
    }
}

impl From<checkpoint::Error> for Failure {
    fn from(error: checkpoint::Error) -> Self {
        match error {
            checkpoint::Error::Plan { .. } => Self::Internal(error.to_string()),
            checkpoint::Error::Exists { .. } => Self::User(format!("{error}; --force replaces it")),
            _ => Self::User(error.to_string()),
        }
    }
}

/// Of standard output: files have errors that name them.
impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            ErrorKind::BrokenPipe => Self::ClosedPipe,
            _ => Self::User(format!("standard output: {error}")),
        }
    }
}
