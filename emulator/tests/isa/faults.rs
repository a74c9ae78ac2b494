//! Planted bugs: each must be caught, at its place.

use crate::harness::Kernel;
use blockscale_emulator::error::FaultKind;

/// Loads the buffer and the thread into registers.
const START: &str = "ld.param.u64 %x1, [p]; mov.u32 %r1, %tid.x; mul.wide.u32 %x2, %r1, 4; add.u64 %x3, %x1, %x2;\n";
const SHARED: &str =
    ".shared .align 16 .b8 s[512]; mov.u32 %r2, s; shl.b32 %r3, %r1, 2; add.u32 %r4, %r2, %r3;\n";

fn fault(threads: u32, code: &str) -> Box<blockscale_emulator::error::Fault> {
    let body = format!("{START}{SHARED}{code}");
    Kernel { bytes: 4 * u64::from(threads), ..Kernel::new("sm_90", threads, &body) }.fault()
}

fn passes(threads: u32, code: &str) {
    let body = format!("{START}{SHARED}{code}");
    let kernel = Kernel { bytes: 4 * u64::from(threads), ..Kernel::new("sm_90", threads, &body) };
    kernel.run().unwrap_or_else(|fault| panic!("{fault}"));
}

#[test]
fn out_of_bounds_names_thread_and_instruction() {
    let fault = fault(64, "ld.global.u32 %r5, [%x3+4];");
    assert!(
        matches!(fault.kind, FaultKind::OutOfBounds { access: "load", bytes: 4, .. }),
        "{fault}"
    );
    assert_eq!((fault.entry.as_str(), fault.block, fault.thread), ("kernel", [0; 3], [63, 0, 0]));
    assert_eq!(fault.text, "ld.global.u32 %r5, [%x3+4];");
    assert_eq!(fault.kind.cuda_error(), 700);
    assert!(fault.to_string().contains("ld.global.u32 %r5, [%x3+4];"));
}

#[test]
fn out_of_bounds_elsewhere() {
    let is = |code: &str| {
        assert!(matches!(fault(32, code).kind, FaultKind::OutOfBounds { .. }), "{code}")
    };
    is("st.global.u32 [%x3+4], 1;");
    is("mov.u64 %x9, 0; ld.global.u32 %r5, [%x9];");
    is("st.shared.u32 [%r4+2048], 1;");
    is("ld.local.u32 %r5, [%x3];");
    is("red.global.add.u32 [%x3+256], 1;");
    is("ld.param.u64 %x5, [p+8];");
    is("cp.async.ca.shared.global [%r4], [%x3+1024], 4;");
}

#[test]
fn misaligned() {
    let is = |code: &str| {
        assert!(matches!(fault(32, code).kind, FaultKind::Misaligned { .. }), "{code}")
    };
    is("ld.global.u32 %r5, [%x3+2];");
    is("ld.global.v4.u32 {%r5, %r6, %r7, %r8}, [%x1+8];");
    is("st.shared.u64 [%r2+4], %x1;");
    is("mov.u32 %r9, 1; st.shared.u16 [%r2+1], %r9;");
    assert_eq!(fault(32, "ld.global.u32 %r5, [%x3+2];").kind.cuda_error(), 716);
}

#[test]
fn constant_memory_is_read_only() {
    let body = "mov.u64 %x1, table; st.global.u32 [%x1], 1;";
    let kernel =
        Kernel { outside: ".const .align 4 .b8 table[4] = {1};", ..Kernel::new("sm_80", 1, body) };
    assert!(matches!(kernel.fault().kind, FaultKind::ReadOnly { .. }));
}

