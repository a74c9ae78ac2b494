//! Input that is wrong, by accident or on purpose.

use crate::support::*;
use safetensors::Dtype;
use std::fs;

fn file(json: &str, data: usize) -> Vec<u8> {
    let mut bytes = (json.len() as u64).to_le_bytes().to_vec();
    bytes.extend_from_slice(json.as_bytes());
    bytes.resize(bytes.len() + data, 0x3c);
    bytes
}

fn one(dtype: &str, shape: &str, offsets: &str) -> String {
    format!(r#"{{"model.w":{{"dtype":"{dtype}","shape":{shape},"data_offsets":{offsets}}}}}"#)
}

/// Every command that reads must refuse `bytes` with all of these words.
#[track_caller]
fn refused(bytes: &[u8], says: &[&str]) {
    let folder = Folder::new();
    let input = folder.bytes("evil.safetensors", bytes);
    let says = [says, &["evil.safetensors"]].concat();
    let output = folder.path("out");
    convert("quantize", &input, &output, &["--format", "nvfp4"]).refuses(&says);
    convert("dequantize", &input, &output, &["--force"]).refuses(&says);
    inspect(&input, &[]).refuses(&says);
    let good = folder.file("good", &[]);
    inspect(&good, &["--against".as_ref(), input.as_ref()]).refuses(&says);
    assert_eq!(folder.names(), ["evil.safetensors", "good"], "nothing is left behind");
    assert_eq!(fs::read(&input).unwrap(), bytes, "the input is untouched");
}

#[test]
fn corrupt_headers_are_refused() {
    refused(b"", &["0 bytes"]);
    refused(b"short", &["5 bytes"]);
    refused(&[255; 64], &["18446744073709551615", "at most"]);
    refused(&100_000_001u64.to_le_bytes(), &["at most"]);
    refused(&[9, 0, 0, 0, 0, 0, 0, 0, b'{', b'}'], &["truncated", "2 of 9"]);
    refused(&file("not json", 0), &["header is wrong"]);
    refused(&file("[]", 0), &["header is wrong"]);
    refused(&file("{\"a\n\u{1b}[31m\":{}}", 0), &["header is wrong"]);
    refused(&file(&"[".repeat(10_000), 0), &["header is wrong"]);
    refused(&file(&format!("{{\"a\":{}", "{\"b\":".repeat(10_000)), 0), &["header is wrong"]);
    refused(&[&8u64.to_le_bytes()[..], &[0xff; 8]].concat(), &["header is wrong"]);
    refused(&file(r#"{"__metadata__":{"a":[]}}"#, 0), &["header is wrong"]);
    refused(&file(r#"{"__metadata__":{},"__metadata__":{}}"#, 0), &["twice"]);
}

#[test]
fn tensors_that_contradict_the_file_are_refused_by_name() {
    let named = |bytes: Vec<u8>, says: &str| refused(&bytes, &["tensor 'model.w'", says]);
    named(file(&one("F32", "[2,16]", "[0,128]"), 127), "truncated");
    named(file(&one("F32", "[2,16]", "[0,128]"), 0), "truncated");
    named(file(&one("F7", "[2,16]", "[0,128]"), 128), "unknown variant `F7`");
    named(file(&one("f32", "[2,16]", "[0,128]"), 128), "unknown variant");
    named(file(&one("F32", "[2,17]", "[0,128]"), 128), "136 bytes");
    named(file(&one("F32", "[2,-16]", "[0,128]"), 128), "invalid value");
    named(file(&one("F32", "[2.0,16]", "[0,128]"), 128), "invalid type");
    named(file(&one("F32", "[2,16]", "[128,0]"), 128), "128..0");
    named(file(&one("F32", "[2,16]", "[4,132]"), 132), "gap");
    named(file(&one("F4", "[3]", "[0,1]"), 1), "whole number");
    let huge = "[4294967296,4294967296,4294967296]";
    named(file(&one("F32", huge, "[0,128]"), 128), "addressed");
    named(file(&one("F32", "[18446744073709551616]", "[0,128]"), 128), "invalid");
    named(file(&one("F32", "[9223372036854775807]", "[0,128]"), 128), "addressed");
    let (a, w) = (r#""a":{"dtype":"U8","shape":[8],"data_offsets":[0,8]}"#, r#""model.w":"#);
    let second = |offsets: &str| {
        format!(r#"{{{a},{w}{{"dtype":"U8","shape":[8],"data_offsets":{offsets}}}}}"#)
    };
    named(file(&second("[4,12]"), 12), "overlaps");
    named(file(&second("[9,17]"), 17), "gap");
    named(file(&second("[8,16]"), 12), "truncated");
    named(file(&format!(r#"{{{a},{w}1}}"#), 8), "invalid type");
    refused(&file(&second("[8,16]"), 17), &["1 bytes follow"]);
    refused(&file(&format!("{{{a},{a}}}"), 8), &["'a'", "twice"]);
    // Sizes whose sum would wrap around.
    let size = u64::MAX / 8;
    let entry = |i: u128| {
        let (from, to) = (i * u128::from(size), (i + 1) * u128::from(size));
        format!(r#""t{i}":{{"dtype":"U8","shape":[{size}],"data_offsets":[{from},{to}]}}"#)
    };
    let entries: Vec<_> = (0..8).map(entry).collect();
    refused(&file(&format!("{{{}}}", entries.join(",")), 64), &["tensor 't0'"]);
}

#[test]
fn an_absurd_shape_of_nothing_is_copied() {
    let folder = Folder::new();
    for shape in ["[0,4611686018427387904,32]", "[0,4611686018427387904]"] {
        let input = folder.bytes("absurd", &file(&one("F32", shape, "[0,0]"), 0));
        let output = folder.path("out");
        for more in [&[][..], &["--include", "*"], &["--exclude", "*"], &["--axis", "0"]] {
            let more = [&["--format", "mxfp4", "--force", "--json"], more].concat();
            let json = convert("quantize", &input, &output, &more).json();
            assert_eq!(entry(&json, "model.w")["action"], "copied");
            assert_eq!(read(&output), read(&input));
        }
        let more = ["--format", "mxfp4", "--force", "--include", "model.w"];
        convert("quantize", &input, &output, &more).refuses(&["absurd", "'model.w'", "fit"]);
        convert("dequantize", &input, &output, &["--force"]).ok();
        inspect(&input, &["--against".as_ref(), output.as_ref()]).ok();
    }
}

/// As the `safetensors` crate has it.
#[test]
fn metadata_that_is_null_is_none() {
    let folder = Folder::new();
    let entry = r#""ids":{"dtype":"U8","shape":[2],"data_offsets":[0,2]}"#;
    let json = format!(r#"{{"__metadata__":null,{entry}}}"#);
    let input = folder.bytes("in", &file(&json, 2));
    convert("quantize", &input, &folder.path("q"), &["--format", "mxfp4"]).ok();
    assert_eq!(read(&folder.path("q")), read(&input));
    assert!(metadata(&folder.path("q")).is_empty());
}

/// Every prefix of a good file, and every single byte of its header changed: refused or read, but
/// never a crash, and never a report on standard output after an error.
#[test]
fn damaged_files_never_crash() {
    let folder = Folder::new();
    let input = folder.file("in", &[("w", f32s(&[1, 32], &weights(32, 1)))]);
    let good = folder.path("good");
    convert("quantize", &input, &good, &["--format", "mxfp4"]).ok();
    let bytes = fs::read(&good).unwrap();
    for length in (0..bytes.len()).step_by(7) {
        let input = folder.bytes("bad", &bytes[..length]);
        inspect(&input, &[]).refuses(&["bad"]);
    }
    for at in (0..bytes.len()).step_by(3) {
        let mut bytes = bytes.clone();
        bytes[at] ^= 1 << (at % 8);
        let input = folder.bytes("bad", &bytes);
        let run = convert("dequantize", &input, &folder.path("d"), &["--force"]);
        match run.code {
            Some(0) => {}
            _ => run.refuses(&["bad"]),
        }
    }
}

#[test]
fn names_with_control_characters_stay_on_their_line() {
    let folder = Folder::new();
    let name = "evil\n\u{1b}[2Jname\ttab";
    let input = folder.file("in", &[(name, f32s(&[2, 32], &weights(64, 2)))]);
    let out = convert("quantize", &input, &folder.path("q"), &["--format", "mxfp4"]).ok().out;
    assert!(!out.contains('\u{1b}') && out.contains(r"evil\n\u{1b}[2Jname\ttab"), "{out}");
    let json = inspect(&folder.path("q"), &["--json".as_ref()]).json();
    assert_eq!(json["tensors"][0]["name"], name);
    convert("dequantize", &folder.path("q"), &folder.path("d"), &[]).ok();
    assert!(read(&folder.path("d")).contains_key(name));
    let taken = format!("{name}.codes");
    let tensors = [(name, f32s(&[1, 32], &weights(32, 2))), (&taken, raw(Dtype::I8, &[2]))];
    let input = folder.file("taken", &tensors);
    let more = ["--format", "mxfp4", "--force"];
    convert("quantize", &input, &folder.path("q"), &more).refuses(&[r"evil\n"]);
}

#[test]
fn inputs_that_are_no_files_are_refused() {
    let folder = Folder::new();
    let missing = folder.path("missing");
    let output = folder.path("out");
    convert("quantize", &missing, &output, &["--format", "mxfp4"]).refuses(&["missing", "No such"]);
    inspect(&missing, &[]).refuses(&["missing"]);
    let directory = folder.path(".");
    convert("dequantize", &directory, &output, &[]).refuses(&["not a regular file"]);
    #[cfg(unix)]
    for device in ["/dev/null", "/dev/zero"] {
        inspect(device.as_ref(), &[]).refuses(&[device, "not a regular file"]);
    }
    assert!(folder.names().is_empty());
}

#[test]
#[cfg(target_os = "linux")]
fn a_pipe_is_refused_without_waiting_for_it() {
    let folder = Folder::new();
    let pipe = folder.path("pipe");
    let made = std::process::Command::new("mkfifo").arg(&pipe).status();
    if made.is_ok_and(|status| status.success()) {
        inspect(&pipe, &[]).refuses(&["pipe", "not a regular file"]);
    }
}

#[test]
#[cfg(unix)]
fn an_unreadable_input_is_refused() {
    use std::os::unix::fs::PermissionsExt;
    let folder = Folder::new();
    let input = folder.file("in", &[("w", f32s(&[1, 32], &weights(32, 3)))]);
    fs::set_permissions(&input, fs::Permissions::from_mode(0o0)).unwrap();
    // The superuser reads everything.
    if fs::File::open(&input).is_err() {
        inspect(&input, &[]).refuses(&["in", "denied"]);
    }
}
