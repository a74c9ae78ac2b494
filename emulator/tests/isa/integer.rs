use crate::harness::{check, eval};

const NEG: fn(i32) -> u64 = |x| u64::from(x as u32);
const NEG64: fn(i64) -> u64 = |x| x as u64;

#[test]
fn add_and_sub() {
    check("sm_80", "%r0", "add.u32 %r0, %r1, %r2;", &[(&[3, 4], 7), (&[0xffff_ffff, 2], 1)]);
    check("sm_80", "%r0", "add.s32 %r0, %r1, -5;", &[(&[3], NEG(-2))]);
    check("sm_80", "%h0", "add.s16 %h0, %h1, %h2;", &[(&[0xffff, 2], 1)]);
    check("sm_80", "%x0", "add.s64 %x0, %x1, %x2;", &[(&[u64::MAX, 2], 1)]);
    check("sm_80", "%r0", "sub.s32 %r0, %r1, %r2;", &[(&[3, 4], NEG(-1))]);
    check("sm_80", "%x0", "sub.u64 %x0, %x1, %x2;", &[(&[0, 1], u64::MAX)]);
    check(
        "sm_80",
        "%r0",
        "add.sat.s32 %r0, %r1, %r2;",
        &[(&[0x7fff_ffff, 1], 0x7fff_ffff), (&[0x8000_0000, NEG(-1)], 0x8000_0000)],
    );
    check("sm_80", "%r0", "sub.sat.s32 %r0, %r1, %r2;", &[(&[0x8000_0000, 1], 0x8000_0000)]);
    check("sm_90", "%r0", "add.u16x2 %r0, %r1, %r2;", &[(&[0xffff_0001, 0x0001_ffff], 0)]);
    check(
        "sm_90",
        "%r0",
        "add.s16x2 %r0, %r1, %r2;",
        &[(&[0x0003_0004, 0xffff_0001], 0x0002_0005)],
    );
}

#[test]
fn carry_chains() {
    let add = "add.cc.u32 %r0, %r1, %r3; addc.cc.u32 %r4, %r2, 0; addc.u32 %r5, 0, 0; mov.b64 %x0, {%r4, %r5};";
    check("sm_80", "%x0", add, &[(&[0xffff_ffff, 0xffff_ffff, 1], 1 << 32), (&[1, 2, 3], 2)]);
    let sub = "sub.cc.u32 %r0, %r1, %r3; subc.u32 %r4, %r2, 0; mov.b64 %x0, {%r0, %r4};";
    check("sm_80", "%x0", sub, &[(&[0, 5, 1], (4 << 32) | 0xffff_ffff)]);
    check(
        "sm_80",
        "%x0",
        "add.cc.u64 %x2, %x1, %x1; addc.u64 %x0, 0, 0;",
        &[(&[1 << 63], 1), (&[1], 0)],
    );
    let mad =
        "mad.lo.cc.u32 %r0, %r1, %r2, %r3; madc.hi.u32 %r4, %r1, %r2, 0; mov.b64 %x0, {%r0, %r4};";
    check(
        "sm_80",
        "%x0",
        mad,
        &[(&[0xffff_ffff, 0xffff_ffff, 0xffff_ffff], 0xffff_ffff_0000_0000)],
    );
}

#[test]
fn multiplication() {
    check("sm_80", "%r0", "mul.lo.s32 %r0, %r1, %r2;", &[(&[NEG(-3), 5], NEG(-15))]);
    check(
        "sm_80",
        "%r0",
        "mul.hi.u32 %r0, %r1, %r2;",
        &[(&[0xffff_ffff, 0xffff_ffff], 0xffff_fffe)],
    );
    check("sm_80", "%r0", "mul.hi.s32 %r0, %r1, %r2;", &[(&[NEG(-1), 5], NEG(-1))]);
    check("sm_80", "%x0", "mul.wide.s32 %x0, %r1, %r2;", &[(&[NEG(-1), 5], NEG64(-5))]);
    check("sm_80", "%x0", "mul.wide.u32 %x0, %r1, %r2;", &[(&[0xffff_ffff, 2], 0x1_ffff_fffe)]);
    check("sm_80", "%r0", "mul.wide.u16 %r0, %h1, %h2;", &[(&[0xffff, 0xffff], 0xfffe_0001)]);
    check("sm_80", "%r0", "mul.wide.s16 %r0, %h1, %h2;", &[(&[0xffff, 3], NEG(-3))]);
    check("sm_80", "%h0", "mul.lo.u16 %h0, %h1, %h2;", &[(&[0x100, 0x101], 0x100)]);
    check("sm_80", "%x0", "mul.lo.s64 %x0, %x1, %x2;", &[(&[NEG64(-7), 6], NEG64(-42))]);
    check("sm_80", "%x0", "mul.hi.u64 %x0, %x1, %x2;", &[(&[u64::MAX, u64::MAX], u64::MAX - 1)]);
    check("sm_80", "%x0", "mul.hi.s64 %x0, %x1, %x2;", &[(&[u64::MAX, 2], u64::MAX)]);
    check("sm_80", "%r0", "mul24.lo.u32 %r0, %r1, %r2;", &[(&[0xff00_0003, 5], 15)]);
    check(
        "sm_80",
        "%r0",
        "mul24.hi.s32 %r0, %r1, %r2;",
        &[(&[0x0080_0000, 0x10000], NEG(-0x0080_0000))],
    );
}