#[test]
fn uninitialised_registers() {
    let fault = fault(32, "add.u32 %r5, %r6, 1;");
    assert_eq!(fault.kind, FaultKind::UninitialisedRegister { register: "%r6".into() });
    // Written by some lanes only.
    let code = "setp.lt.u32 %p1, %r1, 31; @%p1 mov.u32 %r6, 1; st.global.u32 [%x3], %r6;";
    let fault = self::fault(32, code);
    assert_eq!(
        (fault.thread, fault.kind),
        ([31, 0, 0], FaultKind::UninitialisedRegister { register: "%r6".into() })
    );
    let fault = self::fault(32, "@%p5 mov.u32 %r6, 1;");
    assert_eq!(fault.kind, FaultKind::UninitialisedRegister { register: "%p5".into() });
    // Copying an undefined value, as compilers do, is no use; using the copy is.
    passes(32, "mov.u32 %r5, %r6; mov.u32 %r5, 1; st.global.u32 [%x3], %r5;");
    let fault = self::fault(32, "mov.u32 %r5, %r6; add.u32 %r7, %r5, 1;");
    assert_eq!(fault.kind, FaultKind::UninitialisedRegister { register: "%r5".into() });
}

#[test]
fn uninitialised_shared_memory() {
    let fault = fault(32, "ld.shared.u32 %r5, [%r4];");
    assert!(matches!(fault.kind, FaultKind::UninitialisedShared { .. }), "{fault}");
    // Only a part was written.
    let fault =
        self::fault(32, "mov.u16 %h1, 0; st.shared.u16 [%r4], %h1; ld.shared.u32 %r5, [%r4];");
    assert!(matches!(fault.kind, FaultKind::UninitialisedShared { .. }), "{fault}");
}

const EXCHANGE: &str = "xor.b32 %r5, %r3, 128; add.u32 %r5, %r5, %r2; ld.shared.u32 %r6, [%r5]; st.global.u32 [%x3], %r6;";

#[test]
fn missing_barrier() {
    passes(64, &format!("st.shared.u32 [%r4], %r1; bar.sync 0; {EXCHANGE}"));
    // The reading warp runs later, so the value is there, but nothing promises it.
    let fault = fault(
        64,
        &format!(
            "setp.lt.u32 %p1, %r1, 32; @%p1 st.shared.u32 [%r4], %r1; @!%p1 {}",
            "xor.b32 %r5, %r3, 128; @!%p1 add.u32 %r5, %r5, %r2; @!%p1 ld.shared.u32 %r6, [%r5];"
        ),
    );
    assert!(
        matches!(fault.kind, FaultKind::SharedRace { this: "read", other: "write", .. }),
        "{fault}"
    );
}

#[test]
fn write_after_read_without_a_barrier() {
    let fault = fault(
        64,
        &format!("st.shared.u32 [%r4], %r1; bar.sync 0; {EXCHANGE} st.shared.u32 [%r4], %r6;"),
    );
    // Whichever warp runs first, its write and the other one's read are unordered.
    assert!(matches!(fault.kind, FaultKind::SharedRace { .. }), "{fault}");
}

#[test]
fn lanes_of_a_warp_need_a_sync_too() {
    let exchange = "xor.b32 %r5, %r3, 4; add.u32 %r5, %r5, %r2; ld.shared.u32 %r6, [%r5];";
    passes(32, &format!("st.shared.u32 [%r4], %r1; bar.warp.sync -1; {exchange}"));
    let fault = fault(32, &format!("st.shared.u32 [%r4], %r1; {exchange}"));
    assert!(matches!(fault.kind, FaultKind::SharedRace { .. }), "{fault}");
    // A shuffle orders no memory accesses.
    let fault = self::fault(
        32,
        &format!("st.shared.u32 [%r4], %r1; shfl.sync.bfly.b32 %r7, %r1, 1, 31, -1; {exchange}"),
    );
    assert!(matches!(fault.kind, FaultKind::SharedRace { .. }), "{fault}");
    // A sync of the lower half says nothing to the upper one.
    let half = "setp.lt.u32 %p1, %r1, 16; @%p1 bar.warp.sync 0xffff;";
    let fault = self::fault(32, &format!("st.shared.u32 [%r4], %r1; {half} {exchange}"));
    assert!(matches!(fault.kind, FaultKind::SharedRace { .. }), "{fault}");
    assert!(fault.thread[0] >= 16);
}

