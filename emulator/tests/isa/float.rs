use crate::harness::{check, d, eval, f};

const NAN: u64 = 0x7fff_ffff;

#[test]
fn arithmetic_in_every_direction() {
    let tiny = 2f32.powi(-30);
    for (mode, sum, product) in [
        ("rn", 1.0f32, 1.0f32 / 3.0),
        ("rz", 1.0, (1.0f32 / 3.0).next_down()),
        ("rm", 1.0, (1.0f32 / 3.0).next_down()),
        ("rp", 1.0f32.next_up(), 1.0 / 3.0),
    ] {
        check(
            "sm_80",
            "%f0",
            &format!("add.{mode}.f32 %f0, %f1, %f2;"),
            &[(&[f(1.0), f(tiny)], f(sum))],
        );
        check(
            "sm_80",
            "%f0",
            &format!("sub.{mode}.f32 %f0, %f1, %f2;"),
            &[(&[f(1.0), f(-tiny)], f(sum))],
        );
        // fl(1/3) is above 1/3.
        check(
            "sm_80",
            "%f0",
            &format!("div.{mode}.f32 %f0, %f1, %f2;"),
            &[(&[f(1.0), f(3.0)], f(product))],
        );
        check("sm_80", "%f0", &format!("rcp.{mode}.f32 %f0, %f1;"), &[(&[f(3.0)], f(product))]);
        check(
            "sm_80",
            "%f0",
            &format!("fma.{mode}.f32 %f0, %f1, %f2, %f3;"),
            &[(&[f(tiny), f(1.0), f(1.0)], f(sum))],
        );
        check(
            "sm_80",
            "%d0",
            &format!("add.{mode}.f64 %d0, %d1, %d2;"),
            &[(&[d(1.5), d(2.0)], d(3.5))],
        );
        check(
            "sm_80",
            "%d0",
            &format!("mul.{mode}.f64 %d0, %d1, %d2;"),
            &[(&[d(1.5), d(2.0)], d(3.0))],
        );
        check(
            "sm_80",
            "%d0",
            &format!("div.{mode}.f64 %d0, %d1, %d2;"),
            &[(&[d(3.0), d(2.0)], d(1.5))],
        );
        check("sm_80", "%d0", &format!("sqrt.{mode}.f64 %d0, %d1;"), &[(&[d(4.0)], d(2.0))]);
        check("sm_80", "%f0", &format!("sqrt.{mode}.f32 %f0, %f1;"), &[(&[f(9.0)], f(3.0))]);
        check(
            "sm_80",
            "%f0",
            &format!("mul.{mode}.f32 %f0, %f1, %f2;"),
            &[(&[f(1.5), f(-2.0)], f(-3.0))],
        );
    }
    check(
        "sm_80",
        "%f0",
        "add.f32 %f0, %f1, %f2;",
        &[
            (&[f(1.0), f(2.0)], f(3.0)),
            (&[f(f32::INFINITY), f(f32::NEG_INFINITY)], NAN),
            (&[0xffc0_0001, f(1.0)], NAN),
        ],
    );
    check(
        "sm_80",
        "%f0",
        "mad.rn.f32 %f0, %f1, %f2, %f3;",
        &[(&[f(2.0), f(3.0), f(4.0)], f(10.0))],
    );
    check(
        "sm_80",
        "%d0",
        "fma.rn.f64 %d0, %d1, %d2, %d3;",
        &[(&[d(2.0), d(3.0), d(4.0)], d(10.0))],
    );
    check("sm_80", "%d0", "rcp.rn.f64 %d0, %d1;", &[(&[d(4.0)], d(0.25))]);
}

#[test]
fn flush_and_saturate() {
    let small = f(1e-40);
    check(
        "sm_80",
        "%f0",
        "add.ftz.f32 %f0, %f1, %f2;",
        &[(&[small, f(0.0)], 0), (&[small | 1 << 31, f(-0.0)], 1 << 31)],
    );
    check("sm_80", "%f0", "add.f32 %f0, %f1, %f2;", &[(&[small, f(0.0)], small)]);
    check("sm_80", "%f0", "mul.ftz.f32 %f0, %f1, %f2;", &[(&[f(1e-30), f(1e-10)], 0)]);
    check(
        "sm_80",
        "%f0",
        "add.sat.f32 %f0, %f1, %f2;",
        &[(&[f(1.0), f(2.0)], f(1.0)), (&[f(-1.0), f(0.5)], 0), (&[NAN, 0], 0)],
    );
    check(
        "sm_80",
        "%f0",
        "fma.rn.ftz.sat.f32 %f0, %f1, %f2, %f3;",
        &[(&[f(3.0), f(2.0), f(1.0)], f(1.0))],
    );
    check("sm_80", "%f0", "abs.ftz.f32 %f0, %f1;", &[(&[small | 1 << 31], 0)]);
}

