//! Where the output goes, and what is left when it cannot.

use crate::support::*;
use std::fs;
use std::io::Read;
use std::process::Stdio;

fn model(folder: &Folder) -> std::path::PathBuf {
    folder.file("in", &[("w", f32s(&[64, 64], &weights(4096, 1)))])
}

const FORMAT: [&str; 2] = ["--format", "mxfp8-e4m3"];
const FORCE: [&str; 3] = ["--format", "mxfp8-e4m3", "--force"];

#[test]
fn nothing_is_overwritten_without_force() {
    let folder = Folder::new();
    let input = model(&folder);
    let output = folder.bytes("out", b"precious");
    convert("quantize", &input, &output, &FORMAT).refuses(&["out", "already exists", "--force"]);
    assert_eq!(fs::read(&output).unwrap(), b"precious");
    convert("quantize", &input, &output, &FORCE).ok();
    assert!(read(&output).contains_key("w.codes"));
    let restored = folder.bytes("restored", b"precious");
    convert("dequantize", &output, &restored, &[]).refuses(&["restored", "already exists"]);
    convert("dequantize", &output, &restored, &["--force"]).ok();
    assert_eq!(folder.names(), ["in", "out", "restored"]);
}

#[test]
#[cfg(unix)]
fn new_files_have_the_permissions_of_any_new_file() {
    use std::os::unix::fs::PermissionsExt;
    let folder = Folder::new();
    let input = model(&folder);
    convert("quantize", &input, &folder.path("q"), &FORMAT).ok();
    let mode = |path| fs::metadata(path).unwrap().permissions().mode();
    assert_eq!(mode(folder.path("q")), mode(input));
}

#[test]
#[cfg(unix)]
fn the_output_is_never_the_input() {
    use std::os::unix::fs::symlink;
    let folder = Folder::new();
    let input = model(&folder);
    let before = fs::read(&input).unwrap();
    symlink(&input, folder.path("symlink")).unwrap();
    fs::hard_link(&input, folder.path("hardlink")).unwrap();
    fs::create_dir(folder.path("sub")).unwrap();
    for name in ["in", "symlink", "hardlink", "sub/../in", "./in"] {
        let output = folder.path(name);
        convert("quantize", &input, &output, &FORCE).refuses(&["is the input"]);
        convert("dequantize", &input, &output, &["--force"]).refuses(&["is the input"]);
        let mut relative = command();
        relative.current_dir(folder.path("sub")).arg("quantize").arg(&input).args(FORCE);
        let run: Run = relative.arg("-o").arg(format!("../{name}")).output().unwrap().into();
        run.refuses(&["is the input"]);
    }
    assert_eq!(fs::read(&input).unwrap(), before);
    assert_eq!(folder.names(), ["hardlink", "in", "sub", "symlink"]);
    // A link to another file is followed, not replaced.
    let other = folder.bytes("other", b"old");
    fs::remove_file(folder.path("symlink")).unwrap();
    symlink(&other, folder.path("symlink")).unwrap();
    convert("quantize", &input, &folder.path("symlink"), &FORCE).ok();
    assert!(folder.path("symlink").is_symlink());
    assert!(read(&other).contains_key("w.codes"));
}

/// Whatever the force: what the link means cannot be known.
#[test]
#[cfg(unix)]
fn a_link_to_nothing_is_refused() {
    let folder = Folder::new();
    let input = model(&folder);
    for target in ["nowhere", "no/where", "link"] {
        std::os::unix::fs::symlink(target, folder.path("link")).unwrap();
        for more in [&FORMAT[..], &FORCE] {
            let run = convert("quantize", &input, &folder.path("link"), more);
            run.refuses(&["link: ", "is a link to nothing"]);
        }
        convert("dequantize", &input, &folder.path("link"), &["--force"]).refuses(&["to nothing"]);
        assert_eq!(folder.names(), ["in", "link"]);
        fs::remove_file(folder.path("link")).unwrap();
    }
}

