//! `quantize` writes the library's bytes, under the promised names.

use crate::support::*;
use blockscale::format::Format;
use blockscale::numerics::{DrawBits, Hadamard, Profile, Rounding, Stochastic};
use blockscale::{Blocks, Quantize, QuantizedTensor, Rotate};
use half::{bf16, f16};
use safetensors::Dtype;
use std::fs;

#[track_caller]
fn holds(file: &File, name: &str, tensor: &QuantizedTensor) {
    assert_eq!(file[&format!("{name}.codes")].bytes, tensor.codes().as_bytes());
    assert_eq!(file[&format!("{name}.scales")].bytes, tensor.scales().as_bytes());
    let stored = ["tensor_amax", "decode_scale", "encode_scale"].map(|suffix| {
        file.get(&format!("{name}.{suffix}")).map(|tensor| {
            assert_eq!((tensor.dtype, tensor.shape.as_slice()), (Dtype::F32, &[1][..]));
            (suffix, values(tensor)[0].to_bits())
        })
    });
    let stored: Vec<_> = stored.into_iter().flatten().collect();
    let expected = tensor.tensor_scale().map(|scale| (scale.name(), scale.value().to_bits()));
    assert_eq!(stored, Vec::from_iter(expected));
}

#[test]
fn every_profile_of_every_format_gives_the_bytes_of_the_library() {
    let folder = Folder::new();
    let x = weights(6 * 83, 1);
    let input = folder.file("in", &[("w", f32s(&[6, 83], &x))]);
    for name in NAMED {
        let format: Format = name.parse().unwrap();
        for profile in Profile::all(format) {
            let output = folder.path(&format!("{name}-{profile}"));
            let profile_name = profile.to_string();
            convert("quantize", &input, &output, &["--format", name, "--profile", &profile_name])
                .ok();
            let file = read(&output);
            holds(&file, "w", &Quantize::new(profile).run(&x, &[6, 83]).unwrap());
            let columns = if format.element().bits() == 4 { 42 } else { 83 };
            let codes = &file["w.codes"];
            assert_eq!((codes.dtype, codes.shape.as_slice()), (Dtype::U8, &[6, columns][..]));
            let scales = &file["w.scales"];
            let blocks = 83usize.div_ceil(format.block());
            assert_eq!((scales.dtype, scales.shape.as_slice()), (Dtype::U8, &[6, blocks][..]));
            assert!(!file.contains_key("w"));
        }
        // The default is the first.
        let output = folder.path(name);
        convert("quantize", &input, &output, &["--format", name]).ok();
        let first = folder.path(&format!("{name}-{}", Profile::default_for(format)));
        assert_eq!(fs::read(output).unwrap(), fs::read(first).unwrap());
    }
}

#[test]
fn altered_profiles_are_named_in_the_metadata_and_restored_from_it() {
    let folder = Folder::new();
    let x = weights(4 * 64, 2);
    let input = folder.file("in", &[("w", f32s(&[4, 64], &x))]);
    for (format, text) in [("mxfp4", "ocp+headroom=3/4"), ("nvfp4", "torchao+headroom=16/17")] {
        let (output, restored) = (folder.path(format), folder.path(&format!("{format}-d")));
        convert("quantize", &input, &output, &["--format", format, "--profile", text]).ok();
        let profile = Profile::parse(format.parse().unwrap(), text).unwrap();
        let expected = Quantize::new(profile).run(&x, &[4, 64]).unwrap();
        holds(&read(&output), "w", &expected);
        assert!(metadata(&output)["blockscale.tensor.w"].contains(text));
        convert("dequantize", &output, &restored, &[]).ok();
        assert_eq!(values(&read(&restored)["w"]), expected.dequantize::<f32>());
    }
}