#[test]
fn sign_operations() {
    check("sm_80", "%f0", "abs.f32 %f0, %f1;", &[(&[f(-2.0)], f(2.0)), (&[f(-0.0)], 0)]);
    check("sm_80", "%f0", "neg.f32 %f0, %f1;", &[(&[f(2.0)], f(-2.0)), (&[0], f(-0.0))]);
    check("sm_80", "%d0", "abs.f64 %d0, %d1;", &[(&[d(-2.0)], d(2.0))]);
    check("sm_80", "%h0", "abs.f16 %h0, %h1;", &[(&[0xc000], 0x4000)]);
    check("sm_80", "%r0", "neg.bf16x2 %r0, %r1;", &[(&[0x3f80_bf80], 0xbf80_3f80)]);
    check("sm_80", "%r0", "abs.f16x2 %r0, %r1;", &[(&[0xc000_4000], 0x4000_4000)]);
    check("sm_80", "%r0", "abs.bf16x2 %r0, %r1;", &[(&[0xbf80_bf80], 0x3f80_3f80)]);
    // The sign of the first operand, the magnitude of the second.
    check("sm_80", "%f0", "copysign.f32 %f0, %f1, %f2;", &[(&[f(-1.0), f(3.0)], f(-3.0))]);
    check("sm_80", "%d0", "copysign.f64 %d0, %d1, %d2;", &[(&[d(-1.0), d(3.0)], d(-3.0))]);
}

#[test]
fn minimum_and_maximum() {
    check(
        "sm_80",
        "%f0",
        "min.f32 %f0, %f1, %f2;",
        &[
            (&[f(1.0), f(2.0)], f(1.0)),
            (&[NAN, f(2.0)], f(2.0)),
            (&[NAN, NAN], NAN),
            (&[f(0.0), f(-0.0)], f(-0.0)),
        ],
    );
    check(
        "sm_80",
        "%f0",
        "max.f32 %f0, %f1, %f2;",
        &[(&[f(-0.0), f(0.0)], 0), (&[f(1.0), NAN], f(1.0))],
    );
    check(
        "sm_80",
        "%f0",
        "max.NaN.f32 %f0, %f1, %f2;",
        &[(&[f(1.0), 0xffc0_0000], NAN), (&[f(1.0), f(2.0)], f(2.0))],
    );
    check("sm_80", "%f0", "min.NaN.f32 %f0, %f1, %f2;", &[(&[NAN, f(1.0)], NAN)]);
    check(
        "sm_86",
        "%f0",
        "max.xorsign.abs.f32 %f0, %f1, %f2;",
        &[(&[f(-3.0), f(2.0)], f(-3.0)), (&[f(-3.0), f(-4.0)], f(4.0))],
    );
    check("sm_80", "%d0", "max.f64 %d0, %d1, %d2;", &[(&[d(1.0), d(f64::NAN)], d(1.0))]);
    check(
        "sm_80",
        "%h0",
        "max.f16 %h0, %h1, %h2;",
        &[(&[0x3c00, 0x4000], 0x4000), (&[0x7e00, 0x3c00], 0x3c00)],
    );
    check(
        "sm_80",
        "%r0",
        "max.bf16x2 %r0, %r1, %r2;",
        &[(&[0x3f80_4000, 0x4000_3f80], 0x4000_4000)],
    );
    check(
        "sm_80",
        "%r0",
        "min.NaN.bf16x2 %r0, %r1, %r2;",
        &[(&[0x7fc0_4000, 0x4000_3f80], 0x7fff_3f80)],
    );
    check(
        "sm_80",
        "%r0",
        "min.f16x2 %r0, %r1, %r2;",
        &[(&[0x3c00_4000, 0x4000_3c00], 0x3c00_3c00)],
    );
    check("sm_100", "%f0", "max.f32 %f0, %f1, %f2, %f3;", &[(&[f(1.0), f(3.0), f(2.0)], f(3.0))]);
    check(
        "sm_100",
        "%f0",
        "max.abs.f32 %f0, %f1, %f2, %f3;",
        &[(&[f(1.0), f(-3.0), f(2.0)], f(3.0))],
    );
    check("sm_100", "%f0", "min.NaN.f32 %f0, %f1, %f2, %f3;", &[(&[f(1.0), NAN, f(2.0)], NAN)]);
}

