use crate::harness::{Kernel, check, lanes};

/// Stores the inputs, loads them back through another form.
fn round_trip(store: &str, load: &str, result: &str, inputs: &[u64]) -> u64 {
    let code = format!(
        ".shared .align 16 .b8 s[1024]; .local .align 16 .b8 l[32]; mov.u32 %r20, s; mov.u32 %r21, %laneid; shl.b32 %r22, %r21, 5; add.u32 %r20, %r20, %r22;\n\
         mov.u64 %x20, l; {store} {load}"
    );
    crate::harness::eval("sm_80", result, &code, inputs)
}

#[test]
fn widths_and_extension() {
    for space in ["shared", "local"] {
        let at = if space == "shared" { "%r20" } else { "%x20" };
        let case = |store: &str, load: &str, result: &str, input: u64, wanted: u64| {
            let code = (
                store.replace("SPACE", space).replace("AT", at),
                load.replace("SPACE", space).replace("AT", at),
            );
            assert_eq!(
                round_trip(&code.0, &code.1, result, &[input, 0]),
                wanted,
                "{store} {load} {space}"
            );
        };
        case("st.SPACE.u8 [AT], %r1;", "ld.SPACE.u8 %r0, [AT];", "%r0", 0x1ff, 0xff);
        case("st.SPACE.u8 [AT], %h1;", "ld.SPACE.s8 %r0, [AT];", "%r0", 0x80, 0xffff_ff80);
        case("st.SPACE.b8 [AT+3], %b1;", "ld.SPACE.s8 %h0, [AT+3];", "%h0", 0x80, 0xff80);
        case("st.SPACE.u16 [AT+2], %h1;", "ld.SPACE.u16 %h0, [AT+2];", "%h0", 0xabcd, 0xabcd);
        case(
            "st.SPACE.u16 [AT], %h1;",
            "ld.SPACE.s16 %x0, [AT];",
            "%x0",
            0x8000,
            0xffff_ffff_ffff_8000,
        );
        case("st.SPACE.f32 [AT], %f1;", "ld.SPACE.b32 %r0, [AT];", "%r0", 7, 7);
        case("st.SPACE.s32 [AT], %r1;", "ld.SPACE.s32 %x0, [AT];", "%x0", 0xffff_ffff, u64::MAX);
        case("st.SPACE.u64 [AT+8], %x1;", "ld.SPACE.f64 %d0, [AT+8];", "%d0", 1 << 60, 1 << 60);
        case("st.SPACE.v2.u32 [AT], {%r1, %r2};", "ld.SPACE.u64 %x0, [AT];", "%x0", 5, 5);
        case(
            "st.SPACE.v4.u8 [AT], {%r1, %r2, %r1, %r2};",
            "ld.SPACE.u32 %r0, [AT];",
            "%r0",
            7,
            0x0007_0007,
        );
        case(
            "st.SPACE.v4.f32 [AT], {%f1, %f2, %f2, %f1};",
            "ld.SPACE.v4.f32 {_, _, %f3, %f0}, [AT];",
            "%f0",
            9,
            9,
        );
        case("st.SPACE.v2.b64 [AT], {%x2, %x1};", "ld.SPACE.v2.b64 {%x3, %x0}, [AT];", "%x0", 9, 9);
    }
}

/// A warp copies 8 words a lane from the first to the second half of the buffer.
fn copied(load: &str, store: &str) -> Vec<u32> {
    let body = format!(
        "ld.param.u64 %x1, [p]; cvta.to.global.u64 %x1, %x1; mov.u32 %r1, %tid.x; mul.wide.u32 %x2, %r1, 32; add.u64 %x1, %x1, %x2;\n\
         mad.lo.u32 %r10, %r1, 8, 1; mov.u32 %r11, 2; mov.u32 %r12, 3; mov.u32 %r13, 4; mov.u32 %r14, 5; mov.u32 %r15, 6; mov.u32 %r16, 7; mov.u32 %r17, 8;\n\
         st.global.v4.u32 [%x1], {{%r10, %r11, %r12, %r13}}; st.global.v4.u32 [%x1+16], {{%r14, %r15, %r16, %r17}};\n\
         createpolicy.fractional.L2::evict_first.b64 %x9, 1.0;\n{load}\n{store}"
    );
    Kernel::new("sm_100", 32, &body).words()
}

