use crate::harness::{Kernel, f, lanes};

/// Shared memory as 32 rows of 16 bytes, element (row, column) = 16 * row + column; then a load.
fn loaded(form: &str, registers: usize) -> Vec<[u64; 32]> {
    (0..registers)
        .map(|register| {
            let list: Vec<_> = (0..registers).map(|r| format!("%r{}", 10 + r)).collect();
            let fill: String = (0..8)
                .map(|c| format!("mad.lo.u32 %r2, %r1, 16, {c}; cvt.u16.u32 %h1, %r2; st.shared.u16 [%r5+{}], %h1; ", 2 * c))
                .collect();
            let code = format!(
                ".shared .align 16 .b8 s[512]; mov.u32 %r4, s; shl.b32 %r5, %r1, 4; add.u32 %r5, %r5, %r4; {fill} bar.warp.sync -1;\n\
                 {form} {{{}}}, [%r5]; mov.b32 %r0, %r{};",
                list.join(", "),
                10 + register
            );
            lanes("sm_80", "%r0", &code, &[std::array::from_fn(|lane| lane as u64)])
        })
        .collect()
}

/// Lane l holds row l/4, columns 2(l%4) and the next.
#[test]
fn matrix_loads() {
    for (form, count) in [("x1", 1), ("x2", 2), ("x4", 4)] {
        let got = loaded(&format!("ldmatrix.sync.aligned.m8n8.{form}.shared.b16"), count);
        let transposed =
            loaded(&format!("ldmatrix.sync.aligned.m8n8.{form}.trans.shared::cta.b16"), count);
        for matrix in 0..count {
            for lane in 0..32 {
                let (row, column) = (lane / 4, 2 * (lane % 4));
                let at = |row: usize, column: usize| (16 * (8 * matrix + row) + column) as u64;
                assert_eq!(got[matrix][lane], at(row, column) | at(row, column + 1) << 16);
                assert_eq!(transposed[matrix][lane], at(column, row) | at(column + 1, row) << 16);
            }
        }
    }
}

#[test]
fn matrix_stores_and_moves() {
    let identity: [u64; 32] = std::array::from_fn(|lane| lane as u64);
    // What is stored is read back as a row each by the first eight lanes.
    for (form, transposed) in [("x1", false), ("x1.trans", true)] {
        let code = format!(
            ".shared .align 16 .b8 s[512]; mov.u32 %r4, s; shl.b32 %r5, %r1, 4; add.u32 %r5, %r5, %r4;\n\
             shl.b32 %r2, %r1, 1; add.u32 %r3, %r2, 1; shl.b32 %r3, %r3, 16; or.b32 %r2, %r2, %r3;\n\
             stmatrix.sync.aligned.m8n8.{form}.shared.b16 [%r5], {{%r2}}; bar.warp.sync -1; and.b32 %r6, %r1, 7; shl.b32 %r6, %r6, 4; add.u32 %r6, %r6, %r4; ld.shared.u16 %r0, [%r6+6];"
        );
        let got = lanes("sm_90", "%r0", &code, &[identity]);
        // Element (r, c) of the fragments is 8r + c; column 3 of row l is read.
        assert_eq!(
            got,
            identity.map(|lane| if transposed { 24 + lane % 8 } else { 8 * (lane % 8) + 3 })
        );
    }
    let code = "shl.b32 %r2, %r1, 1; add.u32 %r3, %r2, 1; shl.b32 %r3, %r3, 16; or.b32 %r2, %r2, %r3; movmatrix.sync.aligned.m8n8.trans.b16 %r0, %r2;";
    let got = lanes("sm_80", "%r0", code, &[identity]);
    let at = |row: u64, column: u64| 8 * row + column;
    assert_eq!(
        got,
        identity.map(|lane| at(2 * (lane % 4), lane / 4) | at(2 * (lane % 4) + 1, lane / 4) << 16)
    );
}

type Decode = fn(u32) -> f64;
type Codes = fn(usize) -> u32;

/// A product given by per-lane registers; checks against a naive product of the matrices that the
/// manual's figures assign to the lanes.
struct Product<'a> {
    target: &'a str,
    form: &'a str,
    k: usize,
    /// Bits of an element, and its value.
    bits: usize,
    value: Decode,
    codes: Codes,
}

