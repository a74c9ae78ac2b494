//! The command line.

use blockscale::Level;

#[derive(Clone, Debug)]
pub struct Arguments {
    pub json: bool,
    pub threads: Vec<usize>,
    /// Each one's words must all be there; any one of them is enough.
    pub filters: Vec<Vec<String>>,
    pub mib: usize,
    pub rounds: Option<usize>,
    pub seconds: f64,
    pub level: Level,
    pub in_cache: bool,
    pub all: bool,
    /// Whether time is taken.
    pub timed: bool,
}

/// Elements that fit any cache.
const IN_CACHE: usize = 64 << 10;

impl Arguments {
    pub fn parse(mut arguments: impl Iterator<Item = String>) -> Result<Self, String> {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let mut parsed = Self {
            json: false,
            threads: [1, 2].into_iter().filter(|n| *n <= cores).collect(),
            filters: Vec::new(),
            mib: 256,
            rounds: None,
            seconds: 45.0,
            level: Level::default(),
            in_cache: false,
            all: false,
            timed: false,
        };
        let mut is_test = false;
        while let Some(name) = arguments.next() {
            let mut value =
                || arguments.next().ok_or_else(|| format!("{name}: a value is missing"));
            match name.as_str() {
                "--json" => parsed.json = true,
                "--threads" => parsed.threads = threads_of(&value()?)?,
                "--filter" => {
                    let words = value()?.split_whitespace().map(str::to_owned).collect();
                    parsed.filters.push(words);
                }
                "--mib" => parsed.mib = number_of(&name, &value()?, 16384)?,
                "--rounds" => parsed.rounds = Some(number_of(&name, &value()?, 10_000)?),
                "--seconds" => parsed.seconds = number_of(&name, &value()?, 86400)? as f64,
                "--level" => parsed.level = level_of(&value()?)?,
                "--in-cache" => parsed.in_cache = true,
                "--all" => parsed.all = true,
                // From cargo: `bench` gives the first, and `test` nothing or the second.
                "--bench" => parsed.timed = true,
                "--test" => is_test = true,
                _ => return Err(format!("unknown argument {name}")),
            }
        }
        parsed.timed &= !is_test;
        if parsed.in_cache {
            parsed.threads = vec![1];
        }
        Ok(parsed)
    }

    /// Elements of every tensor.
    pub fn elements(&self) -> usize {
        match self.timed && !self.in_cache {
            true => self.mib << 18,
            false => IN_CACHE,
        }
    }
}

fn number_of(name: &str, text: &str, most: usize) -> Result<usize, String> {
    match text.parse() {
        Ok(number) if (1..=most).contains(&number) => Ok(number),
        _ => Err(format!("{name} {text}: a whole number from 1 to {most}")),
    }
}

fn threads_of(text: &str) -> Result<Vec<usize>, String> {
    text.split(',').map(|part| number_of("--threads", part, 1024)).collect()
}

fn level_of(text: &str) -> Result<Level, String> {
    let level = text.parse::<Level>().map_err(|error| error.to_string())?;
    match level.is_available() {
        true => Ok(level),
        false => Err(format!("--level {text}: this processor lacks it")),
    }
}