#[test]
fn vectors_and_hints() {
    let four = "{%r20, %r21, %r22, %r23}";
    let eight = "{%r20, %r21, %r22, %r23, %r24, %r25, %r26, %r27}";
    let rest = "ld.global.v4.u32 {%r24, %r25, %r26, %r27}, [%x1+16];";
    let first_store = format!(
        "st.global.v4.b32 [%x1+1024], {four}; st.global.v4.b32 [%x1+1040], {{%r24, %r25, %r26, %r27}};"
    );
    let wanted: Vec<u32> = (0..32).flat_map(|lane| [8 * lane + 1, 2, 3, 4, 5, 6, 7, 8]).collect();
    for form in [
        "ld.global.v4.b32",
        "ld.global.nc.v4.b32",
        "ld.global.ca.v4.b32",
        "ld.global.cg.v4.u32",
        "ld.global.cs.v4.u32",
        "ld.global.lu.v4.u32",
        "ld.global.cv.v4.u32",
        "ld.volatile.global.v4.u32",
        "ld.relaxed.gpu.global.v4.u32",
        "ld.acquire.sys.global.v4.u32",
        "ld.weak.global.v4.u32",
        "ld.global.L1::no_allocate.v4.u32",
        "ld.global.nc.L1::no_allocate.L2::256B.v4.b32",
        "ld.global.L1::evict_last.L2::128B.v4.u32",
        "ld.global.L1::evict_first.v4.u32",
        "ld.v4.u32",
        "ldu.global.v4.u32",
    ] {
        let load = format!("{form} {four}, [%x1]; {rest}");
        assert_eq!(copied(&load, &first_store)[256..512], wanted, "{form}");
    }
    let load = format!("ld.global.L2::cache_hint.v4.u32 {four}, [%x1], %x9; {rest}");
    assert_eq!(copied(&load, &first_store)[256..512], wanted);
    for form in ["st.global.v8.b32", "st.global.L2::evict_last.v8.b32"] {
        let load = format!("ld.global.v8.f32 {eight}, [%x1];");
        assert_eq!(
            copied(&load, &format!("{form} [%x1+1024], {eight};"))[256..512],
            wanted,
            "{form}"
        );
    }
    for form in [
        "st.global.wb",
        "st.global.cg",
        "st.global.cs",
        "st.global.wt",
        "st.volatile.global",
        "st.relaxed.gpu.global",
        "st.release.gpu.global",
        "st.weak.global",
        "st.global.L1::no_allocate",
        "st",
    ] {
        let load = format!("ld.global.v4.u32 {four}, [%x1]; {rest}");
        let store = format!(
            "{form}.v4.b32 [%x1+1024], {four}; {form}.v4.b32 [%x1+1040], {{%r24, %r25, %r26, %r27}};"
        );
        assert_eq!(copied(&load, &store)[256..512], wanted, "{form}");
    }
}

#[test]
fn constants_and_variables() {
    let outside = ".const .align 4 .b8 table[16] = {1, 0, 0, 0, 2, 0, 0, 0, 3};\n.global .align 8 .u64 pointer = table2;\n";
    let outside = &outside.replace(".global .align 8 .u64 pointer = table2;", ".global .u32 numbers[3] = {7, 8, -1}; .global .align 8 .u64 pointer = numbers; .global .f32 half = 0f3F000000;");
    let body = "ld.param.u64 %x1, [p]; ld.const.u32 %r1, [table+4]; mov.u64 %x2, table; add.u64 %x2, %x2, 8; ld.const.u32 %r2, [%x2];\n\
        ld.global.u64 %x3, [pointer]; ld.u32 %r3, [%x3+4]; ld.global.u32 %r4, [numbers+8]; mov.u64 %x4, numbers+4; ld.global.u32 %r5, [%x4]; ld.global.b32 %r6, [half];\n\
        st.global.v4.u32 [%x1], {%r1, %r2, %r3, %r4}; st.global.v2.u32 [%x1+16], {%r5, %r6}; cvta.const.u64 %x5, %x2; isspacep.const %p1, %x5; selp.u32 %r7, 1, 0, %p1; st.global.u32 [%x1+24], %r7;";
    let words = Kernel { outside, ..Kernel::new("sm_80", 1, body) }.words();
    assert_eq!(words[..7], [2, 3, 8, u32::MAX, 8, 0x3f00_0000, 1]);
}

