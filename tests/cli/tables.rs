//! `formats`, `demo` and the help.

use crate::support::*;
use blockscale::format::Format;
use blockscale::numerics::Profile;

#[test]
fn formats_lists_every_format_with_its_profiles() {
    let json = run(&["formats", "--json"]).json();
    let formats = json["formats"].as_array().unwrap();
    assert_eq!(formats.len(), NAMED.len());
    let text = run(&["formats"]).ok().out;
    for (listed, name) in formats.iter().zip(NAMED) {
        let format: Format = name.parse().unwrap();
        assert_eq!(listed["name"], name);
        assert_eq!(listed["block"], format.block());
        assert_eq!(listed["bits_per_element"], format.bits_per_element());
        assert_eq!(listed["element"]["max"], f64::from(format.element().max()));
        let profiles: Vec<_> =
            listed["profiles"].as_array().unwrap().iter().map(|profile| &profile["name"]).collect();
        let expected: Vec<_> = Profile::all(format).iter().map(|p| p.name().to_owned()).collect();
        assert_eq!(profiles, expected.iter().collect::<Vec<_>>());
        let line = |with: &str| text.lines().any(|l| l.starts_with(name) && l.contains(with));
        assert!(line(&expected.join(", ")), "{name}");
        assert!(line(&format!(" {} ", format.bits_per_element())), "{name}");
    }
    // 6 bits are a byte each in the raw layout.
    let raw = |name: &str| {
        formats.iter().find(|f| f["name"] == name).unwrap()["raw_bits_per_element"].as_f64()
    };
    let bits =
        ["mxfp8-e4m3", "mxfp6-e2m3", "mxint6", "mxfp4", "nvfp4"].map(|name| raw(name).unwrap());
    assert_eq!(bits, [8.25, 8.25, 8.25, 4.25, 4.5]);
    assert!(
        text.contains("--target raw") && run(&["quantize", "--help"]).ok().out.contains("not 6.25")
    );
    let e5m2 = &formats[1]["element"];
    assert_eq!((&e5m2["bias"], &e5m2["specials"]), (&15.into(), &"Inf, NaN".into()));
    assert_eq!(formats[5]["element"]["bias"], serde_json::Value::Null);
}

#[test]
fn formats_has_the_constants_of_the_scales() {
    let json = run(&["formats", "--json"]).json();
    let expected = [
        ("e8m0", 127, 2f64.powi(127), 2f64.powi(-127), 2f64.powi(-127)),
        ("e4m3", 7, 448.0, 2f64.powi(-6), 2f64.powi(-9)),
        ("ue5m3", 15, 114688.0, 2f64.powi(-14), 2f64.powi(-17)),
    ];
    let expected = expected.map(|(name, bias, max, min_normal, min_positive)| {
        serde_json::json!({
            "name": name, "bits": 8, "bias": bias, "max": max, "min_normal": min_normal,
            "min_positive": min_positive, "nan_code": 255,
        })
    });
    assert_eq!(json["scales"], serde_json::json!(expected));
    let text = run(&["formats"]).ok().out;
    let words: Vec<Vec<&str>> =
        text.lines().map(|line| line.split_whitespace().collect()).collect();
    for line in [
        ["e8m0", "8", "127", "2^127", "2^-127", "2^-127", "0xFF"],
        ["e4m3", "8", "7", "448", "2^-6", "2^-9", "0xFF"],
        ["ue5m3", "8", "15", "114688", "2^-14", "2^-17", "0xFF"],
    ] {
        assert!(words.contains(&line.to_vec()), "{text}");
    }
}

#[test]
fn demo_is_the_same_every_time_and_has_every_format() {
    let first = run(&["demo"]).ok().out;
    assert_eq!(first, run(&["demo"]).ok().out);
    let qsnr: Vec<f64> = NAMED
        .iter()
        .map(|name| {
            let line = first.lines().find(|line| line.split(' ').next() == Some(name)).unwrap();
            line.split_whitespace().nth(4).unwrap().parse().unwrap()
        })
        .collect();
    assert!(qsnr.iter().all(|qsnr| (12.0..45.0).contains(qsnr)), "{qsnr:?}");
    let of = |name| qsnr[NAMED.iter().position(|named| *named == name).unwrap()];
    assert!(of("mxint8") > of("mxint6") && of("mxint6") > of("mxint4"));
    assert!(of("nvfp4") > of("mxfp4") && of("mxfp8-e4m3") > of("mxfp8-e5m2"));
}

#[test]
fn help_has_an_example_of_each_command() {
    for command in ["formats", "demo", "quantize", "dequantize", "inspect", "doctor"] {
        let help = run(&[command, "--help"]).ok().out;
        assert!(help.contains(&format!("\n  blockscale {command}")), "{help}");
        assert!(run(&["--help"]).ok().out.contains(command));
    }
    let help = run(&["quantize", "--help"]).ok().out;
    for option in [
        "--output",
        "--format",
        "--profile",
        "--rounding",
        "--unbiased",
        "--seed",
        "--stochastic-bits",
        "--rotate",
        "--signs",
        "--scale-search",
        "--block-2d",
        "--axis",
        "--include",
        "--exclude",
        "--target",
        "--backend",
        "--force",
        "--json",
    ] {
        assert!(help.contains(option), "{option}");
    }
    assert!(NAMED.iter().all(|name| help.contains(name)), "{help}");
}

#[test]
fn wrong_usage_exits_with_two() {
    let cases: [&[&str]; 9] = [
        &[],
        &["frobnicate"],
        &["quantize"],
        &["quantize", "in"],
        &["quantize", "in", "-o", "out"],
        &["quantize", "in", "-o", "out", "--format", "mxfp5"],
        &["quantize", "in", "-o", "out", "--format", "mxfp4", "--seed", "-1"],
        &["quantize", "in", "-o", "out", "--format", "mxfp4", "--target", "gguf"],
        &["inspect"],
    ];
    for case in cases {
        let run = run(case);
        assert_eq!((run.code, run.out.as_str()), (Some(2), ""), "{case:?}");
    }
    let profile = ["quantize", "in", "-o", "out", "--format", "mxint6", "--profile", "even"];
    run(&profile).refuses(&["mxint6 has no profile 'even'; it has: ceil, ocp"]);
    let knob = ["quantize", "in", "-o", "out", "--format", "mxfp4", "--profile", "ocp+fast=1"];
    run(&knob).refuses(&["unknown knob 'fast'"]);
}