#[test]
fn multiply_add() {
    check("sm_80", "%r0", "mad.lo.s32 %r0, %r1, %r2, %r3;", &[(&[NEG(-2), 3, 10], 4)]);
    check("sm_80", "%r0", "mad.hi.u32 %r0, %r1, %r2, %r3;", &[(&[0x8000_0000, 4, 1], 3)]);
    check(
        "sm_80",
        "%r0",
        "mad.hi.sat.s32 %r0, %r1, %r2, %r3;",
        &[(&[0x4000_0000, 0x4000_0000, 0x7fff_ffff], 0x7fff_ffff)],
    );
    check(
        "sm_80",
        "%x0",
        "mad.wide.u32 %x0, %r1, %r2, %x3;",
        &[(&[0xffff_ffff, 2, 2], 0x2_0000_0000)],
    );
    check("sm_80", "%x0", "mad.wide.s32 %x0, %r1, %r2, %x3;", &[(&[NEG(-1), 2, 1], NEG64(-1))]);
    check("sm_80", "%x0", "mad.lo.s64 %x0, %x1, %x2, %x3;", &[(&[5, 6, 7], 37)]);
    check("sm_80", "%h0", "mad.lo.s16 %h0, %h1, %h2, %h3;", &[(&[5, 6, 7], 37)]);
    check("sm_80", "%r0", "mad24.lo.u32 %r0, %r1, %r2, %r3;", &[(&[5, 6, 7], 37)]);
    check("sm_80", "%r0", "sad.s32 %r0, %r1, %r2, %r3;", &[(&[NEG(-3), 4, 1], 8)]);
    check("sm_80", "%r0", "sad.u32 %r0, %r1, %r2, %r3;", &[(&[3, 5, 1], 3)]);
}

#[test]
fn division() {
    check(
        "sm_80",
        "%r0",
        "div.s32 %r0, %r1, %r2;",
        &[(&[NEG(-7), 2], NEG(-3)), (&[0x8000_0000, NEG(-1)], 0x8000_0000)],
    );
    check("sm_80", "%r0", "rem.s32 %r0, %r1, %r2;", &[(&[NEG(-7), 2], NEG(-1))]);
    check("sm_80", "%r0", "div.u32 %r0, %r1, %r2;", &[(&[NEG(-1), 2], 0x7fff_ffff)]);
    check("sm_80", "%x0", "rem.u64 %x0, %x1, %x2;", &[(&[u64::MAX, 10], 5)]);
    check("sm_80", "%x0", "div.s64 %x0, %x1, %x2;", &[(&[NEG64(-9), 4], NEG64(-2))]);
    check("sm_80", "%h0", "div.u16 %h0, %h1, %h2;", &[(&[1000, 7], 142)]);
}