/// Told before the tensors are read: the input here is too damaged to be restored.
#[test]
fn outputs_that_have_no_name_are_refused_before_the_work() {
    let folder = Folder::new();
    let input = folder.file("in", &[("w", f32s(&[1, 33], &weights(33, 3)))]);
    let good = folder.path("good");
    convert("quantize", &input, &good, &["--format", "mxfp4"]).ok();
    let mut bytes = fs::read(&good).unwrap();
    let padding = bytes.len() - 2 - 1;
    bytes[padding] |= 0xf0;
    let bad = folder.bytes("bad", &bytes);
    let long = "a".repeat(300);
    for (output, says) in [
        ("new/", "no name of a file"),
        ("new/.", "no name of a file"),
        ("no/such", "directory"),
        ("in/new", "Not a directory"),
        (&long, "too long"),
    ] {
        for more in [&[][..], &["--force"]] {
            convert("dequantize", &bad, &folder.path(output), more).refuses(&[output, says]);
        }
    }
    assert_eq!(folder.names(), ["bad", "good", "in"]);
}

#[test]
fn outputs_that_cannot_be_are_refused() {
    let folder = Folder::new();
    let input = model(&folder);
    let missing = folder.path("no/such/out");
    convert("quantize", &input, &missing, &FORMAT).refuses(&["no/such/out", "directory"]);
    convert("quantize", &input, &folder.path("."), &FORCE).refuses(&["is a directory"]);
    let through_file = folder.path("in/out");
    convert("quantize", &input, &through_file, &FORMAT).refuses(&["in/out"]);
    #[cfg(unix)]
    for device in ["/dev/null", "/dev/full"] {
        convert("quantize", &input, device.as_ref(), &FORCE).refuses(&[device, "regular file"]);
        assert!(!fs::metadata(device).unwrap().is_file());
    }
    assert_eq!(folder.names(), ["in"]);
}

#[test]
fn a_name_in_the_working_directory_will_do() {
    let folder = Folder::new();
    model(&folder);
    let mut here = command();
    here.current_dir(folder.path(".")).args(["quantize", "in", "-o", "q"]).args(FORMAT);
    Run::from(here.output().unwrap()).ok();
    assert_eq!(folder.names(), ["in", "q"]);
}

/// A limit on the size of files stands for a full disk: the write fails in the middle. Its signal,
/// which would end the process, is not waited for.
#[test]
#[cfg(target_os = "linux")]
fn a_write_that_fails_leaves_nothing_behind() {
    let folder = Folder::new();
    let input = model(&folder);
    let old = folder.bytes("old", b"precious");
    let cases = [("new", 0, "its header"), ("new", 4, "'w.codes'"), ("old", 4, "'w.codes'")];
    for (output, blocks, what) in cases {
        let script = format!(
            "ulimit -f {blocks}; exec \"$0\" quantize \"$1\" -o \"$2\" {}",
            FORCE.join(" ")
        );
        let mut shell = std::process::Command::new("sh");
        shell.arg("-c").arg(script).arg(program());
        let run: Run = shell.arg(&input).arg(folder.path(output)).output().unwrap().into();
        run.refuses(&[output, what, "cannot write", "too large"]);
        assert_eq!(folder.names(), ["in", "old"]);
        assert_eq!(fs::read(&old).unwrap(), b"precious");
    }
}

