//! Tests of the code that the gradients share. Each gradient is tested against the portable
//! implementation in `kernels/autodiff/tests.rs`.

use std::mem::MaybeUninit;

use super::sums::{Passes, sum_rows};
use crate::cpu::instruction_set::InstructionSet;
use crate::cpu::output::unwritten;
use crate::cpu::rows::Rows;

#[test]
fn sums_of_rows_are_exact_for_whole_numbers() {
    let values: Vec<f32> = (0..700 * 33).map(|i| (i % 7) as f32).collect();
    let expected: Vec<f32> = (0..33)
        .map(|column| (0..700).map(|row| values[row * 33 + column]).sum())
        .collect();
    for set in InstructionSet::available() {
        assert_eq!(sum_rows(set, Rows::contiguous(&values, 33)), expected);
    }
}

#[test]
fn sums_beside_a_pass_belong_to_their_outer_row() {
    let passes = Passes {
        outer: 3,
        inner: 1000,
        width: 40,
        sums: 2,
    };
    let mut output = vec![0.0f32; 3 * 1000 * 40];
    let sums = passes.run(
        InstructionSet::detect(),
        unwritten(&mut output),
        |row, output, sums| {
            output.fill(MaybeUninit::new(row as f32));
            sums[0] += 1.0;
            sums[1] += (row / 1000) as f32;
        },
    );
    assert_eq!(sums, [1000.0, 0.0, 1000.0, 1000.0, 1000.0, 2000.0]);
    assert!(
        output
            .chunks_exact(40)
            .enumerate()
            .all(|(i, row)| row.iter().all(|v| *v == i as f32))
    );
}

#[test]
fn a_pass_over_nothing_gives_zeros() {
    let passes = Passes {
        outer: 2,
        inner: 0,
        width: 3,
        sums: 2,
    };
    let sums = passes.run::<f32>(InstructionSet::detect(), &mut [], |_, _, _| {});
    assert_eq!(sums, [0.0; 4]);
    assert!(sum_rows::<f32>(InstructionSet::detect(), Rows::contiguous(&[], 0)).is_empty());
}
