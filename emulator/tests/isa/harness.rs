//! Runs a few instructions on one warp.

use blockscale_emulator::error::{Fault, LaunchError};
use blockscale_emulator::target::ComputeCapability;
use blockscale_emulator::{Config, Counters, Device, LaunchConfig};

/// The device that runs a target.
fn capability(target: &str) -> ComputeCapability {
    let digits: u32 =
        target.trim_start_matches("sm_").trim_end_matches(['a', 'f']).parse().unwrap();
    ComputeCapability { major: digits / 10, minor: digits % 10 }
}

/// A device for a target, on one thread.
pub fn device(target: &str) -> Device {
    Device::new(Config {
        capability: capability(target),
        threads: 1,
        steps: 1 << 20,
        ..Config::default()
    })
}

/// Wraps a body into a module with registers of every width: `%p`, `%b` (8), `%h` (16), `%r` (32),
/// `%f`, `%x` (64), `%d`.
pub fn module(target: &str, parameters: &str, outside: &str, body: &str) -> String {
    format!(
        ".version 9.5\n.target {target}\n.address_size 64\n{outside}\n\
         .visible .entry kernel({parameters})\n{{\n\
         .reg .pred %p<8>;\n.reg .b8 %b<8>;\n.reg .b16 %h<16>;\n.reg .b32 %r<32>;\n.reg .f32 %f<16>;\n\
         .reg .b64 %x<32>;\n.reg .f64 %d<8>;\n{body}\nret;\n}}\n"
    )
}

/// Code that runs with inputs in registers 1, 2, ... of every width and leaves its result in the
/// register named by `result`; the registers %x20 and up belong to the harness.
pub fn wrap(inputs: usize, result: &str, code: &str) -> String {
    let mut text = String::from(
        "ld.param.u64 %x30, [in];\nld.param.u64 %x31, [out];\nmov.u32 %r31, %laneid;\n\
         mul.wide.u32 %x29, %r31, 8;\nadd.s64 %x31, %x31, %x29;\nadd.s64 %x30, %x30, %x29;\n",
    );
    for n in 1..=inputs {
        let offset = 256 * (n - 1);
        text += &format!(
            "ld.global.u64 %x{n}, [%x30+{offset}];\nld.global.u32 %r{n}, [%x30+{offset}];\nld.global.u16 %h{n}, [%x30+{offset}];\n\
             mov.b32 %f{n}, %r{n};\nmov.b64 %d{n}, %x{n};\ncvt.u8.u32 %b{n}, %r{n};\n"
        );
    }
    text += code;
    text += &match &result[..2] {
        "%p" => format!("\nselp.b64 %x28, 1, 0, {result};\n"),
        "%b" => format!("\ncvt.u64.u8 %x28, {result};\n"),
        "%h" => format!("\ncvt.u64.u16 %x28, {result};\n"),
        "%r" => format!("\ncvt.u64.u32 %x28, {result};\n"),
        "%f" => format!("\nmov.b32 %r30, {result};\ncvt.u64.u32 %x28, %r30;\n"),
        _ => format!("\nmov.b64 %x28, {result};\n"),
    };
    text + "st.global.u64 [%x31], %x28;\n"
}

/// Runs code on a warp; input n of lane l is `inputs[n][l]`.
pub fn lanes(target: &str, result: &str, code: &str, inputs: &[[u64; 32]]) -> [u64; 32] {
    let text =
        module(target, ".param .u64 in, .param .u64 out", "", &wrap(inputs.len(), result, code));
    let mut device = device(target);
    let module = device.load(text.as_bytes()).unwrap_or_else(|error| panic!("{error}"));
    let bytes: Vec<u8> = inputs.iter().flatten().flat_map(|word| word.to_le_bytes()).collect();
    let input = device.memory_mut().allocate(bytes.len().max(8) as u64).unwrap();
    let output = device.memory_mut().allocate(256).unwrap();
    device.memory_mut().write(input, &bytes).unwrap();
    let arguments =
        Device::arguments(&module, "kernel", &[&input.to_le_bytes(), &output.to_le_bytes()])
            .unwrap();
    device
        .launch(&module, "kernel", LaunchConfig::linear(1, 32), &arguments, None)
        .unwrap_or_else(|error| panic!("{error}"));
    let mut result = [0; 256];
    device.memory().read(output, &mut result).unwrap();
    std::array::from_fn(|lane| {
        u64::from_le_bytes(result[8 * lane..8 * lane + 8].try_into().unwrap())
    })
}

