//! `inspect` tells what is there.

use crate::support::*;
use blockscale::analysis::Metrics;
use blockscale::format::Format;
use safetensors::Dtype;
use std::path::Path;

fn against(file: &Path, original: &Path) -> Run {
    inspect(file, &["--against".as_ref(), original.as_ref(), "--json".as_ref()])
}

#[test]
fn quantized_and_plain_tensors_are_described() {
    let folder = Folder::new();
    let mut x = vec![0.0f32; 3 * 64];
    x[..32].fill(3.0);
    x[32..64].fill(-96.0);
    (x[64], x[128]) = (f32::NAN, 0.0);
    let input = folder.file("in", &[("w", f32s(&[3, 64], &x)), ("ids", raw(Dtype::I64, &[7]))]);
    let output = folder.path("q");
    let more = ["--format", "mxfp4", "--rounding", "stochastic", "--seed", "5"];
    convert("quantize", &input, &output, &more).ok();
    let json = inspect(&output, &["--json".as_ref()]).json();
    let w = entry(&json, "w");
    assert_eq!((&w["dtype"], &w["shape"]), (&"F32".into(), &serde_json::json!([3, 64])));
    assert_eq!(w["bytes"], 3 * 32 + 6);
    assert_eq!(w["errors"], serde_json::Value::Null);
    let quantized = &w["quantized"];
    assert_eq!((&quantized["format"], &quantized["profile"]), (&"mxfp4".into(), &"rceil".into()));
    assert_eq!((&quantized["rounding"], &quantized["seed"]), (&"stochastic".into(), &5.into()));
    // 3 / 6 and 96 / 6 are the scales; zero blocks have the smallest, 2^-127; one is NaN.
    let scales = &quantized["scales"];
    assert_eq!((&scales["count"], &scales["nan_share"]), (&6.into(), &(1.0 / 6.0).into()));
    assert_eq!((&scales["min_exponent"], &scales["max_exponent"]), (&(-127).into(), &4.into()));
    assert_eq!(entry(&json, "ids")["quantized"], serde_json::Value::Null);
    assert_eq!((&json["totals"]["tensors"], &json["totals"]["quantized"]), (&2.into(), &1.into()));
    let text = inspect(&output, &[]).ok().out;
    for says in ["mxfp4", "rceil", "-127..4", "16.6667%", "I64", "2 tensors, 1 quantized"] {
        assert!(text.contains(says), "{says}: {text}");
    }
    let text = inspect(&input, &[]).ok().out;
    assert!(text.contains("2 tensors, 0 quantized"), "{text}");
}

#[test]
fn zero_scales_are_counted() {
    let folder = Folder::new();
    let mut x = vec![1e-9f32; 64];
    x[0] = 1000.0;
    let input = folder.file("in", &[("w", f32s(&[1, 64], &x))]);
    convert("quantize", &input, &folder.path("q"), &["--format", "nvfp4"]).ok();
    let json = inspect(&folder.path("q"), &["--json".as_ref()]).json();
    let scales = &entry(&json, "w")["quantized"]["scales"];
    assert_eq!((&scales["zero_share"], &scales["max_exponent"]), (&0.75.into(), &8.into()));
    assert_eq!(entry(&json, "w")["quantized"]["tensor_scale"]["name"], "tensor_amax");
    assert_eq!(entry(&json, "w")["quantized"]["tensor_scale"]["value"], 1000.0);
}

/// Equal but for the last digits, which JSON's reader may lose.
#[track_caller]
fn close(a: f64, b: f64) {
    assert!((a - b).abs() <= 1e-12 * a.abs(), "{a} {b}");
}