impl Product<'_> {
    /// Element (row, k) of A; B (k, column) is element (column + 16, k) of the same pseudo-random
    /// sequence.
    fn code(&self, row: usize, k: usize) -> u32 {
        (self.codes)(row * 131 + k * 29 + row * k * 7)
    }

    fn registers(&self, rows: usize, first_row: usize) -> Vec<[u64; 32]> {
        let per_register = 32 / self.bits;
        let count = rows * self.k / 32 / per_register;
        let blocks = rows / 8;
        (0..count)
            .map(|register| {
                std::array::from_fn(|lane| {
                    let row = lane / 4 + 8 * (register % blocks);
                    (0..per_register).fold(0u64, |word, i| {
                        let k =
                            (register / blocks) * 4 * per_register + (lane % 4) * per_register + i;
                        word | u64::from(self.code(first_row + row, k)) << (i * self.bits)
                    })
                })
            })
            .collect()
    }

    fn expected(&self, lane: usize, i: usize, c: f64) -> f64 {
        let (row, column) = (lane / 4 + 8 * (i / 2), 2 * (lane % 4) + i % 2);
        let term = |k| (self.value)(self.code(row, k)) * (self.value)(self.code(16 + column, k));
        c + (0..self.k).map(term).sum::<f64>()
    }

    /// Runs with C = 3 everywhere; `scales` are the operands behind C.
    fn run(&self, integer: bool, scales: &str) -> [[u64; 32]; 4] {
        let (a, b) = (self.registers(16, 0), self.registers(8, 16));
        let names = |first: usize, count: usize| {
            let list: Vec<_> = (first..first + count).map(|n| format!("%r{n}")).collect();
            format!("{{{}}}", list.join(", "))
        };
        let (a_list, b_list) = (names(1, a.len()), names(1 + a.len(), b.len()));
        let three = if integer { "3" } else { "0f40400000" };
        let kind = if integer { "%r" } else { "%f" };
        std::array::from_fn(|i| {
            let d: Vec<_> =
                (0..4).map(|n| format!("{kind}{}", if integer { 24 + n } else { 8 + n })).collect();
            let code = format!(
                "{} {{{}}}, {a_list}, {b_list}, {{{three}, {three}, {three}, {three}}}{scales}; mov.b32 %r0, {};",
                self.form,
                d.join(", "),
                d[i]
            );
            lanes(self.target, "%r0", &code, &[a.clone(), b.clone()].concat())
        })
    }

    fn check(&self) {
        let got = self.run(false, "");
        for (i, values) in got.iter().enumerate() {
            for (lane, word) in values.iter().enumerate() {
                // The values are small integers or halves: the sums are exact.
                assert_eq!(
                    *word,
                    f(self.expected(lane, i, 3.0) as f32),
                    "{} lane {lane} d{i}",
                    self.form
                );
            }
        }
    }

    fn check_integers(&self) {
        let got = self.run(true, "");
        for (i, values) in got.iter().enumerate() {
            for (lane, word) in values.iter().enumerate() {
                assert_eq!(
                    *word as u32 as i32,
                    self.expected(lane, i, 3.0) as i32,
                    "{} lane {lane} d{i}",
                    self.form
                );
            }
        }
    }
}

fn bf16(code: u32) -> f64 {
    f64::from(f32::from_bits(code << 16))
}

/// One of 1, 2, -1, 0.5 as bf16.
fn bf16_code(n: usize) -> u32 {
    [0x3f80, 0x4000, 0xbf80, 0x3f00][n % 4]
}

fn f16(code: u32) -> f64 {
    match code {
        0x3c00 => 1.0,
        0x4000 => 2.0,
        0xbc00 => -1.0,
        _ => 0.5,
    }
}

fn f16_code(n: usize) -> u32 {
    [0x3c00, 0x4000, 0xbc00, 0x3800][n % 4]
}

fn tf32(code: u32) -> f64 {
    f64::from(f32::from_bits(code & 0xffff_e000))
}

/// The lowest 13 bits do not count.
fn tf32_code(n: usize) -> u32 {
    [0x3f80_0fff, 0x4000_0000, 0xbf80_0001, 0x3f00_0000][n % 4]
}

fn s8(code: u32) -> f64 {
    f64::from(code as u8 as i8)
}

fn byte_code(n: usize) -> u32 {
    (n * 37 % 256) as u32
}

fn e4m3(code: u32) -> f64 {
    [1.0, 2.0, -1.0, 0.5][[0x38, 0x40, 0xb8, 0x30].iter().position(|c| *c == code).unwrap()]
}

fn e4m3_code(n: usize) -> u32 {
    [0x38, 0x40, 0xb8, 0x30][n % 4]
}