/// Runs code with the same inputs in all lanes and returns the result, which must be the same too.
pub fn eval(target: &str, result: &str, code: &str, inputs: &[u64]) -> u64 {
    let inputs: Vec<_> = inputs.iter().map(|word| [*word; 32]).collect();
    let all = lanes(target, result, code, &inputs);
    assert_eq!(all, [all[0]; 32], "{code}");
    all[0]
}

/// Checks a list of cases of one instruction: inputs and result.
pub fn check(target: &str, result: &str, code: &str, cases: &[(&[u64], u64)]) {
    for (inputs, wanted) in cases {
        let got = eval(target, result, code, inputs);
        assert_eq!(got, *wanted, "{code} {inputs:x?}: {got:#x}, wanted {wanted:#x}");
    }
}

/// Why a module is refused.
pub fn refusal(target: &str, code: &str) -> String {
    let text = module(target, ".param .u64 in, .param .u64 out", "", code);
    match device(target).load(text.as_bytes()) {
        Ok(_) => panic!("accepted on {target}: {code}"),
        Err(error) => error.to_string(),
    }
}

/// A kernel with its own body, one buffer of so many bytes as its parameter `p`.
pub struct Kernel<'a> {
    pub target: &'a str,
    pub outside: &'a str,
    pub body: &'a str,
    pub blocks: u32,
    pub threads: u32,
    pub bytes: u64,
}

impl<'a> Kernel<'a> {
    pub fn new(target: &'a str, threads: u32, body: &'a str) -> Self {
        Self { target, outside: "", body, blocks: 1, threads, bytes: 4096 }
    }

    /// Runs it on a zeroed buffer; gives the buffer's words and the counts.
    pub fn run(&self) -> Result<(Vec<u32>, Counters), Box<Fault>> {
        let text = module(self.target, ".param .u64 p", self.outside, self.body);
        let mut device = device(self.target);
        let module = device.load(text.as_bytes()).unwrap_or_else(|error| panic!("{error}"));
        let buffer = device.memory_mut().allocate(self.bytes).unwrap();
        device.memory_mut().fill(buffer, &[0], self.bytes).unwrap();
        let arguments = Device::arguments(&module, "kernel", &[&buffer.to_le_bytes()]).unwrap();
        let config = LaunchConfig {
            dynamic_shared: 1024,
            ..LaunchConfig::linear(self.blocks, self.threads)
        };
        let counters = match device.launch(&module, "kernel", config, &arguments, None) {
            Ok(counters) => counters,
            Err(LaunchError::Fault(fault)) => return Err(fault),
            Err(other) => panic!("{other}"),
        };
        let mut bytes = vec![0; self.bytes as usize];
        device.memory().read(buffer, &mut bytes).unwrap();
        let words = bytes.chunks_exact(4).map(|word| u32::from_le_bytes(word.try_into().unwrap()));
        Ok((words.collect(), counters))
    }

    /// The words it writes.
    pub fn words(&self) -> Vec<u32> {
        self.run().unwrap_or_else(|fault| panic!("{fault}")).0
    }

    /// The fault it must end with.
    pub fn fault(&self) -> Box<Fault> {
        self.run().err().unwrap_or_else(|| panic!("no fault: {}", self.body))
    }
}

/// Bits of an f32.
pub fn f(value: f32) -> u64 {
    u64::from(value.to_bits())
}

/// Bits of an f64.
pub fn d(value: f64) -> u64 {
    value.to_bits()
}