#[test]
fn errors_are_those_of_the_library() {
    let folder = Folder::new();
    let (a, b) = (weights(4 * 64, 1), weights(2 * 3 * 32, 2));
    let input = folder.file(
        "in",
        &[("a", f32s(&[4, 64], &a)), ("b", f32s(&[2, 3, 32], &b)), ("c", raw(Dtype::U8, &[5]))],
    );
    let (output, restored) = (folder.path("q"), folder.path("d"));
    for name in NAMED {
        let format: Format = name.parse().unwrap();
        let more = ["--format", name, "--force", "--json"];
        let report = convert("quantize", &input, &output, &more).json();
        let json = against(&output, &input).json();
        let metrics = |x: &[f32], shape: &[usize]| {
            Metrics::of(x, &blockscale::quantize(x, shape, format).unwrap()).unwrap()
        };
        let mut overall = metrics(&a, &[4, 64]);
        let qsnr = |json: &serde_json::Value| json["errors"]["qsnr_db"].as_f64().unwrap();
        close(qsnr(entry(&json, "a")), overall.errors.qsnr());
        let clipped = entry(&json, "a")["errors"]["clipped_share"].as_f64();
        close(clipped.unwrap(), overall.blocks.clipped_share());
        overall.merge(&metrics(&b, &[2, 3, 32]));
        close(qsnr(&json["totals"]), overall.errors.qsnr());
        assert_eq!(report["totals"]["errors"], json["totals"]["errors"], "quantize says the same");
        assert_eq!(entry(&report, "b")["errors"], entry(&json, "b")["errors"]);
        assert_eq!(entry(&json, "c")["comparison"], "identical");
        // What was restored is as far from the original as what was stored.
        convert("dequantize", &output, &restored, &["--force"]).ok();
        let plain = against(&restored, &input).json();
        close(qsnr(&plain["totals"]), overall.errors.qsnr());
        let text = inspect(&output, &["--against".as_ref(), input.as_ref()]).ok().out;
        assert!(text.contains("overall") && text.contains("identical"), "{text}");
    }
}

#[test]
fn another_original_is_refused_or_told() {
    let folder = Folder::new();
    let w = || f32s(&[2, 32], &weights(64, 3));
    let plain = || raw(Dtype::I32, &[4]);
    let input = folder.file("in", &[("w", w()), ("i", plain())]);
    let output = folder.path("q");
    convert("quantize", &input, &output, &["--format", "mxint4"]).ok();
    let transposed = folder.file("t", &[("w", f32s(&[32, 2], &weights(64, 3)))]);
    against(&output, &transposed).refuses(&["/t: ", "'w'", "[32, 2]", "[2, 32]"]);
    // What only one of the files has is told, quantized or plain.
    let absent = folder.file("absent", &[("v", w()), ("u", plain())]);
    let json = against(&output, &absent).json();
    for name in ["w", "i"] {
        assert_eq!(entry(&json, name)["comparison"], "absent from the original");
    }
    assert_eq!(json["missing"], serde_json::json!(["v", "u"]));
    let more = ["--against".as_ref(), absent.as_ref()];
    let text = inspect(&output, &more).ok().out;
    for name in ["u", "v"] {
        let told = |line: &str| line.starts_with(name) && line.ends_with("absent from the file");
        assert!(text.lines().any(told), "{text}");
    }
    assert_eq!(against(&output, &input).json()["missing"], serde_json::json!([]));
    let json = against(&input, &output).json();
    assert_eq!(entry(&json, "w")["comparison"], "quantized in the original");
    assert_eq!(json["missing"], serde_json::json!([]));
    let other = folder.file("other", &[("w", raw(Dtype::I32, &[2, 32]))]);
    against(&output, &other).refuses(&["/other: ", "'w'", "I32"]);
    let mut changed = plain();
    changed.bytes[0] ^= 1;
    let cases = [
        ("differs", vec![("w", w()), ("i", changed)]),
        ("another shape", vec![("w", w()), ("i", raw(Dtype::I32, &[2, 2]))]),
        ("absent from the original", vec![("w", w())]),
    ];
    for (comparison, tensors) in cases {
        let original = folder.file("original", &tensors);
        assert_eq!(entry(&against(&output, &original).json(), "i")["comparison"], comparison);
    }
}
