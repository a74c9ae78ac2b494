//! The CPU's level: `doctor` names it, and a `BLOCKSCALE_CPU_LEVEL` that cannot be used is refused.

use crate::support::*;
use blockscale::Level;
use serde_json::Value;
use std::fs;
use std::path::Path;

/// The command with that level asked for, or none.
fn at(level: Option<&str>, args: &[&str]) -> Run {
    let mut command = command();
    match level {
        Some(level) => command.env(Level::VARIABLE, level),
        None => command.env_remove(Level::VARIABLE),
    };
    command.args(args).output().unwrap().into()
}

/// `blockscale VERB IN -o OUT` and more at a level, over an output that may be there.
fn convert_at(level: &str, verb: &str, input: &Path, output: &Path, more: &[&str]) {
    let (input, output) = (input.to_str().unwrap(), output.to_str().unwrap());
    let mut args = vec![verb, input, "-o", output, "--force"];
    args.extend(more);
    at(Some(level), &args).ok();
}

fn available() -> impl Iterator<Item = &'static str> {
    let levels = Level::NAMED.into_iter().filter(|(_, level)| level.is_available());
    levels.map(|(name, _)| name)
}

/// Levels that this processor cannot use, with what is said of them.
fn unusable() -> Vec<(&'static str, String)> {
    let unknown = ["sse2", "AVX2", "avx2,avx512", " "].map(|name| {
        let known = "known: portable, avx2, avx512";
        (name, format!("unknown level of the CPU backend '{name}'; {known}"))
    });
    let lacking = Level::NAMED.into_iter().filter(|(_, level)| !level.is_available());
    let lacking = lacking.map(|(name, _)| {
        let rule = "this processor lacks its instructions; 'portable' always works";
        (name, format!("the level of the CPU backend is {name}: {rule}"))
    });
    unknown.into_iter().chain(lacking).collect()
}

#[test]
fn doctor_names_the_level_in_use_and_those_there_are() {
    let best = Level::best().to_string();
    let levels: Vec<&str> = available().collect();
    let asked = levels.iter().map(|name| (Some(*name), *name));
    for (asked, used) in asked.chain([(None, best.as_str()), (Some(""), best.as_str())]) {
        let json = at(asked, &["doctor", "--json"]).json();
        assert_eq!(json["cpu"]["level"], used);
        assert_eq!(json["cpu"]["available"], serde_json::json!(levels));
        assert_eq!(json["cpu"]["error"], Value::Null);
        let text = at(asked, &["doctor"]).ok().out;
        let line = format!("CPU: level {used}; this processor has {}", levels.join(", "));
        assert_eq!(text.lines().nth(1), Some(line.as_str()), "{text}");
        assert!(!text.contains(Level::VARIABLE), "{text}");
    }
}

#[test]
fn doctor_says_what_is_wrong_with_a_level_and_exits_with_zero() {
    for (name, says) in unusable() {
        let says = format!("{}: {says}", Level::VARIABLE);
        let json = at(Some(name), &["doctor", "--json"]).json();
        assert_eq!(json["cpu"]["error"], says.as_str());
        assert_eq!(json["cpu"]["level"], Level::best().to_string());
        let text = at(Some(name), &["doctor"]).ok().out;
        let line = format!("{says}; commands that compute refuse it");
        assert_eq!(text.lines().nth(2), Some(line.as_str()), "{text}");
    }
}

#[test]
fn a_level_that_cannot_be_used_is_refused_by_what_computes() {
    let folder = Folder::new();
    let input = folder.file("in", &[("w", f32s(&[2, 32], &weights(64, 1)))]);
    let (input, output) = (input.to_str().unwrap(), folder.path("out"));
    let output = output.to_str().unwrap();
    let commands: [&[&str]; 6] = [
        &["demo"],
        &["quantize", input, "-o", output, "--format", "mxfp4"],
        &["quantize", input, "-o", output, "--format", "mxfp4", "--backend", "cpu"],
        &["dequantize", input, "-o", output],
        &["inspect", input],
        &["inspect", input, "--against", input],
    ];
    for (name, says) in unusable() {
        let says = format!("error: {}: {says}", Level::VARIABLE);
        for command in commands {
            at(Some(name), command).refuses(&[says.as_str()]);
        }
        at(Some(name), &["formats"]).ok();
        at(Some(name), &["quantize", "--help"]).ok();
    }
    assert_eq!(folder.names(), ["in"]);
}

#[test]
fn every_level_writes_the_same_files() {
    let folder = Folder::new();
    let input = folder.file("in", &[("w", f32s(&[9, 176], &weights(9 * 176, 2)))]);
    let files = |level: &str| {
        let (quantized, restored) = (folder.path("q"), folder.path("r"));
        convert_at(level, "quantize", &input, &quantized, &["--format", "nvfp4"]);
        convert_at(level, "dequantize", &quantized, &restored, &[]);
        (fs::read(quantized).unwrap(), fs::read(restored).unwrap())
    };
    let expected = files("portable");
    assert!(available().all(|level| files(level) == expected));
}

#[test]
fn help_names_the_variable() {
    let help = run(&["quantize", "--help"]).ok().out;
    let (_, backend) = help.split_once("--backend").unwrap();
    assert!(backend.contains(Level::VARIABLE), "{help}");
}
