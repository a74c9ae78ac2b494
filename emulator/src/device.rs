//! An emulated device: memory, modules, launches.

use std::collections::{BTreeMap, HashMap};
use std::fs::OpenOptions;
use std::io::Write;
use std::path::PathBuf;

use crate::counters::Counters;
use crate::error::{LaunchError, LoadError};
use crate::exec::{Executed, Launch, Limits, run};
use crate::memory::GlobalMemory;
use crate::ptx::{Entry, Module, VariableSpace};
use crate::target::ComputeCapability;

/// How a device is set up.
#[derive(Clone, Debug)]
pub struct Config {
    /// What it claims to be.
    pub capability: ComputeCapability,
    /// Bytes of device memory.
    pub memory: u64,
    /// Host threads that run blocks.
    pub threads: usize,
    /// Warp instructions that one block may execute.
    pub steps: u64,
    /// Run blocks and warps from the last to the first, to expose code that relies on an order.
    pub reversed: bool,
    /// A file that gets one JSON line for each launch.
    pub log: Option<PathBuf>,
    /// Say in the log how often warps came to each line of the PTX.
    pub profile: bool,
    /// Check and log launches without executing them.
    pub dry: bool,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            capability: ComputeCapability { major: 9, minor: 0 },
            memory: 8 << 30,
            threads: std::thread::available_parallelism().map_or(1, |threads| threads.get()),
            steps: 1 << 28,
            reversed: false,
            log: None,
            profile: false,
            dry: false,
        }
    }
}

impl Config {
    /// Reads `BLOCKSCALE_EMULATOR_CC`, `_MEMORY`, `_THREADS`, `_STEPS`, `_ORDER`, `_LOG`,
    /// `_PROFILE` and `_DRY`. A value that cannot be read is an error, told as text.
    pub fn from_environment() -> Result<Self, String> {
        let mut config = Self::default();
        let value = |name: &str| {
            std::env::var(format!("BLOCKSCALE_EMULATOR_{name}"))
                .ok()
                .filter(|text| !text.is_empty())
        };
        let number = |name: &str, text: &str| {
            text.parse::<u64>()
                .map_err(|_| format!("BLOCKSCALE_EMULATOR_{name}={text}: a number expected"))
        };
        if let Some(text) = value("CC") {
            config.capability = ComputeCapability::parse(&text).ok_or_else(|| {
                format!("BLOCKSCALE_EMULATOR_CC={text}: a compute capability such as 9.0 expected")
            })?;
        }
        if let Some(text) = value("MEMORY") {
            config.memory = number("MEMORY", &text)?;
        }
        if let Some(text) = value("THREADS") {
            config.threads = number("THREADS", &text)?.max(1) as usize;
        }
        if let Some(text) = value("STEPS") {
            config.steps = number("STEPS", &text)?;
        }
        config.reversed = match value("ORDER").as_deref() {
            None | Some("forward") => false,
            Some("reverse") => true,
            Some(other) => {
                return Err(format!(
                    "BLOCKSCALE_EMULATOR_ORDER={other}: forward or reverse expected"
                ));
            }
        };
        config.log = value("LOG").map(PathBuf::from);
        let switch = |name: &str| match value(name).as_deref() {
            None | Some("0") => Ok(false),
            Some("1") => Ok(true),
            Some(other) => Err(format!("BLOCKSCALE_EMULATOR_{name}={other}: 0 or 1 expected")),
        };
        config.profile = switch("PROFILE")?;
        config.dry = switch("DRY")?;
        Ok(config)
    }
}

/// The geometry of a launch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LaunchConfig {
    /// Blocks.
    pub grid: [u32; 3],
    /// Threads of a block.
    pub block: [u32; 3],
    /// Bytes of dynamic shared memory.
    pub dynamic_shared: u32,
}

impl LaunchConfig {
    /// One-dimensional.
    pub fn linear(blocks: u32, threads: u32) -> Self {
        Self { grid: [blocks, 1, 1], block: [threads, 1, 1], dynamic_shared: 0 }
    }
}

/// A device.
pub struct Device {
    config: Config,
    memory: GlobalMemory,
    /// Virtual time in nanoseconds.
    time: u64,
    /// Counts of the latest launch of each kernel.
    latest: HashMap<String, Counters>,
    /// The kernel launched last.
    last_entry: Option<String>,
}

