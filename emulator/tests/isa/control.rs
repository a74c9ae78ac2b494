use crate::harness::{Kernel, check, lanes};

fn identity() -> [u64; 32] {
    std::array::from_fn(|lane| lane as u64)
}

#[test]
fn divergent_loop_and_reconvergence() {
    let code = "mov.u32 %r0, 0; mov.u32 %r2, 0;\nLOOP: setp.ge.u32 %p1, %r2, %r1; @%p1 bra DONE;\n\
                add.u32 %r0, %r0, %r2; add.u32 %r2, %r2, 1; bra LOOP;\nDONE: activemask.b32 %r3; setp.eq.u32 %p2, %r3, -1; @!%p2 add.u32 %r0, %r0, 1000;";
    let got = lanes("sm_80", "%r0", code, &[identity()]);
    assert_eq!(got, identity().map(|n| n * n.saturating_sub(1) / 2));
}

#[test]
fn indexed_branch() {
    let code = "and.b32 %r2, %r1, 3;\nTABLE: .branchtargets A, B, C, A;\nbrx.idx %r2, TABLE;\n\
                A: mov.u32 %r0, 10; bra.uni END;\nB: mov.u32 %r0, 20; bra.uni END;\nC: mov.u32 %r0, 30;\nEND:";
    let got = lanes("sm_80", "%r0", code, &[identity()]);
    assert_eq!(got, identity().map(|lane| [10, 20, 30, 10][lane as usize % 4]));
}

/// Inline assembly repeats the names of registers and labels in its own braces.
#[test]
fn nested_scopes() {
    let code = "mov.u32 %r0, 0;\n{ .reg .b32 t; .reg .pred q; mov.u32 t, 5; setp.eq.u32 q, %r1, 3; @q bra L; add.u32 %r0, %r0, t; L: }\n\
                { .reg .b64 t; .reg .pred q; mov.u64 t, 7; setp.ne.u32 q, %r1, 3; @q bra L; cvt.u32.u64 %r0, t; L: }";
    check("sm_80", "%r0", code, &[(&[3], 7), (&[4], 5)]);
}

const FUNCTIONS: &str = "\
.func (.param .b32 result) triple(.param .b32 a, .param .align 8 .b8 b[16])\n{\n\
.reg .b32 %r<6>; .reg .b64 %x<2>; .reg .pred %p<2>;\n\
ld.param.u32 %r1, [a]; ld.param.u32 %r2, [b+12];\n\
setp.gt.u32 %p1, %r1, 15; @%p1 bra BIG;\nmul.lo.u32 %r3, %r1, 3; add.u32 %r3, %r3, %r2; st.param.b32 [result+0], %r3; ret;\n\
BIG: st.param.b32 [result], %r1; ret;\n}\n\
.func outer(.param .b64 where)\n{\n\
.local .align 4 .b8 space[8]; .reg .b32 %r<4>; .reg .b64 %x<4>;\n\
ld.param.u64 %x1, [where]; mov.u64 %x2, space; st.local.u32 [%x2+4], 77; ld.local.u32 %r1, [space+4];\n\
st.u32 [%x1], %r1; ret;\n}\n";

#[test]
fn calls() {
    let body = "mov.u32 %r1, %tid.x; ld.param.u64 %x1, [p]; mul.wide.u32 %x2, %r1, 4; add.u64 %x3, %x1, %x2;\n\
        { .param .b32 p0; .param .align 8 .b8 p1[16]; .param .b32 r0;\n\
        st.param.b32 [p0], %r1; st.param.b32 [p1+12], 100;\n\
        call.uni (r0), triple, (p0, p1);\nld.param.b32 %r2, [r0];\n}\nst.global.u32 [%x3], %r2;";
    let words = Kernel { outside: FUNCTIONS, ..Kernel::new("sm_80", 32, body) }.words();
    let wanted: Vec<u32> = (0..32).map(|n| if n > 15 { n } else { 3 * n + 100 }).collect();
    assert_eq!(words[..32], wanted);

    // A pointer into the caller's frame reaches the callee as a generic address.
    let body = "mov.u32 %r1, %tid.x; ld.param.u64 %x1, [p];\n.local .align 8 .b8 mine[16];\n\
        mov.u64 %x4, mine; cvta.local.u64 %x5, %x4; add.u64 %x5, %x5, 8;\n\
        { .param .b64 p0; st.param.b64 [p0], %x5; call outer, (p0); }\n\
        ld.local.u32 %r2, [%x4+8]; st.global.u32 [%x1], %r2;";
    assert_eq!(Kernel { outside: FUNCTIONS, ..Kernel::new("sm_80", 32, body) }.words()[0], 77);
}

