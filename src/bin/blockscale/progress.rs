//! The progress bar: on standard error, where that is a terminal.

use crate::failure::one_line;
use indicatif::{ProgressBar, ProgressStyle};

/// How far a command is, in bytes of its input.
pub struct Progress {
    bar: ProgressBar,
}

impl Progress {
    pub fn new(bytes: usize) -> Self {
        let bar = ProgressBar::new(bytes as u64);
        let template = "{bar:32} {bytes}/{total_bytes} {elapsed} {wide_msg}";
        if let Ok(style) = ProgressStyle::with_template(template) {
            bar.set_style(style);
        }
        Self { bar }
    }
    /// Names the tensor that is worked on.
    pub fn tensor(&self, name: &str) {
        self.bar.set_message(one_line(name));
    }
    /// Counts bytes that are done.
    pub fn done(&self, bytes: usize) {
        self.bar.inc(bytes as u64);
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}