#[test]
fn sign_and_extremes() {
    check("sm_80", "%r0", "abs.s32 %r0, %r1;", &[(&[NEG(-5)], 5), (&[0x8000_0000], 0x8000_0000)]);
    check("sm_80", "%x0", "abs.s64 %x0, %x1;", &[(&[NEG64(-5)], 5)]);
    check("sm_80", "%h0", "neg.s16 %h0, %h1;", &[(&[5], 0xfffb)]);
    check("sm_80", "%r0", "min.s32 %r0, %r1, %r2;", &[(&[NEG(-1), 1], NEG(-1))]);
    check("sm_80", "%r0", "min.u32 %r0, %r1, %r2;", &[(&[NEG(-1), 1], 1)]);
    check("sm_80", "%x0", "max.s64 %x0, %x1, %x2;", &[(&[NEG64(-1), 1], 1)]);
    check("sm_80", "%h0", "max.u16 %h0, %h1, %h2;", &[(&[0xffff, 1], 0xffff)]);
    check("sm_90", "%r0", "max.relu.s32 %r0, %r1, %r2;", &[(&[NEG(-3), NEG(-2)], 0), (&[3, 2], 3)]);
    check("sm_90", "%r0", "min.relu.s32 %r0, %r1, %r2;", &[(&[NEG(-3), 2], 0)]);
    check("sm_90", "%r0", "max.s16x2 %r0, %r1, %r2;", &[(&[0xffff_0001, 0x0000_0002], 2)]);
    check("sm_90", "%r0", "min.u16x2 %r0, %r1, %r2;", &[(&[0xffff_0001, 0x0000_0002], 1)]);
    check("sm_90", "%r0", "max.relu.s16x2 %r0, %r1, %r2;", &[(&[0xffff_ffff, 0xfffe_0004], 4)]);
}

#[test]
fn logic() {
    check("sm_80", "%r0", "and.b32 %r0, %r1, %r2;", &[(&[0b1100, 0b1010], 0b1000)]);
    check("sm_80", "%h0", "or.b16 %h0, %h1, %h2;", &[(&[0b1100, 0b1010], 0b1110)]);
    check("sm_80", "%x0", "xor.b64 %x0, %x1, %x2;", &[(&[0b1100, 0b1010], 0b0110)]);
    check("sm_80", "%r0", "not.b32 %r0, %r1;", &[(&[0], 0xffff_ffff)]);
    check("sm_80", "%r0", "cnot.b32 %r0, %r1;", &[(&[0], 1), (&[7], 0)]);
    // The table of a & b | c is 0xf0 & 0xcc | 0xaa.
    check(
        "sm_80",
        "%r0",
        "lop3.b32 %r0, %r1, %r2, %r3, 0xea;",
        &[(&[0b1100, 0b1010, 0b0001], 0b1001)],
    );
    let predicate = "setp.ne.u32 %p1, %r3, 0; lop3.or.b32 %r0|%p0, %r1, %r2, 0, 0xc0, %p1;";
    check("sm_80", "%p0", predicate, &[(&[1, 1, 0], 1), (&[1, 2, 0], 0), (&[1, 2, 1], 1)]);
}

#[test]
fn bits() {
    check("sm_80", "%r0", "popc.b32 %r0, %r1;", &[(&[0xf0f0], 8)]);
    check("sm_80", "%r0", "popc.b64 %r0, %x1;", &[(&[u64::MAX], 64)]);
    check("sm_80", "%r0", "clz.b32 %r0, %r1;", &[(&[0], 32), (&[1], 31)]);
    check("sm_80", "%r0", "clz.b64 %r0, %x1;", &[(&[0], 64), (&[1], 63)]);
    check("sm_80", "%r0", "brev.b32 %r0, %r1;", &[(&[1], 0x8000_0000)]);
    check("sm_80", "%x0", "brev.b64 %x0, %x1;", &[(&[2], 1 << 62)]);
    check("sm_80", "%r0", "bfind.u32 %r0, %r1;", &[(&[0], 0xffff_ffff), (&[0x10], 4)]);
    check(
        "sm_80",
        "%r0",
        "bfind.s32 %r0, %r1;",
        &[(&[0xffff_ffff], 0xffff_ffff), (&[0xffff_ffef], 4)],
    );
    check("sm_80", "%r0", "bfind.shiftamt.u32 %r0, %r1;", &[(&[0x10], 27), (&[0], 0xffff_ffff)]);
    check("sm_80", "%r0", "bfind.u64 %r0, %x1;", &[(&[1 << 40], 40)]);
    check(
        "sm_80",
        "%r0",
        "fns.b32 %r0, %r1, %r2, %r3;",
        &[
            (&[0b10110, 2, 0], 2),
            (&[0b10110, 2, 2], 4),
            (&[0b10110, 2, NEG(-2)], 1),
            (&[0b10110, 3, 0], 0xffff_ffff),
        ],
    );
}