#[test]
fn exit_of_some_lanes() {
    let body = "ld.param.u64 %x1, [p]; mov.u32 %r1, %tid.x; mul.wide.u32 %x2, %r1, 4; add.u64 %x1, %x1, %x2;\n\
        setp.gt.u32 %p1, %r1, 9; @%p1 exit; st.global.u32 [%x1], 1; @!%p1 ret; st.global.u32 [%x1], 2;";
    let words = Kernel::new("sm_80", 32, body).words();
    assert_eq!(words[..32], [[1; 10].as_slice(), [0; 22].as_slice()].concat());
}

/// Each thread writes a special register.
fn special(name: &str) -> Vec<u32> {
    let body = format!(
        "ld.param.u64 %x1, [p]; mov.u32 %r1, %tid.x; mov.u32 %r2, %ctaid.x; mad.lo.u32 %r1, %r2, 48, %r1;\n\
         mul.wide.u32 %x2, %r1, 4; add.u64 %x1, %x1, %x2; mov.u32 %r3, {name}; st.global.u32 [%x1], %r3;"
    );
    Kernel { blocks: 2, ..Kernel::new("sm_90", 48, &body) }.words()[..96].to_vec()
}

#[test]
fn special_registers() {
    let per_thread = |wanted: fn(u32, u32) -> u32| -> Vec<u32> {
        (0..96).map(|n| wanted(n / 48, n % 48)).collect()
    };
    assert_eq!(special("%tid.x"), per_thread(|_, t| t));
    assert_eq!(special("%tid.y"), per_thread(|_, _| 0));
    assert_eq!(special("%ntid.x"), per_thread(|_, _| 48));
    assert_eq!(special("%ctaid.x"), per_thread(|b, _| b));
    assert_eq!(special("%nctaid.x"), per_thread(|_, _| 2));
    assert_eq!(special("%nctaid.z"), per_thread(|_, _| 1));
    assert_eq!(special("%laneid"), per_thread(|_, t| t % 32));
    assert_eq!(special("%warpid"), per_thread(|_, t| t / 32));
    assert_eq!(special("%nwarpid"), per_thread(|_, _| 2));
    assert_eq!(special("%lanemask_eq"), per_thread(|_, t| 1 << (t % 32)));
    assert_eq!(special("%lanemask_lt"), per_thread(|_, t| (1 << (t % 32)) - 1));
    assert_eq!(special("%lanemask_le"), per_thread(|_, t| (2u64.pow(t % 32 + 1) - 1) as u32));
    assert_eq!(special("%lanemask_gt"), per_thread(|_, t| !((2u64.pow(t % 32 + 1) - 1) as u32)));
    assert_eq!(special("%lanemask_ge"), per_thread(|_, t| u32::MAX << (t % 32)));
    assert_eq!(special("%dynamic_smem_size"), per_thread(|_, _| 1024));
    assert_eq!(special("%cluster_ctarank"), per_thread(|_, _| 0));
}

#[test]
fn clocks_go_forward() {
    let code = "mov.u32 %r1, %clock; mov.u64 %x1, %clock64; mov.u64 %x2, %globaltimer; add.u32 %r3, %r1, 1;\n\
                mov.u32 %r2, %clock; mov.u64 %x3, %globaltimer; setp.gt.u32 %p0, %r2, %r1; setp.gt.and.u64 %p0, %x3, %x2, %p0;";
    check("sm_80", "%p0", code, &[(&[], 1)]);
}

#[test]
fn hints_and_fences_do_nothing() {
    let code = "membar.cta; membar.gl; membar.sys; fence.acq_rel.gpu; fence.sc.cta; fence.acquire.gpu; fence.release.sys;\n\
        nanosleep.u32 20; prefetch.global.L2 [%x30]; prefetch.global.L1 [%x30]; prefetch.global.L2::evict_last [%x30]; prefetchu.L1 [%x30];\n\
        pmevent 1; griddepcontrol.wait; griddepcontrol.launch_dependents; .pragma \"nounroll\"; .loc 1 2 3\n mov.u32 %r0, 1;";
    check("sm_90", "%r0", code, &[(&[], 1)]);
    check("sm_90a", "%r0", "setmaxnreg.inc.sync.aligned.u32 64; mov.u32 %r0, 1;", &[(&[], 1)]);
    check(
        "sm_80",
        "%r0",
        "createpolicy.fractional.L2::evict_first.b64 %x1, 1.0; mov.u32 %r0, 1;",
        &[(&[], 1)],
    );
}