fn e5m2(code: u32) -> f64 {
    [1.0, 2.0, -1.0, 0.5][[0x3c, 0x40, 0xbc, 0x38].iter().position(|c| *c == code).unwrap()]
}

fn e5m2_code(n: usize) -> u32 {
    [0x3c, 0x40, 0xbc, 0x38][n % 4]
}

fn e2m1(code: u32) -> f64 {
    let magnitude = [0.0, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0][code as usize & 7];
    if code & 8 != 0 { -magnitude } else { magnitude }
}

fn nibble_code(n: usize) -> u32 {
    (n * 7 % 16) as u32
}

/// FP4 in a byte: bits 2 to 5.
fn e2m1_byte(code: u32) -> f64 {
    e2m1(code >> 2)
}

fn e2m1_byte_code(n: usize) -> u32 {
    nibble_code(n) << 2
}

#[test]
fn products_of_floats() {
    let product = |form, k, bits, value, codes| {
        Product { target: "sm_80", form, k, bits, value, codes }.check()
    };
    product("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32", 16, 16, bf16, bf16_code);
    product("mma.sync.aligned.m16n8k8.row.col.f32.bf16.bf16.f32", 8, 16, bf16, bf16_code);
    product("mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32", 16, 16, f16, f16_code);
    product("mma.sync.aligned.m16n8k8.row.col.f32.f16.f16.f32", 8, 16, f16, f16_code);
    product("mma.sync.aligned.m16n8k8.row.col.f32.tf32.tf32.f32", 8, 32, tf32, tf32_code);
    product("mma.sync.aligned.m16n8k4.row.col.f32.tf32.tf32.f32", 4, 32, tf32, tf32_code);
    let product =
        |target, form, value, codes| Product { target, form, k: 32, bits: 8, value, codes }.check();
    product("sm_89", "mma.sync.aligned.m16n8k32.row.col.f32.e4m3.e4m3.f32", e4m3, e4m3_code);
    product("sm_90", "mma.sync.aligned.m16n8k32.row.col.f32.e5m2.e5m2.f32", e5m2, e5m2_code);
    product(
        "sm_120a",
        "mma.sync.aligned.m16n8k32.row.col.kind::f8f6f4.f32.e2m1.e2m1.f32",
        e2m1_byte,
        e2m1_byte_code,
    );
    product(
        "sm_120f",
        "mma.sync.aligned.kind::f8f6f4.m16n8k32.row.col.f32.e4m3.e4m3.f32",
        e4m3,
        e4m3_code,
    );
}

#[test]
fn products_of_integers() {
    let product = |form, k, value, codes| {
        Product { target: "sm_80", form, k, bits: 8, value, codes }.check_integers()
    };
    product("mma.sync.aligned.m16n8k32.row.col.s32.s8.s8.s32", 32, s8, byte_code);
    product("mma.sync.aligned.m16n8k16.row.col.s32.s8.s8.s32", 16, s8, byte_code);
    product("mma.sync.aligned.m16n8k32.row.col.s32.u8.u8.s32", 32, f64::from, byte_code);
    product("mma.sync.aligned.m16n8k32.row.col.satfinite.s32.u8.u8.s32", 32, f64::from, byte_code);
}

/// Accumulation in f16: two results a register.
#[test]
fn product_with_f16_results() {
    let code = "mov.u32 %r1, 0x3c003c00; mov.u32 %r2, 0x40004000; mma.sync.aligned.m16n8k16.row.col.f16.f16.f16.f16 {%r10, %r0}, {%r1, %r1, %r1, %r1}, {%r2, %r2}, {%r1, %r1};";
    // 16 * 1 * 2 + 1
    assert_eq!(lanes("sm_80", "%r0", code, &[]), [0x5020_5020; 32]);
}

