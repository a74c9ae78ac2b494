//! Which tensors are quantized.

use crate::support::*;
use safetensors::Dtype;

/// The names of the tensors that were quantized.
fn chosen(input: &std::path::Path, folder: &Folder, more: &[&str]) -> Vec<String> {
    let more = [&["--format", "mxfp4", "--force", "--json"], more].concat();
    let json = convert("quantize", input, &folder.path("q"), &more).json();
    let tensors = json["tensors"].as_array().unwrap();
    let quantized = tensors.iter().filter(|tensor| tensor["action"] == "quantized");
    let mut names: Vec<_> =
        quantized.map(|tensor| tensor["name"].as_str().unwrap().to_owned()).collect();
    names.sort();
    names
}

fn model(folder: &Folder) -> std::path::PathBuf {
    folder.file(
        "in",
        &[
            ("embed", f32s(&[4, 32], &weights(128, 1))),
            ("layers.0.up", f32s(&[4, 33], &weights(132, 2))),
            ("layers.0.down", raw(Dtype::BF16, &[2, 4, 32])),
            ("layers.1.up", raw(Dtype::F16, &[64, 32])),
            ("layers.1.short", f32s(&[4, 31], &weights(124, 3))),
            ("bias", f32s(&[64], &weights(64, 4))),
            ("conv", f32s(&[1, 1, 1, 32], &weights(32, 5))),
            ("scalar", f32s(&[], &[1.0])),
            ("double", raw(Dtype::F64, &[4, 32])),
            ("ids", raw(Dtype::I32, &[4, 32])),
        ],
    )
}

#[test]
fn matrices_and_stacks_that_hold_a_block_are_chosen() {
    let folder = Folder::new();
    let input = model(&folder);
    let default = ["embed", "layers.0.down", "layers.0.up", "layers.1.up"];
    assert_eq!(chosen(&input, &folder, &[]), default);
    assert_eq!(chosen(&input, &folder, &["--axis", "0"]), ["layers.1.up"]);
    assert!(chosen(&input, &folder, &["--axis", "3"]).is_empty());
    assert_eq!(chosen(&input, &folder, &["--exclude", "layers.*"]), ["embed"]);
    let two = ["--exclude", "embed", "--exclude", "*.up"];
    assert_eq!(chosen(&input, &folder, &two), ["layers.0.down"]);
}

#[test]
fn include_overrides_and_exclude_wins() {
    let folder = Folder::new();
    let input = model(&folder);
    let included = |more: &[&str]| chosen(&input, &folder, more);
    assert_eq!(included(&["--include", "bias", "--include", "conv"]), ["bias", "conv"]);
    assert_eq!(included(&["--include", "layers.1.*"]), ["layers.1.short", "layers.1.up"]);
    assert_eq!(included(&["--include", "layers.?.up"]), ["layers.0.up", "layers.1.up"]);
    assert_eq!(included(&["--include", "{embed,bias}"]), ["bias", "embed"]);
    let rest = "{double,ids,scalar,embed}";
    assert_eq!(
        included(&["--include", "*", "--exclude", rest, "--exclude", "l*"]),
        ["bias", "conv"]
    );
}

#[test]
fn a_wildcard_takes_what_it_can() {
    let folder = Folder::new();
    let input = model(&folder);
    let can = ["bias", "conv", "embed"];
    let layers = ["layers.0.down", "layers.0.up", "layers.1.short", "layers.1.up"];
    assert_eq!(chosen(&input, &folder, &["--include", "*"]), [&can[..], &layers].concat());
    assert_eq!(chosen(&input, &folder, &["--include", "{ids,bias}"]), ["bias"]);
    let json = |more: &[&str]| {
        let more = [&["--format", "nvfp4", "--force", "--json"], more].concat();
        convert("quantize", &input, &folder.path("q"), &more).json()
    };
    let report = json(&["--include", "?*", "--block-2d"]);
    let cases = [
        ("double", "F64 is not F32, BF16 or F16"),
        ("ids", "I32 is not"),
        ("scalar", "no axis"),
        ("bias", "two axes"),
    ];
    for (name, reason) in cases {
        let tensor = entry(&report, name);
        assert_eq!(tensor["action"], "copied");
        assert!(tensor["reason"].as_str().unwrap().contains(reason), "{tensor}");
        assert_eq!(read(&folder.path("q"))[name], read(&input)[name]);
    }
    // A name in full beside the wildcard is a demand.
    let both = ["--format", "mxfp4", "--include", "*", "--include", "ids"];
    convert("quantize", &input, &folder.path("new"), &both).refuses(&["'ids'", "I32"]);
    // Parts of quantized tensors are no floats either.
    let more = ["--format", "mxfp4", "--include", "*", "--json"];
    let again = convert("quantize", &folder.path("q"), &folder.path("new"), &more).json();
    assert_eq!(entry(&again, "embed.codes")["reason"], "part of a quantized tensor");
    assert_eq!(entry(&again, "bias")["action"], "quantized");
}