#[test]
fn generic_addresses() {
    let code = ".shared .align 4 .b8 s[128]; mov.u32 %r2, s; shl.b32 %r3, %r1, 2; add.u32 %r2, %r2, %r3; cvt.u64.u32 %x2, %r2; cvta.shared.u64 %x3, %x2;\n\
        st.u32 [%x3], %r1; cvta.to.shared.u64 %x4, %x3; cvt.u32.u64 %r4, %x4; ld.shared.u32 %r5, [%r4];\n\
        isspacep.shared %p1, %x3; isspacep.global %p2, %x3; isspacep.global %p3, %x30; selp.u32 %r6, 1, 0, %p1; @%p2 mov.u32 %r6, 0; @!%p3 mov.u32 %r6, 0; mad.lo.u32 %r0, %r6, 100, %r5;";
    let identity: [u64; 32] = std::array::from_fn(|lane| lane as u64);
    assert_eq!(lanes("sm_80", "%r0", code, &[identity]), identity.map(|lane| 100 + lane));
    // Lanes of one instruction in different spaces.
    let mixed = ".shared .align 4 .b8 s[128]; mov.u64 %x2, s; cvta.shared.u64 %x3, %x2; mul.wide.u32 %x4, %r1, 4; add.u64 %x3, %x3, %x4; st.u32 [%x3], 55;\n\
        setp.lt.u32 %p1, %r1, 16; selp.b64 %x5, %x3, %x30, %p1; ld.u32 %r0, [%x5];";
    assert_eq!(
        lanes("sm_80", "%r0", mixed, &[identity]),
        identity.map(|lane| if lane < 16 { 55 } else { lane })
    );
}

#[test]
fn kernel_parameters() {
    let text = ".version 8.0\n.target sm_80\n.address_size 64\n.visible .entry k(.param .u8 a, .param .align 16 .b8 s[32], .param .u64 .ptr .global .align 8 out)\n\
        .maxntid 32, 1, 1\n.minnctapersm 2\n{ .reg .b32 %r<8>; .reg .b64 %x<8>;\n\
        ld.param.u8 %r1, [a]; ld.param.v4.u32 {%r2, %r3, %r4, %r5}, [s+16]; ld.param.u64 %x1, [out];\n\
        mov.b64 %x2, s; cvta.param.u64 %x3, %x2; ld.u32 %r6, [%x3+4]; ld.param.u32 %r7, [%x2+8];\n\
        st.global.v4.u32 [%x1], {%r1, %r5, %r6, %r7}; ret; }";
    let mut device = crate::harness::device("sm_80");
    let module = device.load(text.as_bytes()).unwrap();
    let out = device.memory_mut().allocate(16).unwrap();
    let words: Vec<u8> = (10u32..18).flat_map(|word| word.to_le_bytes()).collect();
    let arguments =
        blockscale_emulator::Device::arguments(&module, "k", &[&[200], &words, &out.to_le_bytes()])
            .unwrap();
    assert_eq!(arguments.len(), 56);
    device
        .launch(&module, "k", blockscale_emulator::LaunchConfig::linear(1, 1), &arguments, None)
        .unwrap();
    let mut bytes = [0; 16];
    device.memory().read(out, &mut bytes).unwrap();
    assert_eq!(
        bytes.chunks(4).map(|w| u32::from_le_bytes(w.try_into().unwrap())).collect::<Vec<_>>(),
        [200, 17, 11, 12]
    );
}

/// 64 threads do an atomic on word 4 of the buffer, which starts as given; the old value of the last
/// block of threads is not looked at, the final one is.
fn atomic(setup: &str, code: &str) -> (u32, u32) {
    let body = format!(
        "ld.param.u64 %x1, [p]; mov.u32 %r1, %tid.x; mov.u32 %r10, %ctaid.x; add.u64 %x2, %x1, 16; setp.eq.u32 %p1, %r1, 0; @%p1 st.global.u32 [%x2], {setup}; bar.sync 0; {code}"
    );
    let words = Kernel::new("sm_90", 64, &body).words();
    (words[4], words[5])
}