#[test]
fn sixteen_bit_arithmetic() {
    check(
        "sm_80",
        "%h0",
        "add.f16 %h0, %h1, %h2;",
        &[(&[0x3c00, 0x4000], 0x4200), (&[0x7bff, 0x7bff], 0x7c00)],
    );
    check("sm_80", "%h0", "sub.rn.f16 %h0, %h1, %h2;", &[(&[0x3c00, 0x4000], 0xbc00)]);
    check("sm_80", "%h0", "mul.f16 %h0, %h1, %h2;", &[(&[0x4000, 0x4200], 0x4600)]);
    check("sm_80", "%h0", "add.sat.f16 %h0, %h1, %h2;", &[(&[0x4000, 0x4200], 0x3c00)]);
    check(
        "sm_80",
        "%r0",
        "add.f16x2 %r0, %r1, %r2;",
        &[(&[0x3c00_4000, 0x3c00_4000], 0x4000_4400)],
    );
    check(
        "sm_80",
        "%r0",
        "fma.rn.f16x2 %r0, %r1, %r2, %r3;",
        &[(&[0x3c00_4000, 0x4000_4000, 0x3c00_3c00], 0x4200_4500)],
    );
    check("sm_80", "%h0", "fma.rn.relu.f16 %h0, %h1, %h2, %h3;", &[(&[0xbc00, 0x4000, 0x3c00], 0)]);
    check(
        "sm_80",
        "%h0",
        "fma.rn.bf16 %h0, %h1, %h2, %h3;",
        &[(&[0x4000, 0x4040, 0x3f80], 0x40e0)],
    );
    check(
        "sm_80",
        "%r0",
        "fma.rn.bf16x2 %r0, %r1, %r2, %r3;",
        &[(&[0x4000_4000, 0x4040_4040, 0x3f80_3f80], 0x40e0_40e0)],
    );
    check(
        "sm_90",
        "%r0",
        "add.bf16x2 %r0, %r1, %r2;",
        &[(&[0x3f80_4000, 0x3f80_4000], 0x4000_4080)],
    );
    check(
        "sm_90",
        "%r0",
        "sub.bf16x2 %r0, %r1, %r2;",
        &[(&[0x3f80_4000, 0x3f80_3f80], 0x0000_3f80)],
    );
    check(
        "sm_90",
        "%r0",
        "mul.rn.bf16x2 %r0, %r1, %r2;",
        &[(&[0x4000_4000, 0x4040_4000], 0x40c0_4080)],
    );
    check("sm_90", "%h0", "mul.bf16 %h0, %h1, %h2;", &[(&[0x4000, 0x4040], 0x40c0)]);
    // A fused operation rounds once: 2^-12 breaks the tie that the product alone would be.
    let a = 0x3c01; // 1 + 2^-10
    check("sm_80", "%h0", "fma.rn.f16 %h0, %h1, %h2, %h3;", &[(&[a, a, 0], 0x3c02)]);
}

#[test]
fn pairs_of_f32() {
    let pair = |low: f32, high: f32| f(low) | f(high) << 32;
    check(
        "sm_100",
        "%x0",
        "add.rn.f32x2 %x0, %x1, %x2;",
        &[(&[pair(1.0, 2.0), pair(3.0, 4.0)], pair(4.0, 6.0))],
    );
    check(
        "sm_100",
        "%x0",
        "mul.f32x2 %x0, %x1, %x2;",
        &[(&[pair(1.0, 2.0), pair(3.0, 4.0)], pair(3.0, 8.0))],
    );
    check(
        "sm_100",
        "%x0",
        "fma.rn.f32x2 %x0, %x1, %x2, %x3;",
        &[(&[pair(1.0, 2.0), pair(3.0, 4.0), pair(1.0, 1.0)], pair(4.0, 9.0))],
    );
}

