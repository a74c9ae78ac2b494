use crate::harness::{check, f, lanes};

fn identity() -> [u64; 32] {
    std::array::from_fn(|lane| lane as u64)
}

fn shuffled(code: &str) -> [u64; 32] {
    lanes("sm_80", "%r0", code, &[identity().map(|lane| 100 + lane)])
}

#[test]
fn shuffle_modes() {
    assert_eq!(
        shuffled("shfl.sync.bfly.b32 %r0, %r1, 5, 31, -1;"),
        identity().map(|lane| 100 + (lane ^ 5))
    );
    assert_eq!(
        shuffled("shfl.sync.up.b32 %r0, %r1, 3, 0, -1;"),
        identity().map(|lane| 100 + if lane < 3 { lane } else { lane - 3 })
    );
    assert_eq!(
        shuffled("shfl.sync.down.b32 %r0, %r1, 3, 31, -1;"),
        identity().map(|lane| 100 + if lane > 28 { lane } else { lane + 3 })
    );
    assert_eq!(shuffled("shfl.sync.idx.b32 %r0, %r1, 7, 31, -1;"), [107; 32]);
    // Segments of eight: the mask in bits 8 to 12 is 0b11000.
    assert_eq!(
        shuffled("shfl.sync.idx.b32 %r0, %r1, 2, 0x181f, -1;"),
        identity().map(|lane| 100 + (lane & 24) + 2)
    );
    assert_eq!(
        shuffled("shfl.sync.down.b32 %r0, %r1, 1, 0x181f, -1;"),
        identity().map(|lane| 100 + if lane % 8 == 7 { lane } else { lane + 1 })
    );
    assert_eq!(
        shuffled("shfl.sync.up.b32 %r0, %r1, 1, 0x1800, -1;"),
        identity().map(|lane| 100 + if lane % 8 == 0 { lane } else { lane - 1 })
    );
}

#[test]
fn shuffle_predicate() {
    let got = lanes("sm_80", "%p0", "shfl.sync.down.b32 %r0|%p0, %r1, 3, 31, -1;", &[identity()]);
    assert_eq!(got, identity().map(|lane| u64::from(lane <= 28)));
    let got = lanes("sm_80", "%p0", "shfl.sync.up.b32 _|%p0, %r1, 3, 0, -1;", &[identity()]);
    assert_eq!(got, identity().map(|lane| u64::from(lane >= 3)));
}

#[test]
fn shuffle_within_a_partial_mask() {
    let code = "mov.u32 %r0, 0; setp.lt.u32 %p1, %r1, 16;\n\
                @%p1 bra LOW;\nbra END;\nLOW: shfl.sync.bfly.b32 %r0, %r1, 1, 31, 0xffff;\nEND:";
    let got = lanes("sm_80", "%r0", code, &[identity()]);
    assert_eq!(got, identity().map(|lane| if lane < 16 { lane ^ 1 } else { 0 }));
    // Both halves at once, each with its own mask, which the lanes compute.
    let code = "and.b32 %r2, %r1, 16; mov.u32 %r3, 0xffff; shl.b32 %r3, %r3, %r2; shfl.sync.idx.b32 %r0, %r1, %r2, 31, %r3;";
    assert_eq!(lanes("sm_80", "%r0", code, &[identity()]), identity().map(|lane| lane & 16));
}

/// Lanes may meet at different instructions if these are equal but for their registers.
#[test]
fn collectives_meet_across_branches() {
    let code = "setp.lt.u32 %p1, %r1, 16;\n@%p1 bra LOW;\nadd.u32 %r2, %r1, 1000;\nshfl.sync.bfly.b32 %r0, %r2, 16, 31, -1;\n\
                bra END;\nLOW: shfl.sync.bfly.b32 %r0, %r1, 16, 31, -1;\nEND:";
    let got = lanes("sm_80", "%r0", code, &[identity()]);
    assert_eq!(got, identity().map(|lane| if lane < 16 { 1000 + (lane ^ 16) } else { lane ^ 16 }));
}

