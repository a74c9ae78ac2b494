//! What must not be accepted.

use crate::harness::{device, module, refusal};
use blockscale_emulator::error::LoadError;

#[test]
fn unknown_instructions_and_modifiers_by_name() {
    for (code, word) in [
        ("frobnicate.u32 %r1, %r2;", "frobnicate"),
        ("add.wrong.u32 %r1, %r2, %r3;", ".wrong"),
        ("ld.global.L3::fast.u32 %r1, [%x1];", ".L3::fast"),
        ("ld.global.L2::no_allocate.u32 %r1, [%x1];", ".L2::no_allocate"),
        ("mbarrier.init.shared.b64 [%r1], 1;", "mbarrier"),
        ("wgmma.fence.sync.aligned;", "wgmma"),
        ("tcgen05.wait::ld.sync.aligned;", "tcgen05"),
        ("cp.async.bulk.commit_group;", "cp.async.bulk.commit_group"),
        ("tex.2d.v4.f32.f32 {%f1, %f2, %f3, %f4}, [%x1, {%f1, %f2}];", "tex"),
        ("mov.u32 %r1, %nosuch;", "%nosuch"),
        ("add.u32 %r1, %r2, %r99;", "%r99"),
        ("shfl.bfly.b32 %r1, %r2, 1, 31;", "shfl.bfly.b32"),
        ("cvt.rn.satfinite.e4m3x2.s32 %h1, %r1;", "cvt.rn.satfinite.e4m3x2.s32"),
        ("cvt.f32.s32 %f1, %r1;", "cvt.f32.s32"),
        ("cvt.s32.f32 %r1, %f1;", "cvt.s32.f32"),
        ("fma.f32 %f1, %f2, %f3, %f4;", "rounding"),
        ("call (%r1), %x1, (%r2);", "%r1"),
        ("bra NOWHERE;", "NOWHERE"),
        ("atom.global.add.s64 %x1, [%x2], %x3;", "atom.global.add.s64"),
    ] {
        let message = refusal("sm_90", code);
        assert!(message.contains(word), "{code}: {message}");
    }
    assert!(refusal("sm_90", "add.u32 %r1, %r2;").contains("operands"));
}

/// Instruction, the targets that have it, those that have not.
#[test]
fn instructions_by_target() {
    let table: &[(&str, &[&str], &[&str])] = &[
        (
            "cvt.rn.satfinite.e4m3x2.f32 %h1, %f1, %f2;",
            &["sm_89", "sm_90a", "sm_100", "sm_120"],
            &["sm_80", "sm_86"],
        ),
        (
            "cvt.rn.satfinite.e2m1x2.f32 %b1, %f1, %f2;",
            &["sm_100a", "sm_100f", "sm_103a", "sm_120a", "sm_120f", "sm_121a"],
            &["sm_80", "sm_90a", "sm_100", "sm_120"],
        ),
        (
            "cvt.rp.satfinite.ue8m0x2.f32 %h1, %f1, %f2;",
            &["sm_100a", "sm_120f"],
            &["sm_90a", "sm_100"],
        ),
        ("cvt.rn.satfinite.e2m3x2.f32 %h1, %f1, %f2;", &["sm_103f"], &["sm_90", "sm_120"]),
        (
            "cvt.rs.satfinite.e2m1x4.f32 %h1, {%f1, %f2, %f3, %f4}, %r1;",
            &["sm_100a", "sm_103a"],
            &["sm_100f", "sm_103f", "sm_120a", "sm_90a"],
        ),
        ("cvt.rs.bf16x2.f32 %r1, %f1, %f2, %r2;", &["sm_100a"], &["sm_100f", "sm_120a"]),
        (
            "redux.sync.max.abs.f32 %f1, %f2, -1;",
            &["sm_100a", "sm_103f"],
            &["sm_100", "sm_90a", "sm_120a"],
        ),
        ("max.f32 %f1, %f2, %f3, %f4;", &["sm_100", "sm_120"], &["sm_90a"]),
        ("max.xorsign.abs.f32 %f1, %f2, %f3;", &["sm_86", "sm_90"], &["sm_80"]),
        ("add.rn.f32x2 %x1, %x2, %x3;", &["sm_100", "sm_120"], &["sm_90a"]),
        (
            "ld.global.v8.f32 {%f1, %f2, %f3, %f4, %f5, %f6, %f7, %f8}, [%x1];",
            &["sm_100"],
            &["sm_90a"],
        ),
        ("stmatrix.sync.aligned.m8n8.x1.shared.b16 [%r1], {%r2};", &["sm_90"], &["sm_80", "sm_89"]),
        ("elect.sync %r1|%p1, -1;", &["sm_90"], &["sm_89"]),
        ("griddepcontrol.wait;", &["sm_90"], &["sm_80"]),
        ("setmaxnreg.dec.sync.aligned.u32 40;", &["sm_90a", "sm_100f"], &["sm_90", "sm_100"]),
        (
            "mma.sync.aligned.m16n8k32.row.col.f32.e4m3.e4m3.f32 {%f1, %f2, %f3, %f4}, {%r1, %r2, %r3, %r4}, {%r5, %r6}, {%f1, %f2, %f3, %f4};",
            &["sm_89", "sm_120"],
            &["sm_80"],
        ),
        (
            "mma.sync.aligned.m16n8k32.row.col.kind::f8f6f4.f32.e2m1.e4m3.f32 {%f1, %f2, %f3, %f4}, {%r1, %r2, %r3, %r4}, {%r5, %r6}, {%f1, %f2, %f3, %f4};",
            &["sm_120a", "sm_120f", "sm_121a"],
            &["sm_100a", "sm_120"],
        ),
        (
            "mma.sync.aligned.m16n8k64.row.col.kind::mxf4.block_scale.scale_vec::2X.f32.e2m1.e2m1.f32.ue8m0 {%f1, %f2, %f3, %f4}, {%r1, %r2, %r3, %r4}, {%r5, %r6}, {%f1, %f2, %f3, %f4}, %r7, {0, 0}, %r8, {0, 0};",
            &["sm_120a", "sm_121a"],
            &["sm_100a", "sm_90a"],
        ),
        ("add.bf16x2 %r1, %r2, %r3;", &["sm_90"], &["sm_80"]),
    ];
    for (code, yes, no) in table {
        for target in *yes {
            let text = module(target, "", "", code);
            device(target)
                .load(text.as_bytes())
                .unwrap_or_else(|error| panic!("{target}: {error}"));
        }
        for target in *no {
            assert!(refusal(target, code).contains("illegal on"), "{target}: {code}");
        }
    }
}

