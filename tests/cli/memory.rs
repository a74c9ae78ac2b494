//! Memory depends on the largest tensor, not on the file.
#![cfg(target_os = "linux")]

use crate::support::*;
use std::fs;
use std::path::Path;
use std::process::Stdio;
use std::thread::sleep;
use std::time::Duration;

/// MiB of the peak resident memory of the command, the pages of its map included.
fn peak(args: &[&str]) -> f64 {
    let mut child = command().args(args).stdout(Stdio::null()).spawn().unwrap();
    let status = format!("/proc/{}/status", child.id());
    let mut peak = 0.0f64;
    loop {
        if let Ok(text) = fs::read_to_string(&status)
            && let Some(line) = text.lines().find(|line| line.starts_with("VmHWM:"))
        {
            let kib: f64 = line.split_whitespace().nth(1).unwrap().parse().unwrap();
            peak = peak.max(kib / 1024.0);
        }
        if let Some(status) = child.try_wait().unwrap() {
            assert!(status.success());
            return peak;
        }
        sleep(Duration::from_micros(200));
    }
}

/// MiB for a file of that many tensors of 1 MiB: quantize, dequantize, inspect.
fn peaks(folder: &Folder, tensors: usize) -> [f64; 3] {
    let names: Vec<String> = (0..tensors).map(|i| format!("layer.{i}")).collect();
    let tensor = f32s(&[512, 512], &weights(512 * 512, 1));
    let tensors: Vec<_> = names.iter().map(|name| (name.as_str(), tensor.clone())).collect();
    let input = folder.file("in", &tensors);
    let [output, restored] = ["q", "d"].map(|name| folder.path(name));
    let text = |path: &Path| path.to_str().unwrap().to_owned();
    let (input, output, restored) = (text(&input), text(&output), text(&restored));
    [
        peak(&["quantize", &input, "-o", &output, "--format", "mxfp8-e4m3", "--force"]),
        peak(&["dequantize", &output, "-o", &restored, "--force"]),
        peak(&["inspect", &restored, "--against", &input]),
    ]
}

#[test]
fn peak_memory_does_not_grow_with_the_number_of_tensors() {
    let folder = Folder::new();
    let (few, many) = (peaks(&folder, 2), peaks(&folder, 48));
    for (few, many) in few.iter().zip(many) {
        assert!(many < few + 12.0, "{few} MiB for 2 tensors, {many} MiB for 48");
    }
}