impl Device {
    /// A device with empty memory.
    pub fn new(config: Config) -> Self {
        let memory = GlobalMemory::new(config.memory);
        Self { config, memory, time: 0, latest: HashMap::new(), last_entry: None }
    }

    /// How it was set up.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// Its memory.
    pub fn memory(&self) -> &GlobalMemory {
        &self.memory
    }

    /// Its memory, to change it.
    pub fn memory_mut(&mut self) -> &mut GlobalMemory {
        &mut self.memory
    }

    /// Virtual time in nanoseconds: grows with the work done, and is the same in every run.
    pub fn time(&self) -> u64 {
        self.time
    }

    /// Lets virtual time pass for a copy.
    pub fn spend_copy(&mut self, bytes: u64) {
        // A microsecond to start and 32 bytes a nanosecond: roughly a PCIe link.
        self.time += 1_000 + bytes / 32;
    }

    /// Multiprocessors: what the device of that capability has.
    pub fn multiprocessors(&self) -> u32 {
        match self.config.capability.major {
            ..=8 => 108,
            9 => 132,
            10 | 11 => 148,
            _ => 170,
        }
    }

    /// Shared memory that a block may have after asking for more than 48 KiB.
    pub fn shared_limit(&self) -> u32 {
        match (self.config.capability.major, self.config.capability.minor) {
            (8, 0 | 7) => 163 << 10,
            (8, _) | (12.., _) => 99 << 10,
            _ => 227 << 10,
        }
    }

    /// Parses and decodes a module and places its variables.
    pub fn load(&mut self, image: &[u8]) -> Result<Module, LoadError> {
        let memory = &mut self.memory;
        let mut placed = Vec::new();
        let mut allocate = |_: &str, space: VariableSpace, align: u32, bytes: &[u8]| {
            let address =
                memory.allocate_variable(bytes, align, space == VariableSpace::Const).ok()?;
            placed.push(address);
            Some(address)
        };
        let module = Module::load(image, self.config.capability, &mut allocate);
        if module.is_err() {
            for address in placed {
                // It was allocated above.
                let _ = self.memory.release(address);
            }
        }
        module
    }

    /// Frees a module's variables.
    pub fn unload(&mut self, module: &Module) {
        for variable in module.variables.values() {
            // Variables are freed with their module only.
            let _ = self.memory.release(variable.address);
        }
    }

    /// Lays out arguments as the kernel's parameter list says.
    pub fn arguments(
        module: &Module,
        entry: &str,
        values: &[&[u8]],
    ) -> Result<Vec<u8>, LaunchError> {
        let index = module.entry(entry).ok_or_else(|| LaunchError::NoEntry(entry.to_owned()))?;
        let function = &module.functions[index];
        let wanted: usize = function.parameters.iter().map(|at| at.bytes as usize).sum();
        let got = values.iter().map(|value| value.len()).sum();
        let fits = function.parameters.len() == values.len()
            && function
                .parameters
                .iter()
                .zip(values)
                .all(|(at, value)| at.bytes as usize == value.len());
        if !fits {
            return Err(LaunchError::Arguments { entry: entry.to_owned(), got, wanted });
        }
        let size = function.entry.as_ref().map_or(0, |entry| entry.parameter_bytes);
        let mut buffer = vec![0; size as usize];
        for (at, value) in function.parameters.iter().zip(values) {
            buffer[at.offset as usize..][..value.len()].copy_from_slice(value);
        }
        Ok(buffer)
    }