#[test]
fn included_tensors_that_cannot_be_quantized_are_errors() {
    let folder = Folder::new();
    let input = model(&folder);
    let include = |pattern, more: &[&str]| {
        let more = [&["--format", "mxfp4", "--include", pattern], more].concat();
        convert("quantize", &input, &folder.path("q"), &more)
    };
    include("double", &[]).refuses(&["in: ", "'double'", "F64"]);
    include("ids", &[]).refuses(&["'ids'", "I32"]);
    include("scalar", &[]).refuses(&["'scalar'", "no axis"]);
    include("bias", &["--axis", "1"]).refuses(&["'bias'", "no axis 1"]);
    include("bias", &["--axis", "-2"]).refuses(&["'bias'", "no axis -2"]);
    include("bias", &["--axis", "-9223372036854775808"]).refuses(&["'bias'"]);
    include("[", &[]).refuses(&["--include"]);
    include("bias", &["--exclude", "{"]).refuses(&["--exclude"]);
    assert_eq!(folder.names(), ["in"]);
}

#[test]
fn choosing_nothing_is_said_and_no_error() {
    let folder = Folder::new();
    let input = model(&folder);
    let more = ["--format", "mxfp4", "--include", "nothing.*"];
    let run = convert("quantize", &input, &folder.path("q"), &more).ok();
    assert!(run.err.contains("note: --include 'nothing.*' matches no tensor"), "{}", run.err);
    assert!(run.err.contains("no tensor was chosen"), "{}", run.err);
    assert!(run.out.contains("0 quantized, 10 copied"), "{}", run.out);
    assert_eq!(read(&folder.path("q")), read(&input));
    let empty = folder.file("empty", &[]);
    convert("quantize", &empty, &folder.path("e"), &["--format", "mxfp4"]).ok();
    convert("dequantize", &folder.path("e"), &folder.path("d"), &[]).ok();
    assert!(read(&folder.path("d")).is_empty());
}

#[test]
fn names_that_are_taken_are_errors() {
    let folder = Folder::new();
    let w = || f32s(&[2, 32], &weights(64, 6));
    let cases = [
        ("w.codes", raw(Dtype::U8, &[3]), "mxfp4"),
        ("w.scales", w(), "mxfp4"),
        ("w.tensor_amax", raw(Dtype::F32, &[1]), "nvfp4"),
    ];
    for (taken, tensor, format) in cases {
        let input = folder.file("in", &[("w", w()), (taken, tensor)]);
        let quantize = |more: &[&str]| {
            let more = [&["--format", format], more].concat();
            convert("quantize", &input, &folder.path("q"), &more)
        };
        quantize(&[]).refuses(&["in: ", "'w'", taken, "already exists"]);
        assert_eq!(folder.names(), ["in"]);
        quantize(&["--exclude", "w"]).ok();
        std::fs::remove_file(folder.path("q")).unwrap();
    }
    // The name of a tensor that was quantized before is taken although nothing is stored under it.
    let input = folder.file("in", &[("w", w()), ("w.codes", w())]);
    let first = folder.path("first");
    convert("quantize", &input, &first, &["--format", "mxfp4", "--include", "w.codes"]).ok();
    let more = ["--format", "mxfp4", "--include", "w"];
    let again = convert("quantize", &first, &folder.path("q"), &more);
    again.refuses(&["first: ", "'w'", "'w.codes' already exists"]);
    assert_eq!(folder.names(), ["first", "in"]);
    // A name that only another profile needs is free.
    let input = folder.file("in", &[("w", w()), ("w.tensor_amax", raw(Dtype::F32, &[1]))]);
    let more = ["--format", "nvfp4", "--profile", "torchao"];
    convert("quantize", &input, &folder.path("q"), &more).ok();
    convert("dequantize", &folder.path("q"), &folder.path("d"), &[]).ok();
    assert_eq!(read(&folder.path("d"))["w.tensor_amax"], raw(Dtype::F32, &[1]));
}