#[test]
fn shifts() {
    check("sm_80", "%r0", "shl.b32 %r0, %r1, %r2;", &[(&[3, 4], 48), (&[1, 32], 0), (&[1, 99], 0)]);
    check("sm_80", "%x0", "shl.b64 %x0, %x1, %r2;", &[(&[1, 63], 1 << 63), (&[1, 64], 0)]);
    check("sm_80", "%h0", "shl.b16 %h0, %h1, %r2;", &[(&[0x8001, 1], 2), (&[1, 16], 0)]);
    check(
        "sm_80",
        "%r0",
        "shr.u32 %r0, %r1, %r2;",
        &[(&[0x8000_0000, 31], 1), (&[0x8000_0000, 32], 0)],
    );
    check(
        "sm_80",
        "%r0",
        "shr.s32 %r0, %r1, %r2;",
        &[(&[0x8000_0000, 31], 0xffff_ffff), (&[0x8000_0000, 77], 0xffff_ffff)],
    );
    check("sm_80", "%h0", "shr.s16 %h0, %h1, 3;", &[(&[0x8000], 0xf000)]);
    check("sm_80", "%x0", "shr.u64 %x0, %x1, 4;", &[(&[0xf0], 0xf)]);
    check(
        "sm_80",
        "%r0",
        "shf.l.wrap.b32 %r0, %r1, %r2, %r3;",
        &[(&[0x8000_0001, 0x10, 33], 0x21)],
    );
    check("sm_80", "%r0", "shf.l.clamp.b32 %r0, %r1, %r2, %r3;", &[(&[5, 6, 40], 5)]);
    check("sm_80", "%r0", "shf.r.wrap.b32 %r0, %r1, %r2, %r3;", &[(&[0x10, 1, 4], 0x1000_0001)]);
    check("sm_80", "%r0", "shf.r.clamp.b32 %r0, %r1, %r2, %r3;", &[(&[5, 6, 40], 6)]);
}

#[test]
fn bit_fields() {
    check(
        "sm_80",
        "%r0",
        "bfe.u32 %r0, %r1, %r2, %r3;",
        &[
            (&[0x1234_5678, 8, 8], 0x56),
            (&[0x80, 4, 0], 0),
            (&[0xf000_0000, 28, 8], 0xf),
            (&[1, 40, 4], 0),
        ],
    );
    check(
        "sm_80",
        "%r0",
        "bfe.s32 %r0, %r1, %r2, %r3;",
        &[
            (&[0x80, 4, 4], NEG(-8)),
            (&[0xf000_0000, 28, 8], 0xffff_ffff),
            (&[0x8000_0000, 40, 4], 0xffff_ffff),
        ],
    );
    check("sm_80", "%x0", "bfe.u64 %x0, %x1, %r2, %r3;", &[(&[0xabcd << 40, 40, 8], 0xcd)]);
    check(
        "sm_80",
        "%r0",
        "bfi.b32 %r0, %r1, %r2, %r3, %r4;",
        &[
            (&[0xff, 0, 8, 4], 0xf00),
            (&[0xff, 7, 40, 4], 7),
            (&[0xffff_ffff, 0, 28, 8], 0xf000_0000),
        ],
    );
    check("sm_80", "%x0", "bfi.b64 %x0, %x1, %x2, %r3, %r4;", &[(&[0x5, 0, 60, 4], 5 << 60)]);
    check(
        "sm_80",
        "%r0",
        "szext.clamp.s32 %r0, %r1, %r2;",
        &[(&[0x80, 8], NEG(-128)), (&[0x80, 9], 0x80), (&[5, 0], 0)],
    );
    check("sm_80", "%r0", "szext.wrap.u32 %r0, %r1, %r2;", &[(&[0x1ff, 40], 0xff)]);
    check(
        "sm_80",
        "%r0",
        "bmsk.clamp.b32 %r0, %r1, %r2;",
        &[(&[4, 8], 0xff0), (&[0, 40], 0xffff_ffff)],
    );
    check("sm_80", "%r0", "bmsk.wrap.b32 %r0, %r1, %r2;", &[(&[36, 33], 0x10)]);
}

