//! The command line.

use std::path::PathBuf;

pub struct Arguments {
    /// MiB of a tensor.
    pub mib: usize,
    pub rounds: usize,
    /// Device time of a case and its copies; 0 for one launch a round.
    pub seconds: f64,
    /// Only cases that have all words of one of these.
    pub filters: Vec<Vec<String>>,
    pub json: Option<PathBuf>,
}

impl Arguments {
    pub fn parse(given: impl Iterator<Item = String>) -> Result<Self, String> {
        let given: Vec<_> = given.collect();
        // `cargo bench` says so; without it this is a test, which runs everything once.
        let measures = given.iter().any(|argument| argument == "--bench");
        let (mib, rounds, seconds) = if measures { (256, 11, 0.3) } else { (1, 1, 0.0) };
        let mut arguments = Self { mib, rounds, seconds, filters: Vec::new(), json: None };
        let mut rest = given.into_iter();
        while let Some(argument) = rest.next() {
            let mut value = || rest.next().ok_or(format!("{argument} needs a value"));
            match &argument[..] {
                "--bench" => {}
                "--mib" => arguments.mib = number(&argument, &value()?)?,
                "--rounds" => arguments.rounds = number(&argument, &value()?)?,
                "--seconds" => arguments.seconds = seconds_of(&value()?)?,
                "--filter" => arguments.filters.push(words(&value()?)),
                "--json" => arguments.json = Some(value()?.into()),
                other if other.starts_with('-') => {
                    return Err(format!(
                        "unknown argument {other}; known: --mib N, --rounds N, --seconds S, \
                         --filter TEXT, --json FILE"
                    ));
                }
                filter => arguments.filters.push(words(filter)),
            }
        }
        Ok(arguments)
    }

    /// Bytes of a tensor.
    pub const fn bytes(&self) -> usize {
        self.mib << 20
    }
}

fn words(text: &str) -> Vec<String> {
    text.split_whitespace().map(str::to_owned).collect()
}

fn number(name: &str, text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(number @ 1..=16384) => Ok(number),
        _ => Err(format!("{name} {text}: a whole number from 1 to 16384")),
    }
}

fn seconds_of(text: &str) -> Result<f64, String> {
    match text.parse() {
        Ok(seconds @ 0.0..=60.0) => Ok(seconds),
        _ => Err(format!("--seconds {text}: a number from 0 to 60")),
    }
}