#[test]
fn votes() {
    let even = "and.b32 %r2, %r1, 1; setp.eq.u32 %p1, %r2, 0; ";
    let vote =
        |result: &str, code: &str| lanes("sm_80", result, &format!("{even}{code}"), &[identity()]);
    assert_eq!(vote("%r0", "vote.sync.ballot.b32 %r0, %p1, -1;"), [0x5555_5555; 32]);
    assert_eq!(vote("%r0", "vote.sync.ballot.b32 %r0, !%p1, -1;"), [0xaaaa_aaaa; 32]);
    assert_eq!(vote("%p0", "vote.sync.all.pred %p0, %p1, -1;"), [0; 32]);
    assert_eq!(vote("%p0", "vote.sync.any.pred %p0, %p1, -1;"), [1; 32]);
    assert_eq!(vote("%p0", "vote.sync.uni.pred %p0, %p1, -1;"), [0; 32]);
    let half = "mov.pred %p0, 0; @%p1 vote.sync.all.pred %p0, %p1, 0x55555555;";
    assert_eq!(vote("%p0", half), identity().map(|lane| 1 - lane % 2));
    assert_eq!(vote("%p0", "setp.eq.u32 %p1, %r1, 99; vote.sync.uni.pred %p0, %p1, -1;"), [1; 32]);
}

#[test]
fn matches() {
    let mod3 = identity().map(|lane| lane % 3);
    let mask = |class: u64| {
        (0..32).filter(|lane| lane % 3 == class).fold(0u64, |mask, lane| mask | 1 << lane)
    };
    assert_eq!(lanes("sm_80", "%r0", "match.any.sync.b32 %r0, %r1, -1;", &[mod3]), mod3.map(mask));
    assert_eq!(lanes("sm_80", "%r0", "match.any.sync.b64 %r0, %x1, -1;", &[mod3]), mod3.map(mask));
    assert_eq!(lanes("sm_80", "%r0", "match.all.sync.b32 %r0|%p0, %r1, -1;", &[mod3]), [0; 32]);
    assert_eq!(
        lanes("sm_80", "%r0", "match.all.sync.b32 %r0|%p0, %r1, -1;", &[[5; 32]]),
        [0xffff_ffff; 32]
    );
    assert_eq!(lanes("sm_80", "%p0", "match.all.sync.b64 %r0|%p0, %x1, -1;", &[[5; 32]]), [1; 32]);
}

#[test]
fn reductions() {
    let x = identity().map(|lane| (lane as u32).wrapping_sub(5) as u64);
    for (op, wanted) in [
        ("add.u32", 31 * 32 / 2 - 160),
        ("add.s32", 31 * 32 / 2 - 160),
        ("min.u32", 0),
        ("max.u32", 0xffff_ffff),
        ("min.s32", 0xffff_fffb),
        ("max.s32", 26),
        ("and.b32", 0),
        ("or.b32", 0xffff_ffff),
    ] {
        assert_eq!(
            lanes("sm_80", "%r0", &format!("redux.sync.{op} %r0, %r1, -1;"), &[x]),
            [wanted; 32],
            "{op}"
        );
    }
    let xor = x.iter().fold(0, |xor, word| xor ^ word);
    assert_eq!(lanes("sm_80", "%r0", "redux.sync.xor.b32 %r0, %r1, -1;", &[x]), [xor; 32]);
    let floats: [u64; 32] =
        std::array::from_fn(|lane| if lane == 7 { f(f32::NAN) } else { f(lane as f32 - 20.0) });
    let reduce = |form: &str| {
        lanes("sm_100a", "%f0", &format!("redux.sync.{form}.f32 %f0, %f1, -1;"), &[floats])[0]
    };
    assert_eq!(reduce("max"), f(11.0));
    assert_eq!(reduce("min"), f(-20.0));
    assert_eq!(reduce("max.abs"), f(20.0));
    assert_eq!(reduce("min.abs"), f(0.0));
    assert_eq!(reduce("max.NaN"), 0x7fff_ffff);
    assert_eq!(reduce("max.abs.NaN"), 0x7fff_ffff);
}

#[test]
fn active_lanes_and_election() {
    let code = "mov.u32 %r0, 0; setp.lt.u32 %p1, %r1, 4; @%p1 activemask.b32 %r0;";
    assert_eq!(
        lanes("sm_80", "%r0", code, &[identity()]),
        identity().map(|lane| if lane < 4 { 15 } else { 0 })
    );
    assert_eq!(
        lanes("sm_90", "%p0", "elect.sync %r0|%p0, -1;", &[identity()]),
        identity().map(|lane| u64::from(lane == 0))
    );
    check("sm_90", "%r0", "elect.sync %r0|%p0, -1;", &[(&[], 0)]);
    check("sm_80", "%r0", "bar.warp.sync -1; mov.u32 %r0, 3;", &[(&[], 3)]);
}