#[test]
fn images_that_are_not_for_this_device() {
    let load = |device_target: &str, image: &[u8]| device(device_target).load(image).unwrap_err();
    assert!(matches!(load("sm_90", b"\x7fELF\x02\x01\x01"), LoadError::NotPtx(_)));
    assert!(matches!(load("sm_90", &[0x50, 0xed, 0x55, 0xba, 1, 0]), LoadError::NotPtx(_)));
    let text = |target: &str| module(target, "", "", "");
    assert!(matches!(load("sm_80", text("sm_90").as_bytes()), LoadError::Target { .. }));
    assert!(matches!(load("sm_100", text("sm_90a").as_bytes()), LoadError::Target { .. }));
    assert!(matches!(load("sm_120", text("sm_100f").as_bytes()), LoadError::Target { .. }));
    assert!(device("sm_103").load(text("sm_100f").as_bytes()).is_ok());
    assert!(device("sm_120").load(text("sm_80").as_bytes()).is_ok());
    let newer = text("sm_80").replace(".version 9.5", ".version 9.9");
    assert!(matches!(load("sm_80", newer.as_bytes()), LoadError::Version(9, 9, ..)));
    assert!(matches!(load("sm_80", b"not ptx"), LoadError::Invalid { .. }));
}

/// Forms that came after the families' first version.
#[test]
fn instructions_by_version() {
    for (code, needed) in [
        ("cvt.rn.satfinite.e4m3x2.bf16x2 %h1, %r1;", "9.1"),
        ("cvt.rn.bf16x2.e4m3x2 %r1, %h1;", "9.2"),
        ("cvt.rn.bf16x2.e2m1x2 %r1, %b1;", "9.2"),
    ] {
        let text = module("sm_120a", "", "", code);
        assert!(device("sm_120a").load(text.as_bytes()).is_ok(), "{code}");
        let older = text.replace(".version 9.5", ".version 9.0");
        let message = device("sm_120a").load(older.as_bytes()).unwrap_err().to_string();
        assert!(message.contains(&format!("PTX version {needed}")), "{message}");
    }
}

/// Whatever the bytes, the parser answers; it never panics.
#[test]
fn cut_text_is_refused_without_a_panic() {
    let text = module(
        "sm_80",
        ".param .u64 p",
        ".global .u32 v[2] = {1, 2};",
        "add.u32 %r1, %r2, 5; @%p1 bra L; L: ld.global.v2.u32 {%r1, %r2}, [%x1+4];",
    );
    for end in 0..text.len() {
        let _ = device("sm_80").load(&text.as_bytes()[..end]);
        let mut changed = text.clone().into_bytes();
        changed[end] = b'}';
        let _ = device("sm_80").load(&changed);
        changed[end] = b'9';
        let _ = device("sm_80").load(&changed);
    }
}
