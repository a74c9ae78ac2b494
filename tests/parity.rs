//! Each named profile gives the bytes of the implementation it is named after.

mod common;

use blockscale::format::Format;
use blockscale::numerics::{Profile, TensorScale};
use blockscale::{Backend, Blocks, Quantize};
use common::{Fixture, differ, fixtures};
use std::collections::BTreeMap;

/// A fixture file, the prefix of its tensors, and the profile that must equal it.
struct Row {
    file: &'static str,
    prefix: &'static str,
    format: Format,
    profile: &'static str,
    blocks: Blocks,
}

const fn row(
    file: &'static str,
    prefix: &'static str,
    format: Format,
    profile: &'static str,
) -> Row {
    Row { file, prefix, format, profile, blocks: Blocks::Row }
}

const fn tile(
    file: &'static str,
    prefix: &'static str,
    format: Format,
    profile: &'static str,
) -> Row {
    Row { blocks: Blocks::Tile, ..row(file, prefix, format, profile) }
}

const ROWS: &[Row] = &[
    row("blocks__torchao_e4m3", "e4m3.floor", Format::MXFP8_E4M3, "ocp"),
    row("blocks__torchao_e4m3", "e4m3.ceil", Format::MXFP8_E4M3, "ceil"),
    row("blocks__torchao_e4m3", "e4m3.even", Format::MXFP8_E4M3, "even"),
    row("blocks__torchao_e5m2", "e5m2.floor", Format::MXFP8_E5M2, "ocp"),
    row("blocks__torchao_e5m2", "e5m2.ceil", Format::MXFP8_E5M2, "ceil"),
    row("blocks__torchao_e5m2", "e5m2.even", Format::MXFP8_E5M2, "even"),
    row("blocks__torchao_e2m3", "e2m3.floor", Format::MXFP6_E2M3, "ocp"),
    row("blocks__torchao_e2m3", "e2m3.ceil", Format::MXFP6_E2M3, "ceil"),
    row("blocks__torchao_e2m3", "e2m3.even", Format::MXFP6_E2M3, "even"),
    row("blocks__torchao_e3m2", "e3m2.floor", Format::MXFP6_E3M2, "ocp"),
    row("blocks__torchao_e3m2", "e3m2.ceil", Format::MXFP6_E3M2, "ceil"),
    row("blocks__torchao_e3m2", "e3m2.even", Format::MXFP6_E3M2, "even"),
    row("blocks__torchao_e2m1", "e2m1.floor", Format::MXFP4, "ocp"),
    row("blocks__torchao_e2m1", "e2m1.ceil", Format::MXFP4, "ceil"),
    row("blocks__torchao_e2m1", "e2m1.even", Format::MXFP4, "even"),
    row("blocks__cuda_rceil", "e4m3.rceil", Format::MXFP8_E4M3, "rceil"),
    row("blocks__cuda_rceil", "e5m2.rceil", Format::MXFP8_E5M2, "rceil"),
    row("blocks__cuda_rceil", "e2m3.rceil", Format::MXFP6_E2M3, "rceil"),
    row("blocks__cuda_rceil", "e3m2.rceil", Format::MXFP6_E3M2, "rceil"),
    row("blocks__cuda_rceil", "e2m1.rceil", Format::MXFP4, "rceil"),
    row("blocks__compressed_tensors_mxfp4", "mxfp4", Format::MXFP4, "compressed-tensors"),
    row("blocks__modelopt_mxfp4", "mxfp4", Format::MXFP4, "modelopt"),
    row("blocks__modelopt_mxfp8", "mxfp8", Format::MXFP8_E4M3, "modelopt"),
    row("blocks__ggml_mxfp4", "mxfp4", Format::MXFP4, "ggml"),
    row("blocks__model_microxcaling", "e4m3", Format::MXFP8_E4M3, "microxcaling"),
    row("blocks__model_microxcaling", "e5m2", Format::MXFP8_E5M2, "microxcaling"),
    row("blocks__model_microxcaling", "e2m3", Format::MXFP6_E2M3, "microxcaling"),
    row("blocks__model_microxcaling", "e3m2", Format::MXFP6_E3M2, "microxcaling"),
    row("blocks__model_microxcaling", "e2m1", Format::MXFP4, "microxcaling"),
    row("blocks__model_microxcaling", "int8", Format::MXINT8, "microxcaling"),
    row("blocks__model_microxcaling", "int4", Format::MXINT4, "microxcaling"),
    row("blocks__transformer_engine_nvfp4", "nvfp4", Format::NVFP4, "transformer-engine"),
    tile("blocks__transformer_engine_nvfp4_2d", "nvfp4_2d", Format::NVFP4, "transformer-engine"),
    row("blocks__torchao_nvfp4", "nvfp4", Format::NVFP4, "torchao"),
    row("blocks__modelopt_nvfp4", "nvfp4", Format::NVFP4, "modelopt"),
    row("blocks__compressed_tensors_nvfp4", "nvfp4", Format::NVFP4, "compressed-tensors"),
    row("blocks__ggml_nvfp4", "nvfp4", Format::NVFP4, "ggml"),
    row("blocks__four_over_six", "mse256", Format::NVFP4, "four-over-six-mse"),
    row("blocks__four_over_six", "mae256", Format::NVFP4, "four-over-six-mae"),
    row("blocks__four_over_six", "mse448", Format::NVFP4, "four-over-six-mse+bound=448"),
    tile("blocks__four_over_six_2d", "mse256_2d", Format::NVFP4, "four-over-six-mse"),
    tile("blocks__four_over_six_2d", "mae256_2d", Format::NVFP4, "four-over-six-mae"),
    row("blocks__model_nvint4", "nvint4", Format::NVINT4, "four-over-six"),
];