#[test]
fn permute_bytes() {
    let (a, b) = (0x0302_0100, 0x0706_0504);
    check(
        "sm_80",
        "%r0",
        "prmt.b32 %r0, %r1, %r2, %r3;",
        &[(&[a, b, 0x7531], 0x0705_0301), (&[0x80, 0x7f, 0x004c], 0x8080_7f00)],
    );
    check(
        "sm_80",
        "%r0",
        "prmt.b32 %r0, %r1, %r2, 0x8888;",
        &[(&[0x80, 0], 0xffff_ffff), (&[0x7f, 0], 0)],
    );
    check("sm_80", "%r0", "prmt.b32.f4e %r0, %r1, %r2, %r3;", &[(&[a, b, 1], 0x0403_0201)]);
    check("sm_80", "%r0", "prmt.b32.b4e %r0, %r1, %r2, %r3;", &[(&[a, b, 1], 0x0607_0001)]);
    check("sm_80", "%r0", "prmt.b32.rc8 %r0, %r1, %r2, %r3;", &[(&[a, b, 2], 0x0202_0202)]);
    check("sm_80", "%r0", "prmt.b32.ecl %r0, %r1, %r2, %r3;", &[(&[a, b, 2], 0x0302_0202)]);
    check("sm_80", "%r0", "prmt.b32.ecr %r0, %r1, %r2, %r3;", &[(&[a, b, 2], 0x0202_0100)]);
    check("sm_80", "%r0", "prmt.b32.rc16 %r0, %r1, %r2, %r3;", &[(&[a, b, 1], 0x0302_0302)]);
}

#[test]
fn dot_products() {
    check(
        "sm_80",
        "%r0",
        "dp4a.u32.u32 %r0, %r1, %r2, %r3;",
        &[(&[0x0102_03ff, 0x0101_0102, 7], 1 + 2 + 3 + 510 + 7)],
    );
    check(
        "sm_80",
        "%r0",
        "dp4a.s32.s32 %r0, %r1, %r2, %r3;",
        &[(&[0x0000_00ff, 0x0000_0005, 1], NEG(-4))],
    );
    check("sm_80", "%r0", "dp4a.s32.u32 %r0, %r1, %r2, 0;", &[(&[0xff, 0xff], NEG(-255))]);
    check(
        "sm_80",
        "%r0",
        "dp2a.lo.u32.u32 %r0, %r1, %r2, %r3;",
        &[(&[0x0003_0004, 0x0000_0506, 1], 3 * 5 + 4 * 6 + 1)],
    );
    check(
        "sm_80",
        "%r0",
        "dp2a.hi.s32.s32 %r0, %r1, %r2, 0;",
        &[(&[0xffff_0004, 0x0506_0000], NEG(-5 + 24))],
    );
}

#[test]
fn moves() {
    check("sm_80", "%r0", "mov.b32 %r0, {%h1, %h2};", &[(&[0x1111, 0x2222], 0x2222_1111)]);
    check("sm_80", "%x0", "mov.b64 %x0, {%r1, %r2};", &[(&[1, 2], 0x2_0000_0001)]);
    check(
        "sm_80",
        "%x0",
        "mov.b64 %x0, {%h1, %h2, %h3, %h4};",
        &[(&[1, 2, 3, 4], 0x0004_0003_0002_0001)],
    );
    check("sm_80", "%h0", "mov.b32 {%h0, _}, %r1;", &[(&[0x2222_1111], 0x1111)]);
    check("sm_80", "%r0", "mov.b64 {_, %r0}, %x1;", &[(&[0x2_0000_0001], 2)]);
    check("sm_80", "%r0", "mov.u32 %r0, 0x10;", &[(&[], 16)]);
    check("sm_80", "%f0", "mov.f32 %f0, 0fBF800000;", &[(&[], 0xbf80_0000)]);
    check("sm_80", "%f0", "mov.f32 %f0, -1.5;", &[(&[], 0xbfc0_0000)]);
    check("sm_80", "%d0", "mov.f64 %d0, 0d4000000000000000;", &[(&[], 2f64.to_bits())]);
    check("sm_80", "%p0", "mov.pred %p0, 1;", &[(&[], 1)]);
    assert_eq!(eval("sm_80", "%r0", "mov.u32 %r0, WARP_SZ;", &[]), 32);
}