#[test]
fn the_three_float_types_are_read_as_they_are() {
    let folder = Folder::new();
    let x = weights(8 * 32, 3);
    let narrow: Vec<bf16> = x.iter().map(|x| bf16::from_f32(*x)).collect();
    let half: Vec<f16> = x.iter().map(|x| f16::from_f32(*x)).collect();
    let two = |dtype, bytes| Tensor { dtype, shape: vec![8, 32], bytes };
    let input = folder.file(
        "in",
        &[
            ("f", f32s(&[8, 32], &x)),
            ("b", two(Dtype::BF16, narrow.iter().flat_map(|x| x.to_le_bytes()).collect())),
            ("h", two(Dtype::F16, half.iter().flat_map(|x| x.to_le_bytes()).collect())),
        ],
    );
    let (output, restored) = (folder.path("q"), folder.path("d"));
    convert("quantize", &input, &output, &["--format", "mxfp8-e4m3"]).ok();
    let file = read(&output);
    let how = Quantize::new(Profile::default_for(Format::MXFP8_E4M3));
    let (f, b, h) = (
        how.run(&x, &[8, 32]).unwrap(),
        how.run(&narrow, &[8, 32]).unwrap(),
        how.run(&half, &[8, 32]).unwrap(),
    );
    holds(&file, "f", &f);
    holds(&file, "b", &b);
    holds(&file, "h", &h);
    convert("dequantize", &output, &restored, &[]).ok();
    let restored = read(&restored);
    let bytes = b.dequantize::<bf16>().iter().flat_map(|x| x.to_le_bytes()).collect();
    assert_eq!(restored["b"], two(Dtype::BF16, bytes));
    let bytes = h.dequantize::<f16>().iter().flat_map(|x| x.to_le_bytes()).collect();
    assert_eq!(restored["h"], two(Dtype::F16, bytes));
}

#[test]
fn copies_are_identical_and_metadata_is_kept() {
    let folder = Folder::new();
    let tensors = [
        ("w", f32s(&[2, 32], &weights(64, 4))),
        ("bias", f32s(&[32], &weights(32, 5))),
        ("ids", raw(Dtype::I64, &[3, 64])),
        ("double", raw(Dtype::F64, &[3, 64])),
        ("mask", raw(Dtype::BOOL, &[5])),
        ("fp8", raw(Dtype::F8_E4M3, &[2, 32])),
        ("nothing", raw(Dtype::U8, &[0])),
        ("scalar", raw(Dtype::F32, &[])),
    ];
    let input = folder.file_with("in", &tensors, &[("format", "pt"), ("note", "a \"b\"\n")]);
    let output = folder.path("q");
    let before = fs::read(&input).unwrap();
    let json = convert("quantize", &input, &output, &["--format", "mxint8", "--json"]).json();
    assert_eq!(fs::read(&input).unwrap(), before, "the input is untouched");
    let file = read(&output);
    for (name, tensor) in &tensors[1..] {
        assert_eq!(&file[*name], tensor, "{name}");
        assert_eq!(entry(&json, name)["action"], "copied");
        assert_ne!(entry(&json, name)["reason"], "");
    }
    let metadata = metadata(&output);
    assert_eq!((&metadata["format"][..], &metadata["note"][..]), ("pt", "a \"b\"\n"));
    assert_eq!(metadata["blockscale.version"], "1");
    let record: serde_json::Value = serde_json::from_str(&metadata["blockscale.tensor.w"]).unwrap();
    assert_eq!(
        record,
        serde_json::json!({
            "format": "mxint8", "profile": "ceil", "rounding": "nearest", "blocks": "row",
            "axis": 1, "dtype": "f32", "shape": [2, 32],
        })
    );
    assert_eq!(metadata.len(), 4);
    assert_eq!(json["totals"]["quantized"], 1);
    assert_eq!(json["totals"]["copied"], 7);
    assert_eq!(
        json["totals"]["bytes_before"],
        tensors.iter().map(|t| t.1.bytes.len()).sum::<usize>()
    );
    assert_eq!(json["totals"]["output_file_bytes"], fs::metadata(&output).unwrap().len());
    // Back again, the file holds what it held, in the order of the `safetensors` crate.
    let restored = folder.path("d");
    convert("dequantize", &output, &restored, &[]).ok();
    let metadata = crate::support::metadata(&restored);
    assert_eq!((metadata.len(), &metadata["format"][..]), (2, "pt"));
    assert_eq!(read(&restored).keys().collect::<Vec<_>>(), read(&input).keys().collect::<Vec<_>>());
}

