"""Tests of the report itself: python3 scripts/kernel_report/selftest.py"""

import dataclasses
import sys
import unittest
from typing import Any

sys.dont_write_bytecode = True

import measure  # noqa: E402
import model  # noqa: E402
import sass  # noqa: E402
import table  # noqa: E402

ROW = measure.Row(
    case="quantize nvfp4 bf16 nearest",
    architecture="90a",
    entry="blockscale_quantize_fast",
    exempt=None,
    registers=40,
    shared_bytes=0,
    spill_bytes=0,
    ptx=16.0,
    sass_small=18.0,
    sass=17.0,
    in_loop=15.0,
    fitted=True,
    classes={},
    bytes=2.5625,
    sectors={"load": 16.0, "store": 4.0},
    ideal_sectors={"load": 16.0, "store": 4.0},
    sector_ratio=1.0,
    bank_conflicts=0,
    local_requests=0,
    predicted=dict.fromkeys(["64", "16"], model.Prediction(0.9, "issue")),
)
TABLE = {ROW.case: {"90a": 17.0}}

# A loop over one inner loop, which a rare case leaves for a call; line 9 was moved out of the loop,
# and the line table knows nothing of the assembler's own function.
LISTING = """
//--------------------- .text.kernel --------------------------
.text.kernel:
	//## File ".nv_debug_ptx_txt", line 1
        /*0000*/                   S2R R0, SR_TID.X ;
	//## File ".nv_debug_ptx_txt", line 9
        /*0010*/                   IMAD R9, R0, R0, RZ ;
	//## File ".nv_debug_ptx_txt", line 2
        /*0020*/                   ISETP.GE.AND P0, PT, R0, R1, PT ;
        /*0030*/               @P0 EXIT ;
.L_x_1:
	//## File ".nv_debug_ptx_txt", line 3
        /*0040*/                   LDG.E.128 R4, desc[UR4][R2.64] ;
	//## File ".nv_debug_ptx_txt", line 4
        /*0050*/                   BRA.U UP0, `(.L_x_3) ;
.L_x_2:
	//## File ".nv_debug_ptx_txt", line 5
        /*0060*/                   STG.E.64 desc[UR4][R2.64], R4 ;
	//## File ".nv_debug_ptx_txt", line 6
        /*0070*/              @!P0 BRA `(.L_x_1) ;
	//## File ".nv_debug_ptx_txt", line 7
        /*0080*/                   EXIT ;
.L_x_3:
	//## File ".nv_debug_ptx_txt", line 8
        /*0090*/                   CALL.REL.NOINC `($__internal_0_$square) ;
        /*00a0*/                   BRA `(.L_x_2) ;
        .weak           $__internal_0_$square
$__internal_0_$square:
        /*00b0*/                   FMUL R4, R4, R4 ;
        /*00c0*/                   RET.REL.NODEC R2 `(kernel) ;
.L_x_4:
        /*00d0*/                   BRA `(.L_x_4);
        /*00e0*/                   NOP;
"""


def executions(executed: dict[int, int]) -> dict[str, float]:
    blocks = sass.functions(LISTING)["kernel"]
    sass.fit(blocks, executed)
    return measure.weigh(blocks)


class Fit(unittest.TestCase):
    def test_blocks_run_as_often_as_their_lines(self) -> None:
        counts = executions({1: 10, 2: 10, 3: 40, 4: 40, 5: 40, 6: 40, 7: 10, 8: 4, 9: 40})
        self.assertEqual(counts["global"], 80)
        self.assertEqual(counts["imad"], 10)  # as often as where it stands, not as its line
        self.assertEqual(counts["f32"], 4)  # once a call
        self.assertEqual(counts["control"], 10 + 40 + 40 + 10 + 4 * 2 + 4)

    def test_one_wrong_count_does_not_break_the_flow(self) -> None:
        counts = executions({1: 10, 2: 10, 3: 40, 4: 40, 5: 40, 6: 0, 7: 10, 8: 0, 9: 10})
        self.assertEqual(counts["global"], 80)
        self.assertEqual(counts.get("f32", 0), 0)

    def test_loops_are_found(self) -> None:
        blocks = sass.functions(LISTING)["kernel"]
        marked = [block.labels for block in blocks if block.in_loop and block.code]
        self.assertEqual(marked, [[".L_x_1"], [".L_x_2"], [".L_x_3"], ["$__internal_0_$square"]])
        self.assertFalse(blocks[0].in_loop)

    def test_an_unrolled_loop_ran_all_iterations(self) -> None:
        copy = "/*0010*/  FADD R1, R1, R2 ;\n"
        mark = '//## File ".nv_debug_ptx_txt", line {}\n'
        loop = mark.format(2) + copy * 4 + mark.format(3) + "/*0020*/ @P0 BRA `(.L_x_1) ;\n"
        rest = mark.format(2) + copy + mark.format(4) + "/*0030*/ EXIT ;\n"
        text = "//---- .text.k ----\n" + mark.format(1) + "/*0000*/ MOV R1, RZ ;\n.L_x_1:\n" + loop + ".L_x_2:\n" + rest
        blocks = sass.functions(text)["k"]
        sass.fit(blocks, {1: 1, 2: 40, 4: 1})
        self.assertEqual([block.weight for block in blocks], [1, 10, 1])