#[test]
fn two_writers() {
    let fault = fault(32, "st.shared.u32 [%r2], %r1;");
    assert!(
        matches!(fault.kind, FaultKind::SharedRace { this: "write", other: "write", .. }),
        "{fault}"
    );
    // All writing the same value do no harm.
    passes(32, "st.shared.u32 [%r2], 7;");
}

#[test]
fn wrong_barrier_count() {
    // Two of the three warps meet; what the third wrote stays unordered.
    let code = "st.shared.u32 [%r4], %r1; setp.lt.u32 %p1, %r1, 64; @!%p1 bra END; bar.sync 1, 64; ld.shared.u32 %r6, [%r2+256];\nEND:";
    let fault = fault(96, code);
    assert!(
        matches!(fault.kind, FaultKind::SharedRace { .. } | FaultKind::UninitialisedShared { .. }),
        "{fault}"
    );
    let fault = self::fault(64, "bar.sync 0, 96;");
    assert!(matches!(fault.kind, FaultKind::Divergent(_)), "{fault}");
    let fault = self::fault(64, "bar.sync 0, 40;");
    assert!(matches!(fault.kind, FaultKind::BadOperand(_)), "{fault}");
}

const COPY: &str = "shl.b32 %r8, %r1, 4; and.b32 %r8, %r8, 15; mov.u64 %x9, %x1; cp.async.ca.shared.global [%r4], [%x3], 4; cp.async.commit_group;";

#[test]
fn asynchronous_copy_not_waited_for() {
    passes(32, &format!("{COPY} cp.async.wait_group 0; ld.shared.u32 %r6, [%r4];"));
    for code in [
        "ld.shared.u32 %r6, [%r4];",
        "cp.async.wait_group 1; ld.shared.u32 %r6, [%r4];",
        "cp.async.wait_group 1; bar.sync 0; ld.shared.u32 %r6, [%r4];",
        "st.shared.u32 [%r4], 1;",
    ] {
        let fault = fault(32, &format!("{COPY} {code}"));
        assert!(matches!(fault.kind, FaultKind::AsyncNotWaited { .. }), "{code} {fault}");
    }
    // Waited for by the thread that copied, but other threads need a barrier.
    let other = "xor.b32 %r5, %r3, 128; add.u32 %r5, %r5, %r2; ld.shared.u32 %r6, [%r5];";
    passes(64, &format!("{COPY} cp.async.wait_all; bar.sync 0; {other}"));
    let fault = fault(
        64,
        &format!(
            "{COPY} cp.async.wait_all; setp.ge.u32 %p1, %r1, 32; xor.b32 %r5, %r3, 128; add.u32 %r5, %r5, %r2; @%p1 ld.shared.u32 %r6, [%r5];"
        ),
    );
    assert!(matches!(fault.kind, FaultKind::SharedRace { .. }), "{fault}");
}

#[test]
fn copy_into_a_buffer_still_being_read() {
    let code =
        format!("st.shared.u32 [%r4], %r1; bar.sync 0; {EXCHANGE} {COPY} cp.async.wait_all;");
    let fault = fault(64, &code);
    assert!(
        matches!(fault.kind, FaultKind::SharedRace { .. } | FaultKind::AsyncNotWaited { .. }),
        "{fault}"
    );
}