#[test]
fn approximations_are_close() {
    let close = |code: &str, x: f32, wanted: f64| {
        let got = f64::from(f32::from_bits(eval("sm_80", "%f0", code, &[f(x)]) as u32));
        assert!(
            (got - wanted).abs() <= 1e-6 * wanted.abs().max(1e-3),
            "{code} {x}: {got} {wanted}"
        );
    };
    close("ex2.approx.f32 %f0, %f1;", 1.5, 1.5f64.exp2());
    close("ex2.approx.ftz.f32 %f0, %f1;", -3.0, 0.125);
    close("lg2.approx.f32 %f0, %f1;", 10.0, 10f64.log2());
    close("sin.approx.f32 %f0, %f1;", 0.5, 0.5f64.sin());
    close("cos.approx.f32 %f0, %f1;", 0.5, 0.5f64.cos());
    close("tanh.approx.f32 %f0, %f1;", 0.5, 0.5f64.tanh());
    close("rsqrt.approx.f32 %f0, %f1;", 3.0, 1.0 / 3f64.sqrt());
    close("rcp.approx.ftz.f32 %f0, %f1;", 3.0, 1.0 / 3.0);
    close("sqrt.approx.f32 %f0, %f1;", 3.0, 3f64.sqrt());
    close("div.approx.f32 %f0, %f1, 0f40400000;", 2.0, 2.0 / 3.0);
    close("div.full.ftz.f32 %f0, %f1, 0f40400000;", 2.0, 2.0 / 3.0);
    check("sm_80", "%f0", "lg2.approx.f32 %f0, %f1;", &[(&[0], f(f32::NEG_INFINITY))]);
    check("sm_80", "%h0", "ex2.approx.f16 %h0, %h1;", &[(&[0x3c00], 0x4000)]);
    check("sm_90", "%r0", "ex2.approx.ftz.bf16x2 %r0, %r1;", &[(&[0x3f80_4000], 0x4000_4080)]);
    check("sm_80", "%r0", "tanh.approx.f16x2 %r0, %r1;", &[(&[0], 0)]);
    check("sm_80", "%d0", "rsqrt.approx.f64 %d0, %d1;", &[(&[d(4.0)], d(0.5))]);
}

#[test]
fn comparisons_of_floats() {
    // Operator, then the results for 1 < 2, 2 = 2 and a NaN.
    let table = [
        ("eq", [0, 1, 0]),
        ("ne", [1, 0, 0]),
        ("lt", [1, 0, 0]),
        ("le", [1, 1, 0]),
        ("gt", [0, 0, 0]),
        ("ge", [0, 1, 0]),
        ("equ", [0, 1, 1]),
        ("neu", [1, 0, 1]),
        ("ltu", [1, 0, 1]),
        ("leu", [1, 1, 1]),
        ("gtu", [0, 0, 1]),
        ("geu", [0, 1, 1]),
        ("num", [1, 1, 0]),
        ("nan", [0, 0, 1]),
    ];
    for (op, [less, equal, nan]) in table {
        let single: &[(&[u64], u64)] =
            &[(&[f(1.0), f(2.0)], less), (&[f(2.0), f(2.0)], equal), (&[NAN, f(2.0)], nan)];
        check("sm_80", "%p0", &format!("setp.{op}.f32 %p0, %f1, %f2;"), single);
        let double: &[(&[u64], u64)] =
            &[(&[d(1.0), d(2.0)], less), (&[d(2.0), d(2.0)], equal), (&[d(f64::NAN), d(2.0)], nan)];
        check("sm_80", "%p0", &format!("setp.{op}.f64 %p0, %d1, %d2;"), double);
        let half: &[(&[u64], u64)] =
            &[(&[0x3c00, 0x4000], less), (&[0x4000, 0x4000], equal), (&[0x7e00, 0x4000], nan)];
        check("sm_80", "%p0", &format!("setp.{op}.f16 %p0, %h1, %h2;"), half);
    }
    check("sm_80", "%p0", "setp.eq.ftz.f32 %p0, %f1, %f2;", &[(&[f(1e-40), 0], 1)]);
    check("sm_90", "%p0", "setp.lt.bf16 %p0, %h1, %h2;", &[(&[0x3f80, 0x4000], 1)]);
    check(
        "sm_80",
        "%p1",
        "setp.lt.f16x2 %p0|%p1, %r1, %r2;",
        &[(&[0x4000_3c00, 0x3c00_4000], 0), (&[0x3c00_4000, 0x4000_3c00], 1)],
    );
    check("sm_80", "%p0", "testp.finite.f32 %p0, %f1;", &[(&[f(1.0)], 1), (&[NAN], 0)]);
    check("sm_80", "%p0", "testp.infinite.f32 %p0, %f1;", &[(&[f(f32::INFINITY)], 1)]);
    check("sm_80", "%p0", "testp.number.f64 %p0, %d1;", &[(&[d(f64::NAN)], 0)]);
    check("sm_80", "%p0", "testp.notanumber.f32 %p0, %f1;", &[(&[NAN], 1)]);
    check("sm_80", "%p0", "testp.normal.f32 %p0, %f1;", &[(&[f(1e-40)], 0), (&[f(1.0)], 1)]);
    check("sm_80", "%p0", "testp.subnormal.f32 %p0, %f1;", &[(&[f(1e-40)], 1)]);
}