#[test]
fn select() {
    check(
        "sm_80",
        "%r0",
        "setp.lt.u32 %p1, %r1, %r2; selp.b32 %r0, %r1, %r2, %p1;",
        &[(&[1, 2], 1), (&[3, 2], 2)],
    );
    check("sm_80", "%x0", "setp.lt.u32 %p1, %r1, %r2; selp.u64 %x0, 5, 6, !%p1;", &[(&[1, 2], 6)]);
    check("sm_80", "%h0", "setp.lt.u32 %p1, %r1, %r2; selp.b16 %h0, 5, 6, %p1;", &[(&[1, 2], 5)]);
    check(
        "sm_80",
        "%r0",
        "slct.u32.s32 %r0, %r1, %r2, %r3;",
        &[(&[1, 2, 0], 1), (&[1, 2, NEG(-1)], 2)],
    );
    let nan = u64::from(f32::NAN.to_bits());
    check(
        "sm_80",
        "%r0",
        "slct.b32.f32 %r0, %r1, %r2, %f3;",
        &[(&[1, 2, 0x8000_0000], 1), (&[1, 2, nan], 2)],
    );
}

#[test]
fn comparisons_of_integers() {
    for (op, signed, unsigned) in
        [("eq", 0, 0), ("ne", 1, 1), ("lt", 1, 0), ("le", 1, 0), ("gt", 0, 1), ("ge", 0, 1)]
    {
        check("sm_80", "%p0", &format!("setp.{op}.s32 %p0, %r1, %r2;"), &[(&[NEG(-1), 1], signed)]);
        check(
            "sm_80",
            "%p0",
            &format!("setp.{op}.u32 %p0, %r1, %r2;"),
            &[(&[NEG(-1), 1], unsigned)],
        );
        check(
            "sm_80",
            "%p0",
            &format!("setp.{op}.s64 %p0, %x1, %x2;"),
            &[(&[NEG64(-1), 1], signed)],
        );
        check(
            "sm_80",
            "%p0",
            &format!("setp.{op}.u16 %p0, %h1, %h2;"),
            &[(&[0xffff, 1], unsigned)],
        );
    }
    for (op, result) in [("lo", 0), ("ls", 0), ("hi", 1), ("hs", 1)] {
        check("sm_80", "%p0", &format!("setp.{op}.u32 %p0, %r1, %r2;"), &[(&[NEG(-1), 1], result)]);
    }
    check("sm_80", "%p0", "setp.eq.b32 %p0, %r1, 1;", &[(&[1], 1)]);
    let combine = "setp.ne.u32 %p2, %r3, 0; setp.lt.and.s32 %p0|%p1, %r1, %r2, %p2;";
    check("sm_80", "%p0", combine, &[(&[1, 2, 1], 1), (&[1, 2, 0], 0)]);
    check("sm_80", "%p1", combine, &[(&[1, 2, 1], 0), (&[2, 1, 1], 1)]);
    check(
        "sm_80",
        "%p0",
        "setp.ne.u32 %p2, %r3, 0; setp.lt.or.s32 %p0, %r1, %r2, !%p2;",
        &[(&[2, 1, 0], 1)],
    );
    check(
        "sm_80",
        "%p0",
        "setp.ne.u32 %p2, %r3, 0; setp.lt.xor.s32 %p0, %r1, %r2, %p2;",
        &[(&[1, 2, 1], 0)],
    );
    check("sm_80", "%r0", "set.lt.u32.s32 %r0, %r1, %r2;", &[(&[1, 2], 0xffff_ffff), (&[2, 1], 0)]);
    check("sm_80", "%f0", "set.ge.f32.u32 %f0, %r1, %r2;", &[(&[2, 1], 0x3f80_0000), (&[1, 2], 0)]);
}

#[test]
fn predicates() {
    let set = "setp.ne.u32 %p1, %r1, 0; setp.ne.u32 %p2, %r2, 0; ";
    check("sm_80", "%p0", &format!("{set} and.pred %p0, %p1, %p2;"), &[(&[1, 1], 1), (&[1, 0], 0)]);
    check("sm_80", "%p0", &format!("{set} or.pred %p0, %p1, %p2;"), &[(&[0, 1], 1), (&[0, 0], 0)]);
    check("sm_80", "%p0", &format!("{set} xor.pred %p0, %p1, %p2;"), &[(&[1, 1], 0)]);
    check("sm_80", "%p0", &format!("{set} not.pred %p0, %p1;"), &[(&[1, 1], 0)]);
    check(
        "sm_80",
        "%r0",
        &format!("{set} mov.u32 %r0, 1; @%p1 mov.u32 %r0, 2; @!%p2 mov.u32 %r0, 3;"),
        &[(&[1, 1], 2), (&[0, 1], 1), (&[1, 0], 3)],
    );
}