#[test]
fn wrong_masks() {
    // The executing lane is not in its mask.
    let fault = fault(32, "shfl.sync.bfly.b32 %r5, %r1, 1, 31, 0xffff;");
    assert!(matches!(fault.kind, FaultKind::BadOperand(_)), "{fault}");
    assert_eq!(fault.thread[0], 16);
    // Reading a lane outside the mask.
    let fault =
        self::fault(32, "setp.lt.u32 %p1, %r1, 8; @%p1 shfl.sync.down.b32 %r5, %r1, 4, 31, 0xff;");
    assert!(matches!(fault.kind, FaultKind::BadOperand(_)), "{fault}");
    // The mask names lanes that never come.
    let fault = self::fault(
        32,
        "setp.lt.u32 %p1, %r1, 16; @!%p1 bra OTHER; shfl.sync.bfly.b32 %r5, %r1, 1, 31, -1; bra END;\nOTHER: bar.warp.sync -1;\nEND:",
    );
    assert!(matches!(fault.kind, FaultKind::Divergent(_)), "{fault}");
    // Lanes that have exited are not waited for, but cannot be read.
    let fault = self::fault(
        32,
        "setp.ge.u32 %p1, %r1, 16; @%p1 exit; shfl.sync.bfly.b32 %r5, %r1, 16, 31, -1;",
    );
    assert!(matches!(fault.kind, FaultKind::BadOperand(_)), "{fault}");
    passes(32, "setp.ge.u32 %p1, %r1, 16; @%p1 exit; shfl.sync.bfly.b32 %r5, %r1, 8, 31, -1;");
}

#[test]
fn divergent_barriers() {
    for code in [
        // Half a warp only.
        "setp.lt.u32 %p1, %r1, 16; @%p1 bar.sync 0;",
        // Half a warp at each of two barriers.
        "setp.lt.u32 %p1, %r1, 16; @%p1 bra A; bar.sync 0; bra END;\nA: bar.sync 0;\nEND:",
        // A warp that has left.
        "setp.lt.u32 %p1, %r1, 32; @%p1 exit; bar.sync 0;",
        // Half a warp that has left.
        "setp.lt.u32 %p1, %r1, 16; @%p1 exit; bar.sync 0;",
        // Different barriers.
        "setp.lt.u32 %p1, %r1, 32; selp.u32 %r5, 1, 2, %p1; bar.sync %r5;",
    ] {
        let fault = fault(64, code);
        assert!(matches!(fault.kind, FaultKind::Divergent(_)), "{code} {fault}");
    }
    let fault = fault(64, "bar.sync %r1;");
    assert!(matches!(fault.kind, FaultKind::BadOperand(_)), "{fault}");
}

#[test]
fn divergent_matrix_instructions() {
    let code = "mov.u32 %r5, 0; setp.lt.u32 %p1, %r1, 16; @%p1 movmatrix.sync.aligned.m8n8.trans.b16 %r6, %r5;";
    assert!(matches!(fault(32, code).kind, FaultKind::Divergent(_)));
    let code = "mov.u32 %r5, 0; movmatrix.sync.aligned.m8n8.trans.b16 %r6, %r5;";
    assert!(matches!(fault(16, code).kind, FaultKind::Divergent(_)));
}

#[test]
fn traps_loops_and_division() {
    assert_eq!(fault(32, "setp.eq.u32 %p1, %r1, 5; @%p1 trap;").thread, [5, 0, 0]);
    assert!(matches!(fault(32, "AGAIN: bra AGAIN;").kind, FaultKind::Budget(_)));
    assert!(matches!(fault(32, "div.u32 %r5, 7, %r1;").kind, FaultKind::BadOperand(_)));
}

#[test]
fn block_and_thread_in_three_dimensions() {
    use blockscale_emulator::error::LaunchError;
    use blockscale_emulator::{Device, LaunchConfig};
    let body = "mov.u32 %r1, %tid.z; mov.u32 %r2, %ctaid.y; setp.eq.u32 %p1, %r1, 1; setp.eq.and.u32 %p1, %r2, 2, %p1; @%p1 trap;";
    let text = crate::harness::module("sm_80", "", "", body);
    let mut device = crate::harness::device("sm_80");
    let module = device.load(text.as_bytes()).unwrap();
    let config = LaunchConfig { grid: [2, 3, 1], block: [4, 2, 2], dynamic_shared: 0 };
    let arguments = Device::arguments(&module, "kernel", &[]).unwrap();
    let Err(LaunchError::Fault(fault)) = device.launch(&module, "kernel", config, &arguments, None)
    else {
        panic!()
    };
    assert_eq!((fault.block, fault.thread), ([0, 2, 0], [0, 0, 1]));
}