/// The command is ended in the middle of the data, from outside.
#[test]
#[cfg(target_os = "linux")]
fn a_process_that_is_killed_leaves_nothing_behind() {
    use std::os::unix::process::ExitStatusExt;
    let folder = Folder::new();
    let tensor = f32s(&[1024, 2048], &weights(1 << 21, 5));
    let input = folder.file("in", &[("a", tensor.clone()), ("b", tensor)]);
    let more = ["--format", "nvfp4", "--profile", "four-over-six-mse", "--backend", "reference"];
    for (name, number) in [("INT", 2), ("TERM", 15), ("KILL", 9), ("ABRT", 6)] {
        let mut child = command();
        child.arg("quantize").arg(&input).arg("-o").arg(folder.path("out")).args(more);
        let mut child = child.stdout(Stdio::null()).spawn().unwrap();
        while !writes(child.id(), &folder) {
            assert!(child.try_wait().unwrap().is_none(), "too fast for this test");
        }
        let mut kill = std::process::Command::new("sh");
        kill.args(["-c", "kill -s $0 $1", name, &child.id().to_string()]).status().unwrap();
        assert_eq!(child.wait().unwrap().signal(), Some(number));
        assert_eq!(folder.names(), ["in"], "{name}");
    }
}

/// Whether the process has a file of the folder open, other than the input.
#[cfg(target_os = "linux")]
fn writes(process: u32, folder: &Folder) -> bool {
    let Ok(open) = fs::read_dir(format!("/proc/{process}/fd")) else { return false };
    let paths = open.filter_map(|entry| fs::read_link(entry.ok()?.path()).ok());
    let input = folder.path("in");
    paths.filter(|path| path.starts_with(folder.path("")) && *path != input).count() > 0
}

/// An error in the middle of the data: the second tensor is damaged.
#[test]
fn an_error_in_the_middle_leaves_nothing_behind() {
    let folder = Folder::new();
    let tensors =
        [("a", f32s(&[64, 33], &weights(64 * 33, 2))), ("b", f32s(&[1, 33], &weights(33, 3)))];
    let input = folder.file("in", &tensors);
    let good = folder.path("good");
    convert("quantize", &input, &good, &["--format", "mxfp4"]).ok();
    let mut bytes = fs::read(&good).unwrap();
    // The order is a.codes, a.scales, b.codes, b.scales; b's last nibble is padding.
    let at = bytes.len() - 2 - 1;
    bytes[at] |= 0xf0;
    let bad = folder.bytes("bad", &bytes);
    convert("dequantize", &bad, &folder.path("d"), &[]).refuses(&["bad", "'b'"]);
    assert_eq!(folder.names(), ["bad", "good", "in"]);
}

#[test]
fn a_closed_pipe_is_no_failure() {
    let folder = Folder::new();
    let names: Vec<String> = (0..400).map(|i| format!("a.long.name.for.a.tensor.{i}")).collect();
    let tensors: Vec<_> =
        names.iter().map(|name| (name.as_str(), f32s(&[1, 32], &weights(32, 4)))).collect();
    let input = folder.file("in", &tensors);
    let input = input.to_str().unwrap();
    let cases: [&[&str]; 5] = [
        &["formats"],
        &["formats", "--json"],
        &["demo"],
        &["inspect", input],
        &["inspect", input, "--json"],
    ];
    for case in cases {
        let mut child = command();
        child.args(case).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = child.spawn().unwrap();
        drop(child.stdout.take());
        let mut err = String::new();
        child.stderr.take().unwrap().read_to_string(&mut err).unwrap();
        assert_eq!((child.wait().unwrap().code(), err.as_str()), (Some(0), ""), "{case:?}");
    }
}

#[test]
#[cfg(target_os = "linux")]
fn a_full_standard_output_is_an_error() {
    for case in [&["formats"][..], &["formats", "--json"], &["demo"]] {
        let full = fs::File::options().write(true).open("/dev/full").unwrap();
        let run: Run = command().args(case).stdout(full).output().unwrap().into();
        run.refuses(&["standard output", "No space left"]);
    }
}

#[test]
fn no_bar_is_drawn_where_there_is_no_terminal() {
    let folder = Folder::new();
    let input = model(&folder);
    let run = convert("quantize", &input, &folder.path("q"), &FORMAT).ok();
    assert_eq!(run.err, "");
    assert!(!run.out.contains('\u{1b}'));
    assert!(run.out.contains("overall QSNR"), "{}", run.out);
}