#[test]
fn atomics_on_global_memory() {
    assert_eq!(atomic("0", "atom.global.add.u32 %r2, [%x2], 2;").0, 128);
    assert_eq!(atomic("0", "red.global.add.u32 [%x2], %r1;").0, 63 * 32);
    assert_eq!(atomic("0", "red.relaxed.gpu.global.add.s32 [%x2], -1;").0, (-64i32) as u32);
    assert_eq!(atomic("0", "atom.acq_rel.sys.global.max.u32 %r2, [%x2], %r1;").0, 63);
    assert_eq!(atomic("5", "atom.global.min.s32 %r2, [%x2], -7;").0, (-7i32) as u32);
    assert_eq!(atomic("5", "atom.min.u32 %r2, [%x2], %r1;").0, 0);
    assert_eq!(atomic("-5", "atom.global.max.s32 %r2, [%x2], 3;").0, 3);
    assert_eq!(atomic("255", "red.global.and.b32 [%x2], 60;").0, 60);
    assert_eq!(atomic("0", "shl.b32 %r3, 1, %r1; red.global.or.b32 [%x2], %r3;").0, u32::MAX);
    assert_eq!(atomic("7", "red.global.xor.b32 [%x2], 1;").0, 7);
    assert_eq!(atomic("7", "atom.global.exch.b32 %r2, [%x2], 9;").0, 9);
    assert_eq!(atomic("0", "atom.global.inc.u32 %r2, [%x2], 9;").0, 4);
    assert_eq!(atomic("0", "atom.global.dec.u32 %r2, [%x2], 9;").0, 6);
    assert_eq!(atomic("3", "atom.global.cas.b32 %r2, [%x2], 3, 8;").0, 8);
    assert_eq!(atomic("0", "red.global.add.f32 [%x2], 0f3F000000;").0, 32f32.to_bits());
    assert_eq!(
        atomic("0", "mov.u32 %r3, 0x3c003800; atom.global.add.noftz.f16x2 %r2, [%x2], %r3;").0,
        0x5400_5000
    );
    assert_eq!(
        atomic("0", "mov.u32 %r3, 0x3f803f00; red.global.add.noftz.bf16x2 [%x2], %r3;").0,
        0x4280_4200
    );
    assert_eq!(atomic("0", "red.global.add.u64 [%x2], 0x100000001;"), (64, 64));
    assert_eq!(atomic("0", "atom.global.max.u64 %x3, [%x2], 0x100000001;"), (1, 1));
    assert_eq!(
        atomic("0", "red.global.add.f64 [%x2], 0d3FF0000000000000;").1,
        (64f64.to_bits() >> 32) as u32
    );
    assert_eq!(atomic("0", "atom.global.exch.b64 %x3, [%x2], 0x500000006;"), (6, 5));
    assert_eq!(
        atomic("0", "mov.u16 %h2, 0; mov.u16 %h3, 9; atom.global.cas.b16 %h1, [%x2], %h2, %h3;").0,
        9
    );
}

#[test]
fn atomics_on_shared_memory() {
    let body = ".shared .align 4 .b8 s[4]; ld.param.u64 %x1, [p]; mov.u32 %r1, %tid.x; setp.eq.u32 %p1, %r1, 0; @%p1 st.shared.u32 [s], 0; bar.sync 0;\n\
        atom.shared.add.u32 %r2, [s], %r1; red.shared.max.u32 [s], 5; bar.sync 0; ld.shared.u32 %r3, [s]; st.global.u32 [%x1], %r3;";
    assert_eq!(Kernel::new("sm_80", 64, body).words()[0], 63 * 32);
    check("sm_80", "%r0", ".shared .b32 s; atom.shared::cta.exch.b32 %r0, [s], 4;", &[]);
}

const ASYNC: &str = ".shared .align 16 .b8 s[1024]; ld.param.u64 %x1, [p]; mov.u32 %r1, %tid.x; mul.wide.u32 %x2, %r1, 16; add.u64 %x3, %x1, %x2; mov.u32 %r2, s; shl.b32 %r3, %r1, 4; add.u32 %r2, %r2, %r3;\n\
    add.u32 %r4, %r1, 1; st.global.v4.u32 [%x3], {%r4, %r4, %r4, %r4}; add.u64 %x4, %x3, 512; ";

fn asynchronous(code: &str) -> Vec<u32> {
    let body = format!(
        "{ASYNC} {code} ld.shared.v4.u32 {{%r10, %r11, %r12, %r13}}, [%r2]; st.global.v4.u32 [%x4], {{%r10, %r11, %r12, %r13}};"
    );
    Kernel::new("sm_80", 32, &body).words()[128..136].to_vec()
}

#[test]
fn asynchronous_copies() {
    let whole = [1, 1, 1, 1, 2, 2, 2, 2];
    assert_eq!(
        asynchronous(
            "cp.async.cg.shared.global [%r2], [%x3], 16; cp.async.commit_group; cp.async.wait_group 0;"
        ),
        whole
    );
    assert_eq!(
        asynchronous(
            "cp.async.ca.shared::cta.global.L2::128B [%r2], [%x3], 16; cp.async.wait_all;"
        ),
        whole
    );
    let parts = "cp.async.ca.shared.global [%r2], [%x3], 8; cp.async.ca.shared.global [%r2+8], [%x3+8], 4; cp.async.ca.shared.global [%r2+12], [%x3+12], 4; cp.async.wait_all;";
    assert_eq!(asynchronous(parts), whole);
    assert_eq!(
        asynchronous("cp.async.cg.shared.global [%r2], [%x3], 16, 6; cp.async.wait_all;"),
        [1, 1, 0, 0, 2, 2, 0, 0]
    );
    assert_eq!(
        asynchronous(
            "mov.u32 %r9, 0; cp.async.cg.shared.global [%r2], [%x3], 16, %r9; cp.async.wait_all;"
        ),
        [0; 8]
    );
    assert_eq!(
        asynchronous(
            "setp.eq.u32 %p1, %r1, 0; cp.async.cg.shared.global [%r2], [%x3], 16, %p1; cp.async.wait_all;"
        ),
        [0, 0, 0, 0, 2, 2, 2, 2]
    );
    // The later group may stay pending.
    let two = "cp.async.cg.shared.global [%r2], [%x3], 16; cp.async.commit_group; cp.async.cg.shared.global [%r2+512], [%x3], 16; cp.async.commit_group; cp.async.wait_group 1;";
    assert_eq!(asynchronous(two), whole);
}