    /// Runs a kernel to its end. `shared_limit` is what its attribute allows, 48 KiB by default.
    pub fn launch(
        &mut self,
        module: &Module,
        entry: &str,
        config: LaunchConfig,
        arguments: &[u8],
        shared_limit: Option<u32>,
    ) -> Result<Counters, LaunchError> {
        let index = module.entry(entry).ok_or_else(|| LaunchError::NoEntry(entry.to_owned()))?;
        let function = &module.functions[index];
        let Some(kernel) = &function.entry else {
            return Err(LaunchError::NoEntry(entry.to_owned()));
        };
        check_geometry(entry, kernel, config)?;
        let launch = Launch {
            module,
            function: index,
            entry: kernel,
            grid: config.grid,
            block: config.block,
            dynamic_shared: config.dynamic_shared,
            arguments,
            memory: self.memory.view(),
            multiprocessors: self.multiprocessors(),
            start_time: self.time,
            limits: Limits {
                threads: self.config.threads,
                steps: self.config.steps,
                reversed: self.config.reversed,
            },
            profiled: self.config.profile,
        };
        let allowed = shared_limit.unwrap_or(48 << 10).min(self.shared_limit());
        if launch.shared_bytes() > allowed {
            return Err(LaunchError::SharedMemory {
                entry: entry.to_owned(),
                wanted: launch.shared_bytes(),
                allowed,
            });
        }
        if arguments.len() != kernel.parameter_bytes as usize {
            let (got, wanted) = (arguments.len(), kernel.parameter_bytes as usize);
            return Err(LaunchError::Arguments { entry: entry.to_owned(), got, wanted });
        }
        let Executed { counters, profile } = match self.config.dry {
            true => Executed::default(),
            false => run(&launch)?,
        };
        // Two microseconds to launch; four instructions a multiprocessor and nanosecond.
        self.time += 2_000 + counters.warp_instructions / u64::from(4 * self.multiprocessors());
        self.latest.insert(entry.to_owned(), counters);
        self.last_entry = Some(entry.to_owned());
        self.log(module, entry, config, &counters, &profile);
        Ok(counters)
    }

    /// Counts of the latest launch of a kernel, or of the latest launch at all.
    pub fn counters(&self, entry: Option<&str>) -> Option<Counters> {
        self.latest.get(entry.or(self.last_entry.as_deref())?).copied()
    }

    fn log(
        &self,
        module: &Module,
        entry: &str,
        config: LaunchConfig,
        counters: &Counters,
        profile: &[u64],
    ) {
        let Some(path) = &self.config.log else { return };
        let counts: Vec<_> =
            counters.named().iter().map(|(name, value)| format!("\"{name}\":{value}")).collect();
        // Names of kernels and targets are identifiers: nothing in them needs escaping.
        let lines = lines(module, profile);
        let line = format!(
            "{{\"entry\":\"{entry}\",\"target\":\"{}\",\"grid\":{:?},\"block\":{:?},\"dynamic_shared\":{},\"counters\":{{{}}}{lines}}}\n",
            module.target,
            config.grid,
            config.block,
            config.dynamic_shared,
            counts.join(",")
        );
        let file = OpenOptions::new().create(true).append(true).open(path);
        if let Err(error) = file.and_then(|mut file| file.write_all(line.as_bytes())) {
            eprintln!("blockscale-emulator: cannot write {}: {error}", path.display());
        }
    }
}

/// The field `lines` of a profiled launch: executions by line of the PTX, of every instruction of
/// the functions that were entered.
fn lines(module: &Module, profile: &[u64]) -> String {
    if profile.is_empty() {
        return String::new();
    }
    let mut starts: Vec<_> = module.functions.iter().map(|function| function.start).collect();
    starts.push(module.code.len());
    starts.sort_unstable();
    let mut sums = BTreeMap::new();
    for function in starts.windows(2).map(|ends| ends[0]..ends[1]) {
        if profile[function.clone()].iter().any(|count| *count > 0) {
            for at in function {
                *sums.entry(module.code[at].line).or_insert(0) += profile[at];
            }
        }
    }
    let lines: Vec<_> = sums.iter().map(|(line, count)| format!("\"{line}\":{count}")).collect();
    format!(",\"lines\":{{{}}}", lines.join(","))
}

fn check_geometry(entry: &str, kernel: &Entry, config: LaunchConfig) -> Result<(), LaunchError> {
    let LaunchConfig { grid, block, .. } = config;
    let threads: u64 = block.iter().map(|extent| u64::from(*extent)).product();
    let reason = if grid.contains(&0) || block.contains(&0) {
        "an extent is zero".to_owned()
    } else if grid[0] > i32::MAX as u32 || grid[1] > 65535 || grid[2] > 65535 {
        "a grid has at most 2147483647 x 65535 x 65535 blocks".to_owned()
    } else if block[0] > 1024 || block[1] > 1024 || block[2] > 64 {
        "a block has at most 1024 x 1024 x 64 threads".to_owned()
    } else if threads > u64::from(kernel.max_threads) {
        format!("the kernel allows {} threads a block", kernel.max_threads)
    } else if kernel.required_block.is_some_and(|required| required != block) {
        format!(
            "the kernel requires blocks of {:?} threads",
            kernel.required_block.unwrap_or_default()
        )
    } else {
        return Ok(());
    };
    Err(LaunchError::Geometry { entry: entry.to_owned(), grid, block, reason })
}
