//! `dequantize` restores.

use crate::support::*;
use blockscale::format::Format;
use half::{bf16, f16};
use safetensors::Dtype;

#[test]
fn the_type_can_be_chosen() {
    let folder = Folder::new();
    let x = weights(4 * 64, 1);
    let input = folder.file("in", &[("w", f32s(&[4, 64], &x)), ("b", raw(Dtype::BF16, &[9]))]);
    let output = folder.path("q");
    convert("quantize", &input, &output, &["--format", "nvint4"]).ok();
    let tensor = blockscale::quantize(&x, &[4, 64], Format::NVINT4).unwrap();
    let cases: [(&str, Dtype, Vec<u8>); 3] = [
        (
            "f32",
            Dtype::F32,
            tensor.dequantize::<f32>().iter().flat_map(|x| x.to_le_bytes()).collect(),
        ),
        (
            "bf16",
            Dtype::BF16,
            tensor.dequantize::<bf16>().iter().flat_map(|x| x.to_le_bytes()).collect(),
        ),
        (
            "f16",
            Dtype::F16,
            tensor.dequantize::<f16>().iter().flat_map(|x| x.to_le_bytes()).collect(),
        ),
    ];
    for (name, dtype, bytes) in cases {
        let restored = folder.path(name);
        let json = convert("dequantize", &output, &restored, &["--dtype", name, "--json"]).json();
        let file = read(&restored);
        assert_eq!(file["w"], Tensor { dtype, shape: vec![4, 64], bytes });
        assert_eq!(file["b"], raw(Dtype::BF16, &[9]), "only quantized tensors change their type");
        assert_eq!(entry(&json, "w")["action"], "restored");
        assert_eq!(entry(&json, "w")["dtype"], dtype.to_string());
        assert_eq!(json["totals"]["restored"], 1);
    }
    assert_eq!(run(&["dequantize", "a", "-o", "b", "--dtype", "f64"]).code, Some(2));
}

#[test]
fn a_plain_file_is_copied_and_that_is_said() {
    let folder = Folder::new();
    let input = folder.file("in", &[("w", f32s(&[2, 32], &weights(64, 2)))]);
    let run = convert("dequantize", &input, &folder.path("d"), &[]).ok();
    assert!(run.err.contains("note: the input has no quantized tensor"), "{}", run.err);
    assert_eq!(read(&folder.path("d")), read(&input));
}

/// Files whose metadata or parts do not fit, each made from a good one by replacing a text of the
/// header by another of the same length.
#[test]
fn quantized_files_that_contradict_themselves_are_refused() {
    let folder = Folder::new();
    let input = folder.file("in", &[("w", f32s(&[2, 32], &weights(64, 3)))]);
    let good = folder.path("good");
    convert("quantize", &input, &good, &["--format", "nvfp4"]).ok();
    let bytes = std::fs::read(&good).unwrap();
    let cases = [
        ("blockscale.version\":\"1", "blockscale.version\":\"3", "reads the versions 1 and 2"),
        ("blockscale.version\":\"1", "blockscale.Version\":\"1", "version is none"),
        (r#"nvfp4\""#, r#"nvfp5\""#, "unknown format 'nvfp5'"),
        ("transformer-engine", "transformer-Engine", "no profile"),
        (r#"\"nearest\""#, r#"\"nearerr\""#, "'nearerr'"),
        (r#"\"row\""#, r#"\"raw\""#, "'raw'"),
        (r#"axis\":1"#, r#"axis\":2"#, "axis 2"),
        (r#"\"f32\""#, r#"\"f64\""#, "f64"),
        (r#"shape\":[2,32]"#, r#"shape\":[2,31]"#, "padding"),
        (r#"shape\":[2,32]"#, r#"shape\":[2,48]"#, "'w.codes'"),
        ("\"w.codes", "\"w.Codes", "'w.codes' is missing"),
        ("\"w.tensor_amax", "\"w.tensor_amaX", "'w.tensor_amax' is missing"),
        ("\"dtype\":\"U8\",\"shape\":[2,16]", "\"dtype\":\"I8\",\"shape\":[2,16]", "is I8"),
        ("blockscale.tensor.w", "blockscale.tensor.v", "'v'"),
    ];
    for (from, to, says) in cases {
        let text = String::from_utf8_lossy(&bytes);
        assert!(text.contains(from), "{from}");
        let bad = replace(&bytes, from, to);
        let input = folder.bytes("bad", &bad);
        convert("dequantize", &input, &folder.path("d"), &[]).refuses(&["bad", "tensor '", says]);
        inspect(&input, &[]).refuses(&[says]);
        assert_eq!(folder.names(), ["bad", "good", "in"]);
    }
    // Padding bits that are set: K = 31 leaves a nibble.
    let input = folder.file("odd", &[("w", f32s(&[1, 33], &weights(33, 4)))]);
    convert("quantize", &input, &folder.path("padded"), &["--format", "mxfp4"]).ok();
    let mut bytes = std::fs::read(folder.path("padded")).unwrap();
    let at = bytes.len() - 2 - 1; // before the two scales
    bytes[at] |= 0xf0;
    let bad = folder.bytes("bad", &bytes);
    convert("dequantize", &bad, &folder.path("d"), &[]).refuses(&["bad", "'w'", "zero"]);
    assert!(!folder.names().contains(&"d".to_owned()));
}

fn replace(bytes: &[u8], from: &str, to: &str) -> Vec<u8> {
    assert_eq!(from.len(), to.len());
    let at = bytes.windows(from.len()).position(|window| window == from.as_bytes()).unwrap();
    let mut bytes = bytes.to_vec();
    bytes[at..at + to.len()].copy_from_slice(to.as_bytes());
    bytes
}
