use crate::harness::{check, d, eval, f};

const NAN: u64 = 0x7fff_ffff;

#[test]
fn between_integers() {
    check("sm_80", "%x0", "cvt.s64.s32 %x0, %r1;", &[(&[0xffff_fffe], u64::MAX - 1)]);
    check("sm_80", "%x0", "cvt.u64.u32 %x0, %r1;", &[(&[0xffff_fffe], 0xffff_fffe)]);
    check("sm_80", "%r0", "cvt.u32.u64 %r0, %x1;", &[(&[0x1_2345_6789], 0x2345_6789)]);
    check("sm_80", "%r0", "cvt.s32.s8 %r0, %r1;", &[(&[0x80], 0xffff_ff80)]);
    check("sm_80", "%r0", "cvt.u32.u8 %r0, %h1;", &[(&[0x1ff], 0xff)]);
    check("sm_80", "%h0", "cvt.u16.u32 %h0, %r1;", &[(&[0x12345], 0x2345)]);
    // A result narrower than its register is extended by its own type.
    check("sm_80", "%r0", "cvt.s8.s32 %r0, %r1;", &[(&[0x180], 0xffff_ff80)]);
    check("sm_80", "%r0", "cvt.u8.u32 %r0, %r1;", &[(&[0x180], 0x80)]);
    check(
        "sm_80",
        "%r0",
        "cvt.sat.s8.s32 %r0, %r1;",
        &[(&[300], 127), (&[(-300i32) as u32 as u64], 0xffff_ff80)],
    );
    check("sm_80", "%r0", "cvt.sat.u8.s32 %r0, %r1;", &[(&[300], 255), (&[0xffff_ffff], 0)]);
    check(
        "sm_80",
        "%r0",
        "cvt.sat.u32.s64 %r0, %x1;",
        &[(&[u64::MAX], 0), (&[1 << 40], 0xffff_ffff)],
    );
}

#[test]
fn integers_to_floats() {
    check(
        "sm_80",
        "%f0",
        "cvt.rn.f32.s32 %f0, %r1;",
        &[(&[0xffff_ffff], f(-1.0)), (&[16_777_217], f(16_777_216.0))],
    );
    check("sm_80", "%f0", "cvt.rp.f32.s32 %f0, %r1;", &[(&[16_777_217], f(16_777_218.0))]);
    check("sm_80", "%f0", "cvt.rz.f32.u32 %f0, %r1;", &[(&[0xffff_ffff], f(4_294_967_040.0))]);
    check(
        "sm_80",
        "%f0",
        "cvt.rm.f32.s32 %f0, %r1;",
        &[(&[(-16_777_217i32) as u32 as u64], f(-16_777_218.0))],
    );
    check(
        "sm_80",
        "%f0",
        "cvt.rn.f32.u64 %f0, %x1;",
        &[(&[u64::MAX], f(18_446_744_073_709_551_615.0))],
    );
    check("sm_80", "%f0", "cvt.rn.f32.u16 %f0, %h1;", &[(&[0xffff], f(65535.0))]);
    check("sm_80", "%f0", "cvt.rn.f32.s8 %f0, %r1;", &[(&[0xff], f(-1.0))]);
    check("sm_80", "%d0", "cvt.rn.f64.s64 %d0, %x1;", &[(&[u64::MAX], d(-1.0))]);
    check("sm_80", "%h0", "cvt.rn.f16.s32 %h0, %r1;", &[(&[3], 0x4200), (&[100_000], 0x7c00)]);
    check("sm_90", "%h0", "cvt.rn.bf16.u32 %h0, %r1;", &[(&[3], 0x4040)]);
}