#[test]
fn the_same_command_gives_the_same_file() {
    let folder = Folder::new();
    let names: Vec<String> = (0..20).map(|i| format!("layer.{i}")).collect();
    let tensors: Vec<_> =
        names.iter().map(|name| (name.as_str(), f32s(&[4, 32], &weights(128, 6)))).collect();
    let input = folder.file("in", &tensors);
    let backends = ["auto", "cpu", "reference", "auto"];
    let files = backends.map(|backend| {
        let more = ["--format", "mxfp4", "--backend", backend, "--force"];
        convert("quantize", &input, &folder.path("q"), &more).ok();
        fs::read(folder.path("q")).unwrap()
    });
    assert!(files.iter().all(|file| *file == files[0]));
}

#[test]
fn stochastic_draws_belong_to_the_tensor_and_not_to_the_file() {
    let folder = Folder::new();
    let (a, b) = (weights(8 * 48, 7), weights(4 * 64, 8));
    let input = folder.file("in", &[("a", f32s(&[8, 48], &a)), ("b", f32s(&[4, 64], &b))]);
    let alone = folder.file("alone", &[("b", f32s(&[4, 64], &b))]);
    let stochastic = |input, output: &str, more: &[&str]| {
        let more = [&["--format", "nvfp4", "--rounding", "stochastic"], more].concat();
        convert("quantize", input, &folder.path(output), &more).ok();
        read(&folder.path(output))
    };
    let whole = stochastic(&input, "whole", &["--seed", "7"]);
    let subset = stochastic(&input, "subset", &["--seed", "7", "--include", "b"]);
    let single = stochastic(&alone, "single", &["--seed", "7"]);
    let profile = Profile::default_for(Format::NVFP4);
    let draws = |name| Rounding::Stochastic(Stochastic::new(7, name));
    holds(&whole, "a", &Quantize::new(profile).rounding(draws("a")).run(&a, &[8, 48]).unwrap());
    let expected = Quantize::new(profile).rounding(draws("b")).run(&b, &[4, 64]).unwrap();
    for file in [&whole, &subset, &single] {
        holds(file, "b", &expected);
    }
    assert_eq!(subset["a"].bytes, read(&input)["a"].bytes);
    assert_eq!(stochastic(&input, "zero", &[]), stochastic(&input, "0", &["--seed", "0"]));
    assert_ne!(stochastic(&input, "1", &["--seed", "1"])["a.codes"], whole["a.codes"]);
    let record = &metadata(&folder.path("whole"))["blockscale.tensor.a"];
    assert!(record.contains(r#""rounding":"stochastic","seed":7"#), "{record}");
}

#[test]
fn unbiased_is_refused_where_it_cannot_be() {
    let folder = Folder::new();
    let input = folder.file("in", &[("w", f32s(&[2, 32], &weights(64, 9)))]);
    let output = folder.path("q");
    let demand = |more: &[&str]| {
        let more = [&["--unbiased"], more].concat();
        convert("quantize", &input, &output, &more)
    };
    let stochastic = ["--rounding", "stochastic"];
    let clips = ["--format", "mxfp4", "--profile", "ocp"];
    demand(&[stochastic, ["--format", "nvfp4"]].concat()).refuses(&[
        "transformer-engine",
        "cannot round without bias",
        "16/17",
    ]);
    demand(&[&stochastic[..], &clips].concat()).refuses(&["ocp", "rceil"]);
    demand(&["--format", "mxfp4"]).refuses(&["--rounding stochastic"]);
    assert_eq!(folder.names(), ["in"]);
    demand(&[stochastic, ["--format", "mxfp4"]].concat()).ok();
    // Without the demand every profile takes stochastic rounding.
    convert("quantize", &input, &output, &[&stochastic[..], &clips, &["--force"]].concat()).ok();
}

#[test]
fn any_axis_is_stored_last_and_comes_back() {
    let folder = Folder::new();
    let shape = [34usize, 33, 40];
    let x = weights(34 * 33 * 40, 10);
    let input = folder.file("in", &[("w", f32s(&shape, &x))]);
    for (axis, text) in [(0, "0"), (1, "1"), (2, "2"), (0, "-3"), (1, "-2"), (2, "-1")] {
        let (output, restored) = (folder.path("q"), folder.path("d"));
        let more = ["--format", "mxfp6-e3m2", "--force", "--axis", text];
        convert("quantize", &input, &output, &more).ok();
        let order: Vec<usize> = (0..3).filter(|a| *a != axis).chain([axis]).collect();
        let stored: Vec<usize> = order.iter().map(|a| shape[*a]).collect();
        let strides = [33 * 40, 40, 1];
        let mut moved = Vec::new();
        for i in 0..stored[0] {
            for j in 0..stored[1] {
                for k in 0..stored[2] {
                    let at = i * strides[order[0]] + j * strides[order[1]] + k * strides[order[2]];
                    moved.push(x[at]);
                }
            }
        }
        let profile = Profile::default_for(Format::MXFP6_E3M2);
        let expected = Quantize::new(profile).run(&moved, &stored).unwrap();
        holds(&read(&output), "w", &expected);
        assert_eq!(read(&output)["w.codes"].shape, stored);
        convert("dequantize", &output, &restored, &["--force"]).ok();
        let restored = &read(&restored)["w"];
        assert_eq!(restored.shape, shape);
        let (decoded, back) = (expected.dequantize::<f32>(), values(restored));
        let mut at = decoded.iter();
        for i in 0..stored[0] {
            for j in 0..stored[1] {
                for k in 0..stored[2] {
                    let to = i * strides[order[0]] + j * strides[order[1]] + k * strides[order[2]];
                    assert_eq!(back[to], *at.next().unwrap());
                }
            }
        }
        let against = inspect(&output, &["--json".as_ref(), "--against".as_ref(), input.as_ref()]);
        let qsnr = against.json()["totals"]["errors"]["qsnr_db"].as_f64().unwrap();
        assert!(qsnr > 20.0, "{qsnr}");
    }
}

#[test]
fn tiles_share_a_scale_and_come_back() {
    let folder = Folder::new();
    let x = weights(2 * 20 * 40, 11);
    let input = folder.file("in", &[("w", f32s(&[2, 20, 40], &x))]);
    let (output, restored) = (folder.path("q"), folder.path("d"));
    for name in NAMED {
        let format: Format = name.parse().unwrap();
        let more = ["--format", name, "--block-2d", "--force"];
        convert("quantize", &input, &output, &more).ok();
        let how = Quantize::new(Profile::default_for(format)).blocks(Blocks::Tile);
        let expected = how.run(&x, &[2, 20, 40]).unwrap();
        holds(&read(&output), "w", &expected);
        assert!(metadata(&output)["blockscale.tensor.w"].contains(r#""blocks":"tile""#));
        convert("dequantize", &output, &restored, &["--force"]).ok();
        assert_eq!(values(&read(&restored)["w"]), expected.dequantize::<f32>());
    }
    let row = folder.file("row", &[("v", f32s(&[64], &weights(64, 12)))]);
    let more = ["--format", "nvfp4", "--block-2d", "--force", "--include", "v"];
    convert("quantize", &row, &output, &more).refuses(&["'v'", "two axes"]);
}

#[test]
fn rotated_tensors_say_so_and_are_rotated_back() {
    let folder = Folder::new();
    let (x, y) = (weights(6 * 96, 21), weights(4 * 40, 22));
    let tensors = [("w", f32s(&[6, 96], &x)), ("odd", f32s(&[4, 40], &y))];
    let input = folder.file("in", &tensors);
    let (output, restored) = (folder.path("q"), folder.path("d"));
    let hadamard = Hadamard::new(32).unwrap();
    for (signs, hadamard, record) in [
        (&[][..], hadamard, r#""rotation":32,"blocks""#),
        (&["--signs", "7"], hadamard.with_drawn_signs(7, ""), r#""rotation":32,"signs":7,"#),
    ] {
        let more =
            [&["--format", "mxfp8-e4m3", "--rotate", "32", "--force", "--json"], signs].concat();
        let json = convert("quantize", &input, &output, &more).json();
        let how = Quantize::new(Profile::default_for(Format::MXFP8_E4M3)).rotated(hadamard);
        let expected = how.run(&x, &[6, 96]).unwrap();
        holds(&read(&output), "w", &expected);
        assert_eq!(metadata(&output)["blockscale.version"], "2");
        assert!(metadata(&output)["blockscale.tensor.w"].contains(record));
        assert_eq!(json["rotation"], 32);
        // 40 is no multiple of 32.
        let reason = entry(&json, "odd")["reason"].as_str().unwrap().to_owned();
        assert!(reason.contains("40") && reason.contains("32"), "{reason}");
        convert("quantize", &input, &output, &[&more[..], &["--include", "odd"]].concat())
            .refuses(&["'odd'", "32"]);

        convert("quantize", &input, &output, &more).ok();
        convert("dequantize", &output, &restored, &["--force"]).ok();
        let mut back = expected.dequantize::<f32>();
        Rotate::new(hadamard).inverse().in_place(&mut back, &[6, 96]).unwrap();
        assert_eq!(values(&read(&restored)["w"]), back);
        let largest = x.iter().zip(&back).map(|(x, y)| (x - y).abs()).fold(0.0, f32::max);
        assert!(largest < 0.3, "{largest}");
        let against = ["--json".as_ref(), "--against".as_ref(), input.as_ref()];
        let json = inspect(&output, &against).json();
        assert_eq!(entry(&json, "w")["quantized"]["rotation"], 32);
        let qsnr = json["totals"]["errors"]["qsnr_db"].as_f64().unwrap();
        assert!(qsnr > 25.0, "{qsnr}");
    }
    let wrong = ["--format", "mxfp4", "--rotate", "48", "--force"];
    convert("quantize", &input, &output, &wrong).refuses(&["48", "16"]);
    let alone = ["--format", "mxfp4", "--signs", "1", "--force"];
    assert_eq!(convert("quantize", &input, &output, &alone).code, Some(2));
}

#[test]
fn draws_of_sixteen_bits_are_recorded() {
    let folder = Folder::new();
    let x = weights(4 * 64, 23);
    let input = folder.file("in", &[("w", f32s(&[4, 64], &x))]);
    let output = folder.path("q");
    let more = ["--format", "mxfp4", "--rounding", "stochastic", "--seed", "5", "--force"];
    for (text, bits, version) in [("8", DrawBits::Eight, "1"), ("16", DrawBits::Sixteen, "2")] {
        let more = [&more[..], &["--stochastic-bits", text]].concat();
        convert("quantize", &input, &output, &more).ok();
        let draws = Stochastic::new(5, "w").with_bits(bits);
        let how = Quantize::new(Profile::default_for(Format::MXFP4));
        let how = how.rounding(Rounding::Stochastic(draws));
        holds(&read(&output), "w", &how.run(&x, &[4, 64]).unwrap());
        assert_eq!(metadata(&output)["blockscale.version"], version);
        let record = &metadata(&output)["blockscale.tensor.w"];
        assert_eq!(record.contains(r#""draw_bits":16"#), version == "2", "{record}");
    }
    let nearest = ["--format", "mxfp4", "--stochastic-bits", "16", "--force"];
    convert("quantize", &input, &output, &nearest).refuses(&["--stochastic-bits", "stochastic"]);
    let wrong = ["--format", "mxfp4", "--stochastic-bits", "12", "--force"];
    assert_eq!(convert("quantize", &input, &output, &wrong).code, Some(2));
}

#[test]
fn a_search_is_a_profile_or_one_of_its_knobs() {
    let folder = Folder::new();
    let input = folder.file("in", &[("w", f32s(&[4, 64], &weights(4 * 64, 24)))]);
    let output = folder.path("q");
    let cases = [
        ("nvfp4", None, "four-over-six-mse", Ok("four-over-six-mse")),
        ("nvfp4", None, "four-over-six-mae", Ok("four-over-six-mae")),
        ("nvfp4", None, "none", Ok("transformer-engine")),
        ("nvfp4", Some("four-over-six-mse"), "none", Ok("four-over-six-mse+search=none")),
        ("nvfp4", Some("torchao"), "widest", Err("four-over-six-mse")),
    ];
    for (format, profile, search, expected) in cases {
        let mut more = vec!["--format", format, "--scale-search", search, "--force"];
        more.extend(profile.iter().flat_map(|profile| ["--profile", profile]));
        let run = convert("quantize", &input, &output, &more);
        match expected {
            Ok(profile) => {
                run.ok();
                let record = &metadata(&output)["blockscale.tensor.w"];
                assert!(record.contains(&format!(r#""profile":"{profile}""#)), "{record}");
            }
            Err(says) => run.refuses(&[search, says]),
        }
    }
}

#[test]
fn nan_inf_and_empty_tensors_are_no_errors() {
    let folder = Folder::new();
    let mut x = weights(4 * 64, 13);
    (x[3], x[70], x[71], x[255]) = (f32::NAN, f32::INFINITY, f32::NEG_INFINITY, f32::NAN);
    let input = folder.file(
        "in",
        &[
            ("w", f32s(&[4, 64], &x)),
            ("none", f32s(&[0, 64], &[])),
            ("stack", f32s(&[3, 0, 32], &[])),
            ("narrow", f32s(&[64, 0], &[])),
            ("nans", f32s(&[1, 32], &[f32::NAN; 32])),
            ("zeros", f32s(&[1, 32], &[0.0; 32])),
        ],
    );
    for name in NAMED {
        let (output, restored) = (folder.path("q"), folder.path("d"));
        let more = ["--format", name, "--force", "--json"];
        let json = convert("quantize", &input, &output, &more).json();
        let format: Format = name.parse().unwrap();
        let how = Quantize::new(Profile::default_for(format));
        holds(&read(&output), "w", &how.run(&x, &[4, 64]).unwrap());
        for (name, nan, inf) in [("w", 2, 2), ("none", 0, 0), ("stack", 0, 0), ("nans", 32, 0)] {
            let errors = &entry(&json, name)["errors"];
            assert_eq!((&errors["nan"], &errors["inf"]), (&nan.into(), &inf.into()), "{name}");
        }
        assert_eq!(entry(&json, "narrow")["action"], "copied");
        assert_eq!(json["totals"]["errors"]["nan"], 34);
        assert_eq!(json["totals"]["errors"]["inf"], 2);
        convert("dequantize", &output, &restored, &["--force"]).ok();
        let file = read(&restored);
        assert_eq!((&file["none"].shape[..], file["none"].bytes.len()), (&[0, 64][..], 0));
        assert_eq!(file["stack"].shape, [3, 0, 32]);
        assert_eq!(values(&file["zeros"]), [0.0; 32]);
        inspect(&output, &["--against".as_ref(), input.as_ref()]).ok();
        let text = convert("quantize", &input, &output, &["--format", name, "--force"]).ok().out;
        assert!(text.contains("inputs with 34 NaN and 2 Inf"), "{text}");
        assert_eq!(entry(&json, "zeros")["errors"]["exact"], true);
        let line = text.lines().find(|line| line.starts_with("zeros")).unwrap();
        let cells: Vec<&str> = line.split_whitespace().collect();
        assert_eq!(cells[cells.len() - 3..], ["inf", "0", "0"], "{text}");
    }
    let all = ["--format", "mxfp4", "--force", "--include", "narrow"];
    let json = convert("quantize", &input, &folder.path("q"), &[&all[..], &["--json"]].concat());
    assert_eq!(entry(&json.json(), "narrow")["action"], "quantized");
    assert_eq!(read(&folder.path("q"))["narrow.codes"].shape, [64, 0]);
}

/// A tensor that one NaN destroyed is not shown as perfect, nor left out in silence.
#[test]
fn lost_values_are_told_for_each_tensor() {
    let folder = Folder::new();
    let mut x = vec![0.25f32; 64];
    x[3] = f32::NAN;
    let tensors = [
        ("all", f32s(&[2, 32], &[&x[..32], &x[..32]].concat())),
        ("half", f32s(&[2, 32], &x)),
        ("some", f32s(&[2, 32], &[&x[..32], &weights(32, 2)].concat())),
        ("none", f32s(&[2, 32], &[0.25; 64])),
    ];
    let input = folder.file("in", &tensors);
    let (output, restored) = (folder.path("q"), folder.path("d"));
    let json = convert("quantize", &input, &output, &["--format", "mxfp4", "--json"]).json();
    let text = convert("quantize", &input, &output, &["--format", "mxfp4", "--force"]).ok().out;
    convert("dequantize", &output, &restored, &[]).ok();
    let against = |file, more: &[&str]| {
        let more: Vec<&str> = [&["--against", input.to_str().unwrap()], more].concat();
        let more: Vec<&std::ffi::OsStr> = more.iter().map(AsRef::as_ref).collect();
        inspect(file, &more)
    };
    let reports =
        [json, against(&output, &["--json"]).json(), against(&restored, &["--json"]).json()];
    let null = serde_json::Value::Null;
    for json in &reports {
        for (name, nan, lost, exact) in
            [("all", 2, 62, false), ("half", 1, 31, false), ("some", 1, 31, false)]
        {
            let errors = &entry(json, name)["errors"];
            let counts = (&errors["nan"], &errors["lost"], &errors["measured"]);
            assert_eq!(counts, (&nan.into(), &lost.into(), &(64 - nan - lost).into()), "{name}");
            assert_eq!(
                (&errors["exact"], errors["qsnr_db"] == null),
                (&exact.into(), name != "some")
            );
            assert_eq!(errors["relative_mse"] == null, name == "all");
        }
        let errors = &json["totals"]["errors"];
        assert_eq!((&errors["lost"], &errors["exact"]), (&124.into(), &false.into()));
    }
    assert_eq!(entry(&reports[0], "none")["errors"]["exact"], true);
    assert_eq!(entry(&reports[0], "none")["errors"]["qsnr_db"], null);
    for text in [&text, &against(&output, &[]).ok().out, &against(&restored, &[]).ok().out] {
        let cells = |name: &str| {
            let line = text.lines().rfind(|line| line.starts_with(name)).unwrap();
            line.split_whitespace().map(str::to_owned).collect::<Vec<_>>()
        };
        for (name, special) in [("all", ["2", "62"]), ("half", ["1", "31"]), ("some", ["1", "31"])]
        {
            let cells = cells(name);
            assert_eq!(cells[cells.len() - 2..], special, "{text}");
            assert!(!cells.contains(&"inf".to_owned()), "{text}");
        }
        let whole = cells("none");
        assert!(whole.contains(&"inf".to_owned()) || whole.contains(&"identical".to_owned()));
    }
    assert!(text.contains("inputs with 4 NaN and 0 Inf; 124 finite values lost"), "{text}");
    assert!(text.contains("dB of 128 of 256 values"), "{text}");
}

/// The floor rule keeps a block's exponent, so its bytes come again; the smallest scale without
/// clipping may shrink by half, but the values stay.
#[test]
fn quantizing_what_was_restored_changes_nothing() {
    let folder = Folder::new();
    let x = weights(16 * 100, 14);
    let input = folder.file("in", &[("w", f32s(&[16, 100], &x))]);
    let [q1, d1, q2, d2] = ["q1", "d1", "q2", "d2"].map(|name| folder.path(name));
    let floats = ["mxfp8-e4m3", "mxfp8-e5m2", "mxfp6-e2m3", "mxfp6-e3m2", "mxfp4"];
    for (name, profile) in floats.iter().flat_map(|name| [(name, "ocp"), (name, "rceil")]) {
        let more = ["--format", name, "--profile", profile, "--force"];
        convert("quantize", &input, &q1, &more).ok();
        convert("dequantize", &q1, &d1, &["--force"]).ok();
        convert("quantize", &d1, &q2, &more).ok();
        convert("dequantize", &q2, &d2, &["--force"]).ok();
        if profile == "ocp" {
            assert_eq!(fs::read(&q1).unwrap(), fs::read(&q2).unwrap(), "{name}");
        }
        assert_eq!(fs::read(&d1).unwrap(), fs::read(&d2).unwrap(), "{name} {profile}");
    }
}

#[test]
fn a_quantized_file_can_be_quantized_further() {
    let folder = Folder::new();
    let (a, b) = (weights(64, 15), weights(64, 16));
    let input = folder.file("in", &[("a", f32s(&[2, 32], &a)), ("b", f32s(&[2, 32], &b))]);
    let [first, second, restored] = ["1", "2", "d"].map(|name| folder.path(name));
    convert("quantize", &input, &first, &["--format", "nvfp4", "--exclude", "b"]).ok();
    let json = convert("quantize", &first, &second, &["--format", "mxint8", "--json"]).json();
    assert_eq!(entry(&json, "a.codes")["reason"], "part of a quantized tensor");
    let file = read(&second);
    holds(&file, "a", &blockscale::quantize(&a, &[2, 32], Format::NVFP4).unwrap());
    holds(&file, "b", &blockscale::quantize(&b, &[2, 32], Format::MXINT8).unwrap());
    convert("dequantize", &second, &restored, &[]).ok();
    assert_eq!(read(&restored).keys().collect::<Vec<_>>(), ["a", "b"]);
}