/// The bytes that differ, told in one line each.
fn compare(
    row: &Row,
    case: &str,
    input: &Fixture,
    oracle: &BTreeMap<String, Fixture>,
) -> Vec<String> {
    let profile = Profile::parse(row.format, row.profile).unwrap();
    let quantize = Quantize::new(profile).blocks(row.blocks).backend(Backend::Reference);
    let x = input.f32();
    let q = quantize.run(&x, &input.shape).unwrap();
    let part = |name: &str| oracle.get(&format!("{}.{case}.{name}", row.prefix));
    let (codes, scales) = (part("codes").unwrap(), part("scales").unwrap());
    let mut found = Vec::new();
    let columns = q.scales().columns();
    for (i, (ours, theirs)) in q.scales().as_bytes().iter().zip(scales.u8()).enumerate() {
        if ours != theirs {
            found.push(format!(
                "scale {},{}: {ours:#04x}, not {theirs:#04x}",
                i / columns,
                i % columns
            ));
        }
    }
    let k = *input.shape.last().unwrap();
    let block = row.format.block();
    let per_byte = if row.format.element().bits() == 4 { 2 } else { 1 };
    for (i, (ours, theirs)) in q.codes().as_bytes().iter().zip(codes.u8()).enumerate() {
        // What stands in a block whose scale is NaN nobody specifies; ours is 0.
        let scale = scales.u8()[i * per_byte / k * columns + i * per_byte % k / block];
        let dead = row.format.scale().decode(scale).is_nan() && row.profile != "ggml";
        if ours != theirs && !dead {
            let at = i * per_byte;
            let x = &x[at..at + per_byte];
            found.push(format!(
                "code {},{} of {x:?}: {ours:#04x}, not {theirs:#04x}",
                at / k,
                at % k
            ));
        }
    }
    if q.codes().as_bytes().len() != codes.u8().len()
        || q.scales().as_bytes().len() != scales.u8().len()
    {
        found.push("lengths differ".to_owned());
    }
    for name in ["tensor_amax", "decode_scale", "encode_scale", "tensor_scale"] {
        let ours = q.tensor_scale().map(TensorScale::value);
        if let (Some(ours), Some(theirs)) = (ours, part(name))
            && differ(ours, theirs.f32()[0])
        {
            found.push(format!("{name}: {ours:e}, not {:e}", theirs.f32()[0]));
        }
    }
    if let (Some(theirs), true) = (part("dequant"), found.is_empty()) {
        for (i, (ours, theirs)) in q.dequantize::<f32>().iter().zip(theirs.f32()).enumerate() {
            if differ(*ours, theirs) {
                found.push(format!("value {},{}: {ours:e}, not {theirs:e}", i / k, i % k));
            }
        }
    }
    found
}

#[test]
fn profiles_equal_whom_they_name() {
    let inputs = fixtures("inputs");
    let (mut compared, mut report) = (0, Vec::new());
    for row in ROWS {
        let oracle = fixtures(row.file);
        let mut cases = 0;
        // NaN and Inf are part of parity only where the profile follows the same rule.
        let rule = row.file.starts_with("blocks__torchao_e") || row.file.ends_with("rceil");
        let compared_case =
            |name: &&String| name.starts_with("case.") || rule && name.starts_with("special.");
        for (case, input) in inputs.iter().filter(|(name, _)| compared_case(name)) {
            if !oracle.contains_key(&format!("{}.{case}.codes", row.prefix)) {
                continue;
            }
            cases += 1;
            let found = compare(row, case, input, &oracle);
            if let Some(first) = found.first() {
                report.push(format!(
                    "{} {} against {}, {case}: {} differ; {first}",
                    row.format,
                    row.profile,
                    row.prefix,
                    found.len()
                ));
            }
        }
        assert!(cases > 0, "{} has no case for {}", row.file, row.prefix);
        compared += cases;
    }
    assert!(report.is_empty(), "of {compared} cases:\n{}", report.join("\n"));
}

/// TransformerEngine's row-scaled variant is one tensor a row.
#[test]
fn rows_with_their_own_amax_are_tensors_of_their_own() {
    let (inputs, oracle) = (fixtures("inputs"), fixtures("blocks__transformer_engine_nvfp4_row"));
    let profile = Profile::named(Format::NVFP4, "transformer-engine").unwrap();
    let mut rows = 0;
    for (name, codes) in oracle.iter().filter(|(name, _)| name.ends_with(".codes")) {
        let case = name.trim_start_matches("nvfp4_row.").trim_end_matches(".codes");
        let (x, part) = (inputs[case].f32(), |part: &str| &oracle[&name.replace("codes", part)]);
        for (row, x) in x.chunks(128).enumerate() {
            let q = Quantize::new(profile).run(x, &[128]).unwrap();
            assert_eq!(q.codes().as_bytes(), &codes.u8()[row * 64..][..64], "{case} {row}");
            assert_eq!(q.scales().as_bytes(), &part("scales").u8()[row * 8..][..8], "{case} {row}");
            let amax = q.tensor_scale().unwrap().value();
            assert!(!differ(amax, part("tensor_amax").f32()[row]), "{case} {row}");
            rows += 1;
        }
    }
    assert!(rows > 300);
}