#[test]
fn floats_to_integers() {
    for (mode, up, down) in [("rni", 2, -2), ("rzi", 1, -1), ("rmi", 1, -2), ("rpi", 2, -1)] {
        let code = format!("cvt.{mode}.s32.f32 %r0, %f1;");
        check("sm_80", "%r0", &code, &[(&[f(1.5)], up), (&[f(-1.5)], u64::from(down as u32))]);
    }
    check(
        "sm_80",
        "%r0",
        "cvt.rzi.s32.f32 %r0, %f1;",
        &[(&[f(1e20)], 0x7fff_ffff), (&[f(-1e20)], 0x8000_0000), (&[NAN], 0)],
    );
    check(
        "sm_80",
        "%r0",
        "cvt.rzi.u32.f32 %r0, %f1;",
        &[(&[f(-1.0)], 0), (&[f(4e9)], 4_000_000_000)],
    );
    check(
        "sm_80",
        "%x0",
        "cvt.rzi.s64.f32 %x0, %f1;",
        &[(&[f(-3.7)], (-3i64) as u64), (&[NAN], 1 << 63)],
    );
    check(
        "sm_80",
        "%r0",
        "cvt.rzi.s32.f64 %r0, %d1;",
        &[(&[d(-3.7)], 0xffff_fffd), (&[d(f64::NAN)], 0x8000_0000)],
    );
    check("sm_80", "%h0", "cvt.rni.u16.f32 %h0, %f1;", &[(&[f(70000.0)], 0xffff)]);
    check(
        "sm_80",
        "%r0",
        "cvt.rni.s8.f32 %r0, %f1;",
        &[(&[f(200.0)], 127), (&[f(-2.5)], 0xffff_fffe)],
    );
    check("sm_80", "%r0", "cvt.rzi.s32.f16 %r0, %h1;", &[(&[0x4200], 3)]);
    check("sm_90", "%r0", "cvt.rni.s32.bf16 %r0, %h1;", &[(&[0x4040], 3)]);
    check("sm_80", "%r0", "cvt.rni.ftz.s32.f32 %r0, %f1;", &[(&[f(1e-40)], 0)]);
}

#[test]
fn between_floats() {
    check("sm_80", "%d0", "cvt.f64.f32 %d0, %f1;", &[(&[f(1.5)], d(1.5))]);
    check(
        "sm_80",
        "%f0",
        "cvt.rn.f32.f64 %f0, %d1;",
        &[(&[d(0.1)], f(0.1)), (&[d(1e300)], f(f32::INFINITY))],
    );
    check(
        "sm_80",
        "%f0",
        "cvt.rz.f32.f64 %f0, %d1;",
        &[(&[d(1e300)], f(f32::MAX)), (&[d(0.1)], f(0.1f32.next_down()))],
    );
    check(
        "sm_80",
        "%f0",
        "cvt.f32.f16 %f0, %h1;",
        &[(&[0x3c01], f(1.0 + 2f32.powi(-10))), (&[0x0001], f(2f32.powi(-24)))],
    );
    check("sm_90", "%f0", "cvt.f32.bf16 %f0, %h1;", &[(&[0x3fc0], f(1.5))]);
    check(
        "sm_80",
        "%h0",
        "cvt.rn.f16.f32 %h0, %f1;",
        &[(&[f(65520.0)], 0x7c00), (&[f(1.0)], 0x3c00), (&[NAN], 0x7fff), (&[f(-0.0)], 0x8000)],
    );
    check("sm_80", "%h0", "cvt.rz.f16.f32 %h0, %f1;", &[(&[f(65520.0)], 0x7bff)]);
    check(
        "sm_80",
        "%h0",
        "cvt.rn.satfinite.f16.f32 %h0, %f1;",
        &[(&[f(1e9)], 0x7bff), (&[NAN], 0x7fff)],
    );
    check("sm_80", "%h0", "cvt.rn.relu.f16.f32 %h0, %f1;", &[(&[f(-1.0)], 0), (&[NAN], 0x7fff)]);
    check(
        "sm_80",
        "%h0",
        "cvt.rn.bf16.f32 %h0, %f1;",
        &[(&[0x3f80_8000], 0x3f80), (&[0x3f81_8000], 0x3f82), (&[NAN], 0x7fff)],
    );
    check("sm_80", "%h0", "cvt.rz.bf16.f32 %h0, %f1;", &[(&[0x3f81_ffff], 0x3f81)]);
    check("sm_80", "%h0", "cvt.rn.f16.f64 %h0, %d1;", &[(&[d(1.5)], 0x3e00)]);
    check(
        "sm_80",
        "%f0",
        "cvt.rni.f32.f32 %f0, %f1;",
        &[(&[f(2.5)], f(2.0)), (&[f(-0.3)], f(-0.0))],
    );
    check("sm_80", "%f0", "cvt.rmi.f32.f32 %f0, %f1;", &[(&[f(-2.5)], f(-3.0))]);
    check("sm_80", "%f0", "cvt.rpi.f32.f32 %f0, %f1;", &[(&[f(2.1)], f(3.0))]);
    check("sm_80", "%f0", "cvt.rzi.f32.f32 %f0, %f1;", &[(&[f(-2.9)], f(-2.0))]);
    check(
        "sm_80",
        "%f0",
        "cvt.sat.f32.f32 %f0, %f1;",
        &[(&[f(2.0)], f(1.0)), (&[f(-2.0)], 0), (&[NAN], 0)],
    );
    check("sm_80", "%f0", "cvt.ftz.f32.f32 %f0, %f1;", &[(&[f(1e-40)], 0)]);
    check("sm_80", "%r0", "cvt.rna.tf32.f32 %r0, %f1;", &[(&[0x3f80_1000], 0x3f80_2000)]);
    check("sm_90", "%r0", "cvt.rn.tf32.f32 %r0, %f1;", &[(&[0x3f80_1000], 0x3f80_0000)]);
}