/// Scales: row r of A from lane 4(r%8) + r/8 (+2 for the other pair of lanes), column n of B from
/// lane 4n + selector; byte v for the v-th part of K.
#[test]
fn block_scaled_products() {
    let cases = [
        (
            "sm_120a",
            "mma.sync.aligned.m16n8k64.row.col.kind::mxf4nvf4.block_scale.scale_vec::4X.f32.e2m1.e2m1.f32.ue4m3",
            4,
            64,
            4,
            false,
        ),
        (
            "sm_120a",
            "mma.sync.aligned.m16n8k64.row.col.kind::mxf4nvf4.block_scale.scale_vec::4X.f32.e2m1.e2m1.f32.ue8m0",
            4,
            64,
            4,
            true,
        ),
        (
            "sm_120a",
            "mma.sync.aligned.m16n8k64.row.col.kind::mxf4nvf4.block_scale.scale_vec::2X.f32.e2m1.e2m1.f32.ue8m0",
            4,
            64,
            2,
            true,
        ),
        (
            "sm_121a",
            "mma.sync.aligned.m16n8k64.row.col.kind::mxf4.block_scale.scale_vec::2X.f32.e2m1.e2m1.f32.ue8m0",
            4,
            64,
            2,
            true,
        ),
        (
            "sm_120f",
            "mma.sync.aligned.m16n8k32.row.col.kind::mxf8f6f4.block_scale.scale_vec::1X.f32.e4m3.e4m3.f32.ue8m0",
            8,
            32,
            1,
            true,
        ),
    ];
    for (target, form, bits, k, vectors, powers) in cases {
        let (value, codes): (Decode, Codes) =
            if bits == 4 { (e2m1, nibble_code) } else { (e4m3, e4m3_code) };
        let product = Product { target, form, k, bits, value, codes };
        for (byte, thread_a, thread_b) in
            [(0, 0, 0), (0, 1, 3), (4 / vectors.max(2) * (vectors % 4 / vectors), 0, 2)]
        {
            let byte = if vectors == 4 { 0 } else { byte };
            // Byte v of lane l's scale: 127 + (l + v) % 3 as E8M0, or 1, 1.25, 1.5 as E4M3.
            let code = move |lane: u32, v: u32| {
                if powers { 127 + (lane + v) % 3 } else { 0x38 + 2 * ((lane + v) % 3) }
            };
            let factor = move |lane: u32, v: u32| {
                let n = (lane + v) % 3;
                if powers { 2f64.powi(n as i32) } else { 1.0 + 0.25 * f64::from(n) }
            };
            let (base, step) = if powers { (127, 1) } else { (0x38, 2) };
            assert_eq!(code(0, 0), base);
            let build: String = (0..4)
                .map(|v| format!("add.u32 %r20, %r31, {v}; rem.u32 %r20, %r20, 3; mad.lo.u32 %r20, %r20, {step}, {base}; bfi.b32 %r21, %r20, %r21, {}, 8; ", 8 * v))
                .collect();
            let scales =
                format!(", {{%r21}}, {{{byte}, {thread_a}}}, {{%r21}}, {{{byte}, {thread_b}}}");
            let prefix = format!("mov.u32 %r21, 0; {build}");
            let form = format!("{prefix} {form}");
            let product = Product { form: &form, ..product };
            let got = product.run(false, &scales);
            for (i, values) in got.iter().enumerate() {
                for (lane, word) in values.iter().enumerate() {
                    let (row, column) = (lane / 4 + 8 * (i / 2), 2 * (lane % 4) + i % 2);
                    let (lane_a, lane_b) = (
                        (4 * (row % 8) + row / 8 + 2 * thread_a) as u32,
                        (4 * column + thread_b) as u32,
                    );
                    let term = |k: usize| {
                        let v = (byte + k / (product.k / vectors)) as u32;
                        value(product.code(row, k))
                            * factor(lane_a, v)
                            * value(product.code(16 + column, k))
                            * factor(lane_b, v)
                    };
                    let wanted = 3.0 + (0..product.k).map(term).sum::<f64>();
                    assert_eq!(*word, f(wanted as f32), "{form} lane {lane} d{i}");
                }
            }
        }
    }
}

/// Eight rows of 16 bytes that lie 128 bytes apart share their banks.
#[test]
fn matrix_conflicts_are_counted() {
    let body = |shift: u32| {
        format!(
            ".shared .align 16 .b8 s[4096]; mov.u32 %r1, %tid.x; mov.u32 %r4, s; shl.b32 %r5, %r1, {shift}; add.u32 %r5, %r5, %r4; mov.u32 %r2, 0; st.shared.v4.u32 [%r5], {{%r2, %r2, %r2, %r2}}; bar.warp.sync -1;\n\
             ldmatrix.sync.aligned.m8n8.x1.shared.b16 {{%r6}}, [%r5];"
        )
    };
    let conflicts =
        |shift| Kernel::new("sm_80", 32, &body(shift)).run().unwrap().1.shared_bank_conflicts;
    assert_eq!((conflicts(4), conflicts(7)), (0, 28 + 7));
}