class Model(unittest.TestCase):
    def share(self, architecture: str, bytes_: float, lanes: int = 64, **counts: float) -> model.Prediction:
        costs = {**dict.fromkeys([*model.NAMES, "issue", "shared_passes"], 0.0), **counts}
        return model.predict(model.GPUS[architecture], costs, bytes_, lanes)

    def test_budgets_at_a_share_of_085(self) -> None:
        budgets = [
            ("90a", 2.5625, 19, 9.7),
            ("100a", 2.5625, 9.2, 4.6),
            ("120a", 2.5625, 61, 31),
            ("90a", 4.53, 34, 17),
        ]
        for architecture, bytes_, issue, integer in budgets:
            self.assertAlmostEqual(self.share(architecture, bytes_, issue=issue).share, 0.85, delta=0.03)
            self.assertAlmostEqual(self.share(architecture, bytes_, integer=integer).share, 0.85, delta=0.03)

    def test_memory_bounds_what_computes_little(self) -> None:
        self.assertEqual(self.share("90a", 2.5, issue=1).limit, "memory")
        self.assertAlmostEqual(self.share("90a", 2.5, issue=1).share, 0.92)

    def test_a_narrow_conversion_unit_is_four_times_slower(self) -> None:
        wide, narrow = (self.share("100a", 2.5, lanes, conversion=8) for lanes in (64, 16))
        self.assertAlmostEqual(wide.share, 4 * narrow.share)

    def test_every_opcode_has_one_pipe_or_is_refused(self) -> None:
        pipes = {"IMAD": "imad", "IADD3": "integer", "FFMA2": "f32x2", "UIADD3": "uniform", "F2FP": "conversion"}
        for opcode, pipe in pipes.items():
            self.assertEqual(model.class_of(opcode), pipe)
        with self.assertRaises(SystemExit):
            model.class_of("QUUX")


class Check(unittest.TestCase):
    def problems(self, **changes: Any) -> list[str]:
        return table.problems([dataclasses.replace(ROW, **changes)], TABLE)

    def test_nothing_is_wrong_with_the_row(self) -> None:
        self.assertEqual(self.problems(), [])

    def test_spills_fail(self) -> None:
        self.assertIn("spills 8 bytes", self.problems(spill_bytes=8)[0])

    def test_wasted_sectors_fail(self) -> None:
        self.assertEqual(self.problems(sector_ratio=1.09), [])
        self.assertIn("1.11 times the ideal sectors", self.problems(sector_ratio=1.11)[0])

    def test_more_instructions_fail(self) -> None:
        self.assertEqual(self.problems(sass=18.6), [])
        self.assertIn("more than 10 % above", self.problems(sass=18.8)[0])

    def test_an_exempt_case_is_held_to_its_instructions_only(self) -> None:
        self.assertEqual(self.problems(exempt="generic", spill_bytes=8, sector_ratio=30), [])
        self.assertEqual(len(self.problems(exempt="generic", sass=20.0)), 1)

    def test_the_table_has_exactly_the_cases(self) -> None:
        self.assertIn("not in", self.problems(case="another")[0])
        self.assertIn("no case any more", self.problems(case="another")[1])

    def test_goals_are_said_to_be_missed(self) -> None:
        low = dict.fromkeys(["64", "16"], model.Prediction(0.84, "issue"))
        self.assertEqual(table.missed(dataclasses.replace(ROW, predicted=low)), ["share below 0.85"])
        self.assertEqual(
            table.missed(dataclasses.replace(ROW, predicted=low, case="quantize nvfp4 bf16 stochastic")), []
        )
        self.assertEqual(table.missed(dataclasses.replace(ROW, bank_conflicts=1)), ["bank conflicts"])
        self.assertEqual(table.missed(dataclasses.replace(ROW, classes={"local": 0.1})), ["local memory"])


class Assembler(unittest.TestCase):
    def test_spills_of_called_functions_count(self) -> None:
        report = """ptxas info    : Compiling entry function 'a' for 'sm_90a'
ptxas info    : Function properties for a
    16 bytes stack frame, 4 bytes spill stores, 8 bytes spill loads
ptxas info    : Function properties for callee
    0 bytes stack frame, 4 bytes spill stores, 4 bytes spill loads
ptxas info    : Compiling entry function 'b' for 'sm_90a'
ptxas info    : Function properties for b
    0 bytes stack frame, 0 bytes spill stores, 0 bytes spill loads"""
        self.assertEqual(measure.spills(report), {"a": 20, "b": 0})


if __name__ == "__main__":
    unittest.main()