#[test]
fn packing_two() {
    check("sm_80", "%r0", "cvt.rn.bf16x2.f32 %r0, %f1, %f2;", &[(&[f(1.0), f(2.0)], 0x3f80_4000)]);
    check(
        "sm_80",
        "%r0",
        "cvt.rz.bf16x2.f32 %r0, %f1, %f2;",
        &[(&[0x3f80_ffff, f(2.0)], 0x3f80_4000)],
    );
    check("sm_80", "%r0", "cvt.rn.f16x2.f32 %r0, %f1, %f2;", &[(&[f(1.0), f(2.0)], 0x3c00_4000)]);
    check("sm_80", "%r0", "cvt.rn.relu.bf16x2.f32 %r0, %f1, %f2;", &[(&[f(-1.0), f(2.0)], 0x4000)]);
    check(
        "sm_89",
        "%h0",
        "cvt.rn.satfinite.e4m3x2.f32 %h0, %f1, %f2;",
        &[
            (&[f(1.0), f(1000.0)], 0x387e),
            (&[NAN, f(-1000.0)], 0x7ffe),
            (&[f(-0.0), f(0.0)], 0x8000),
        ],
    );
    check(
        "sm_89",
        "%h0",
        "cvt.rn.satfinite.e5m2x2.f32 %h0, %f1, %f2;",
        &[(&[f(1.0), f(1e9)], 0x3c7b)],
    );
    check(
        "sm_89",
        "%h0",
        "cvt.rn.satfinite.relu.e4m3x2.f32 %h0, %f1, %f2;",
        &[(&[f(-1.0), f(1.0)], 0x0038)],
    );
    check("sm_89", "%h0", "cvt.rn.satfinite.e4m3x2.f16x2 %h0, %r1;", &[(&[0x3c00_4000], 0x3840)]);
    check(
        "sm_89",
        "%r0",
        "cvt.rn.f16x2.e4m3x2 %r0, %h1;",
        &[(&[0x3840], 0x3c00_4000), (&[0x7fb8], 0x7fff_bc00)],
    );
    check("sm_89", "%r0", "cvt.rn.f16x2.e5m2x2 %r0, %h1;", &[(&[0x3c7c], 0x3c00_7c00)]);
    check("sm_100a", "%r0", "cvt.rn.bf16x2.e4m3x2 %r0, %h1;", &[(&[0x3840], 0x3f80_4000)]);
    check(
        "sm_100a",
        "%h0",
        "cvt.rn.satfinite.e4m3x2.bf16x2 %h0, %r1;",
        &[(&[0x3f80_4000], 0x3840)],
    );
}

#[test]
fn packing_four_and_six_bits() {
    check(
        "sm_100a",
        "%b0",
        "cvt.rn.satfinite.e2m1x2.f32 %b0, %f1, %f2;",
        &[(&[f(6.0), f(-0.5)], 0x79), (&[f(5.0), f(0.25)], 0x60), (&[NAN, f(-100.0)], 0x7f)],
    );
    check("sm_120a", "%b0", "cvt.rn.satfinite.e2m1x2.f16x2 %b0, %r1;", &[(&[0x4600_3c00], 0x72)]);
    check("sm_120f", "%r0", "cvt.rn.f16x2.e2m1x2 %r0, %b1;", &[(&[0x79], 0x4600_b800)]);
    check("sm_103a", "%r0", "cvt.rn.bf16x2.e2m1x2 %r0, %b1;", &[(&[0x79], 0x40c0_bf00)]);
    check(
        "sm_100a",
        "%h0",
        "cvt.rn.satfinite.e2m3x2.f32 %h0, %f1, %f2;",
        &[(&[f(7.5), f(-1.0)], 0x1f28)],
    );
    check(
        "sm_100a",
        "%h0",
        "cvt.rn.satfinite.e3m2x2.f32 %h0, %f1, %f2;",
        &[(&[f(99.0), f(1.0)], 0x1f0c)],
    );
    check("sm_100a", "%r0", "cvt.rn.f16x2.e3m2x2 %r0, %h1;", &[(&[0x1f0c], 0x4f00_3c00)]);
    check("sm_100a", "%r0", "cvt.rn.relu.f16x2.e2m3x2 %r0, %h1;", &[(&[0x1f28], 0x4780_0000)]);
}