#[test]
fn dynamic_shared_memory() {
    let outside = ".extern .shared .align 16 .b8 dynamic[];\n";
    let body = ".shared .align 4 .b8 fixed[20]; ld.param.u64 %x1, [p]; mov.u32 %r1, dynamic; st.shared.u32 [dynamic+4], 6; ld.shared.u32 %r2, [%r1+4];\n\
        mov.u32 %r3, fixed; sub.u32 %r3, %r1, %r3; st.global.v2.u32 [%x1], {%r2, %r3};";
    assert_eq!(Kernel { outside, ..Kernel::new("sm_80", 1, body) }.words()[..2], [6, 32]);
}

/// Sectors by access pattern, for 32 lanes.
#[test]
fn sectors_and_conflicts_are_counted() {
    let counts = |address: &str, access: &str| {
        let body = format!(
            ".shared .align 16 .b8 s[4096]; ld.param.u64 %x1, [p]; mov.u32 %r1, %tid.x; mov.u32 %r9, 1; {address} cvt.u64.u32 %x2, %r2; add.u64 %x3, %x1, %x2; mov.u32 %r3, s; add.u32 %r4, %r3, %r2; {access}"
        );
        Kernel { bytes: 1 << 16, ..Kernel::new("sm_80", 32, &body) }.run().unwrap().1
    };
    let aligned =
        counts("shl.b32 %r2, %r1, 2;", "ld.global.u32 %r5, [%x3]; st.global.u32 [%x3], %r5;");
    assert_eq!(
        (aligned.global_load_requests, aligned.global_load_sectors, aligned.global_load_bytes),
        (1, 4, 128)
    );
    assert_eq!(
        (aligned.global_store_requests, aligned.global_store_sectors, aligned.global_store_bytes),
        (1, 4, 128)
    );
    assert_eq!(
        counts("shl.b32 %r2, %r1, 2; add.u32 %r2, %r2, 4;", "ld.global.u32 %r5, [%x3];")
            .global_load_sectors,
        5
    );
    assert_eq!(counts("shl.b32 %r2, %r1, 5;", "ld.global.u32 %r5, [%x3];").global_load_sectors, 32);
    assert_eq!(counts("mov.u32 %r2, 0;", "ld.global.u32 %r5, [%x3];").global_load_sectors, 1);
    assert_eq!(
        counts("shl.b32 %r2, %r1, 4;", "ld.global.v4.u32 {%r5, %r6, %r7, %r8}, [%x3];")
            .global_load_sectors,
        16
    );
    assert_eq!(
        counts("shl.b32 %r2, %r1, 2;", "red.global.add.u32 [%x3], 1;").global_atomic_sectors,
        4
    );
    let free = counts("shl.b32 %r2, %r1, 2;", "st.shared.u32 [%r4], %r9;");
    assert_eq!(
        (free.shared_store_requests, free.shared_wavefronts, free.shared_bank_conflicts),
        (1, 1, 0)
    );
    let twofold =
        counts("shl.b32 %r2, %r1, 3;", "st.shared.u32 [%r4], %r9; ld.shared.u32 %r5, [%r4];");
    assert_eq!(
        (twofold.shared_load_requests, twofold.shared_wavefronts, twofold.shared_bank_conflicts),
        (1, 4, 2)
    );
    let body = "mov.u32 %r1, 1; mov.u32 %r2, %tid.x; setp.lt.u32 %p1, %r2, 8; @%p1 mov.u32 %r1, 2;";
    let counters = Kernel { blocks: 3, ..Kernel::new("sm_80", 64, body) }.run().unwrap().1;
    // Five instructions with the return, six warps; in every second warp the fourth has no lane.
    assert_eq!((counters.warp_instructions, counters.blocks), (30, 3));
    assert_eq!(counters.thread_instructions, 3 * (64 * 4 + 8));
}