/// Warp w writes, then reads what the next warp wrote.
fn exchange(barrier: &str) -> Vec<u32> {
    let body = format!(
        ".shared .align 4 .b8 s[512]; ld.param.u64 %x1, [p]; mov.u32 %r1, %tid.x; mov.u32 %r2, s; shl.b32 %r3, %r1, 2; add.u32 %r4, %r2, %r3;\n\
         st.shared.u32 [%r4], %r1; {barrier}; add.u32 %r5, %r1, 32; and.b32 %r5, %r5, 127; shl.b32 %r5, %r5, 2; add.u32 %r5, %r5, %r2;\n\
         ld.shared.u32 %r6, [%r5]; cvt.u64.u32 %x2, %r3; add.u64 %x1, %x1, %x2; st.global.u32 [%x1], %r6;"
    );
    Kernel::new("sm_80", 128, &body).words()[..128].to_vec()
}

#[test]
fn barriers() {
    let wanted: Vec<u32> = (0..128).map(|t| (t + 32) % 128).collect();
    for barrier in [
        "bar.sync 0",
        "bar.sync 3, 128",
        "barrier.sync 1",
        "barrier.sync.aligned 0",
        "barrier.cta.sync.aligned 2, 128",
        "mov.u32 %r9, 5; bar.sync %r9",
        "bar.red.popc.u32 %r8, 0, 1",
        "bar.arrive 1, 256; bar.sync 1, 256",
    ] {
        assert_eq!(exchange(barrier), wanted, "{barrier}");
    }
}

#[test]
fn barrier_reductions() {
    let reduce = |code: &str| {
        let body = format!(
            "ld.param.u64 %x1, [p]; mov.u32 %r1, %tid.x; setp.lt.u32 %p1, %r1, 40; {code} mul.wide.u32 %x2, %r1, 4; add.u64 %x1, %x1, %x2; st.global.u32 [%x1], %r0;"
        );
        let words = Kernel::new("sm_80", 64, &body).words();
        assert_eq!(words[..64], [words[0]; 64]);
        words[0]
    };
    assert_eq!(reduce("bar.red.popc.u32 %r0, 0, %p1;"), 40);
    assert_eq!(reduce("bar.red.popc.u32 %r0, 0, 64, !%p1;"), 24);
    assert_eq!(reduce("bar.red.and.pred %p2, 0, %p1; selp.u32 %r0, 1, 0, %p2;"), 0);
    assert_eq!(reduce("bar.red.or.pred %p2, 0, %p1; selp.u32 %r0, 1, 0, %p2;"), 1);
    assert_eq!(reduce("barrier.cta.red.popc.aligned.u32 %r0, 0, %p1;"), 40);
}

/// The producer only arrives; the consumer waits for it.
#[test]
fn arrive_and_wait() {
    let body = ".shared .align 4 .b8 s[128]; ld.param.u64 %x1, [p]; mov.u32 %r1, %tid.x; and.b32 %r2, %r1, 31; shl.b32 %r2, %r2, 2; mov.u32 %r3, s; add.u32 %r3, %r3, %r2;\n\
        setp.lt.u32 %p1, %r1, 32; @!%p1 bra CONSUMER;\nst.shared.u32 [%r3], %r1; bar.arrive 2, 64; bra END;\n\
        CONSUMER: bar.sync 2, 64; ld.shared.u32 %r4, [%r3]; cvt.u64.u32 %x2, %r2; add.u64 %x1, %x1, %x2; st.global.u32 [%x1], %r4;\nEND:";
    let words = Kernel::new("sm_80", 64, body).words();
    assert_eq!(words[..32], (0..32).collect::<Vec<u32>>());
}

/// One warp spins on a flag that another one sets.
#[test]
fn warps_take_turns() {
    let body = "ld.param.u64 %x1, [p]; mov.u32 %r1, %tid.x; setp.ge.u32 %p1, %r1, 32; @%p1 bra SET;\n\
        WAIT: ld.volatile.global.u32 %r2, [%x1]; setp.eq.u32 %p2, %r2, 0; @%p2 bra WAIT;\n st.global.u32 [%x1+4], %r2; ret;\n\
        SET: st.volatile.global.u32 [%x1], 9;";
    assert_eq!(Kernel::new("sm_80", 64, body).words()[..2], [9, 9]);
}