#[test]
fn powers_of_two() {
    check(
        "sm_100a",
        "%h0",
        "cvt.rp.satfinite.ue8m0x2.f32 %h0, %f1, %f2;",
        &[(&[f(3.0), f(1.0)], 0x817f), (&[f(-3.0), 0], 0x8100), (&[NAN, f(f32::INFINITY)], 0xfffe)],
    );
    check(
        "sm_100a",
        "%h0",
        "cvt.rz.ue8m0x2.f32 %h0, %f1, %f2;",
        &[(&[f(3.0), f(f32::INFINITY)], 0x80ff)],
    );
    check(
        "sm_120a",
        "%h0",
        "cvt.rz.satfinite.ue8m0x2.bf16x2 %h0, %r1;",
        &[(&[0x4040_3f80], 0x807f)],
    );
    check(
        "sm_100a",
        "%r0",
        "cvt.rn.bf16x2.ue8m0x2 %r0, %h1;",
        &[(&[0x807f], 0x4000_3f80), (&[0xff00], 0x7fff_0040)],
    );
}

/// Up where the discarded fraction plus the random bits carry. Assignment of the random bits: see
/// the comment at the implementation.
#[test]
fn stochastic() {
    // 1.25 is halfway from 1 to 1.5 in E2M1: up from 128 on.
    let code = "cvt.rs.satfinite.e2m1x4.f32 %h0, {%f1, %f2, %f3, %f4}, %r5;";
    let x = f(1.25);
    for (element, place) in [(3, 24), (2, 8), (1, 16), (0, 0)] {
        let low = eval("sm_100a", "%h0", code, &[x, x, x, x, 127 << place]);
        let high = eval("sm_100a", "%h0", code, &[x, x, x, x, 128 << place]);
        assert_eq!((low, high), (0x2222, 0x2222 + (1 << (4 * element))), "element {element}");
    }
    let code = "cvt.rs.satfinite.e4m3x4.f32 %r0, {%f1, %f2, %f3, %f4}, %r5;";
    let half = f(1.0 + 1.0 / 16.0);
    check(
        "sm_103a",
        "%r0",
        code,
        &[
            (&[half, half, half, half, 0x8000_0000], 0x3939_3838),
            (&[half, half, half, half, 0x0000_8000], 0x3838_3939),
        ],
    );
    check(
        "sm_100a",
        "%r0",
        "cvt.rs.bf16x2.f32 %r0, %f1, %f2, %r3;",
        &[(&[0x3f80_8000, 0x3f80_8000, 0x8000_7fff], 0x3f81_3f80)],
    );
    let quarter = f(1.0 + 2f32.powi(-11));
    check(
        "sm_100a",
        "%r0",
        "cvt.rs.f16x2.f32 %r0, %f1, %f2, %r3;",
        &[(&[quarter, quarter, 0x1000_0fff], 0x3c01_3c00)],
    );
    check(
        "sm_100a",
        "%r0",
        "cvt.rs.relu.satfinite.e2m3x4.f32 %r0, {%f1, %f2, %f3, %f4}, %r4;",
        &[(&[f(-1.0), f(1.0), f(9.0), 0], 0x0008_1f00)],
    );
    check(
        "sm_100a",
        "%r0",
        "cvt.rs.satfinite.e5m2x4.f32 %r0, {%f1, %f2, %f3, %f4}, %r4;",
        &[(&[f(1.0), f(1.0), f(1e9), 0], 0x3c3c_7b00)],
    );
    check(
        "sm_100a",
        "%r0",
        "cvt.rs.satfinite.e3m2x4.f32 %r0, {%f1, %f2, %f3, %f4}, %r4;",
        &[(&[f(1.0), f(1.0), f(1e9), 0], 0x0c0c_1f00)],
    );
}
