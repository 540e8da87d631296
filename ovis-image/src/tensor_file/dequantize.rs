//! Dequantization of ggml's block formats to f32, as `ggml-quants.c` defines it
//! (`dequantize_row_*`).

use half::f16;

use super::encoding::Encoding;

/// Number of elements in the largest block.
pub(crate) const MAX_BLOCK_ELEMENTS: usize = 256;

/// Dequantizes one whole block into `output`, which has as many elements as the block. Encodings
/// without blocks leave `output` unchanged.
pub(crate) fn block(encoding: &Encoding, bytes: &[u8], output: &mut [f32]) {
    match encoding {
        Encoding::Q4_0 => {
            let (d, nibbles) = (half_at(bytes, 0), &bytes[2..]);
            halves(nibbles, output, |_, q| (q as f32 - 8.0) * d);
        }
        Encoding::Q4_1 => {
            let (d, m, nibbles) = (half_at(bytes, 0), half_at(bytes, 2), &bytes[4..]);
            halves(nibbles, output, |_, q| q as f32 * d + m);
        }
        Encoding::Q5_0 => {
            let (d, high, nibbles) = (half_at(bytes, 0), word_at(bytes, 2), &bytes[6..]);
            halves(nibbles, output, |i, q| {
                ((q | fifth_bit(high, i)) as f32 - 16.0) * d
            });
        }
        Encoding::Q5_1 => {
            let (d, m) = (half_at(bytes, 0), half_at(bytes, 2));
            let (high, nibbles) = (word_at(bytes, 4), &bytes[8..]);
            halves(nibbles, output, |i, q| {
                (q | fifth_bit(high, i)) as f32 * d + m
            });
        }
        Encoding::Q8_0 => {
            let d = half_at(bytes, 0);
            for (output, q) in output.iter_mut().zip(&bytes[2..]) {
                *output = f32::from(*q as i8) * d;
            }
        }
        Encoding::Q4K => q4_k(bytes, output),
        Encoding::Q5K => q5_k(bytes, output),
        Encoding::Q6K => q6_k(bytes, output),
        Encoding::F32 | Encoding::F16 | Encoding::BF16 | Encoding::Other(_) => {}
    }
}

/// Returns whether all floating-point scales of a block are finite.
pub(crate) fn scales_are_finite(encoding: &Encoding, bytes: &[u8]) -> bool {
    let at: &[usize] = match encoding {
        Encoding::Q4_0 | Encoding::Q5_0 | Encoding::Q8_0 => &[0],
        Encoding::Q4_1 | Encoding::Q5_1 | Encoding::Q4K | Encoding::Q5K => &[0, 2],
        Encoding::Q6K => &[Q6_K_SCALE],
        Encoding::F32 | Encoding::F16 | Encoding::BF16 | Encoding::Other(_) => &[],
    };
    at.iter().all(|at| half_at(bytes, *at).is_finite())
}

fn half_at(bytes: &[u8], at: usize) -> f32 {
    f16::from_le_bytes([bytes[at], bytes[at + 1]]).to_f32()
}

fn word_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}

/// Returns the fifth bit of an element, shifted above its nibble.
fn fifth_bit(high: u32, element: usize) -> u8 {
    (((high >> element) & 1) as u8) << 4
}

/// Dequantizes a block whose low nibbles are its first half and whose high nibbles are its second.
fn halves(nibbles: &[u8], output: &mut [f32], value: impl Fn(usize, u8) -> f32) {
    let middle = output.len() / 2;
    let (first, second) = output.split_at_mut(middle);
    for (i, (byte, (first, second))) in nibbles.iter().zip(first.iter_mut().zip(second)).enumerate()
    {
        *first = value(i, byte & 15);
        *second = value(i + middle, byte >> 4);
    }
}

/// Returns the 6-bit scale and minimum of one of eight groups of 32 (`get_scale_min_k4`).
fn scale_and_min(packed: &[u8], group: usize) -> (f32, f32) {
    let (scale, min) = if group < 4 {
        (packed[group] & 63, packed[group + 4] & 63)
    } else {
        (
            (packed[group + 4] & 15) | ((packed[group - 4] >> 6) << 4),
            (packed[group + 4] >> 4) | ((packed[group] >> 6) << 4),
        )
    };
    (f32::from(scale), f32::from(min))
}

/// Dequantizes a Q4_K block. Layout: d and dmin in f16, 12 bytes of scales, 128 bytes of nibbles.
fn q4_k(bytes: &[u8], output: &mut [f32]) {
    let (d, d_min) = (half_at(bytes, 0), half_at(bytes, 2));
    let (packed, nibbles) = (&bytes[4..16], &bytes[16..]);
    for (pair, (output, nibbles)) in output
        .chunks_exact_mut(64)
        .zip(nibbles.chunks_exact(32))
        .enumerate()
    {
        let (low, high) = output.split_at_mut(32);
        for (shift, group, output) in [(0, 2 * pair, low), (4, 2 * pair + 1, high)] {
            let (scale, min) = scale_and_min(packed, group);
            let (scale, min) = (d * scale, d_min * min);
            for (output, byte) in output.iter_mut().zip(nibbles) {
                *output = scale * f32::from((byte >> shift) & 15) - min;
            }
        }
    }
}

/// Dequantizes a Q5_K block. Layout: as Q4_K, with 32 bytes of fifth bits before the nibbles.
fn q5_k(bytes: &[u8], output: &mut [f32]) {
    let (d, d_min) = (half_at(bytes, 0), half_at(bytes, 2));
    let (packed, fifth, nibbles) = (&bytes[4..16], &bytes[16..48], &bytes[48..]);
    for (pair, (output, nibbles)) in output
        .chunks_exact_mut(64)
        .zip(nibbles.chunks_exact(32))
        .enumerate()
    {
        let (low, high) = output.split_at_mut(32);
        for (shift, group, output) in [(0, 2 * pair, low), (4, 2 * pair + 1, high)] {
            let (scale, min) = scale_and_min(packed, group);
            let (scale, min) = (d * scale, d_min * min);
            for ((output, byte), fifth) in output.iter_mut().zip(nibbles).zip(fifth) {
                let q = ((byte >> shift) & 15) | (((fifth >> group) & 1) << 4);
                *output = scale * f32::from(q) - min;
            }
        }
    }
}

/// Offset of the scale in a Q6_K block: after 128 bytes of low nibbles, 64 of high bits, 16 scales.
const Q6_K_SCALE: usize = 208;

fn q6_k(bytes: &[u8], output: &mut [f32]) {
    let d = half_at(bytes, Q6_K_SCALE);
    for (half, output) in output.chunks_exact_mut(128).enumerate() {
        let low = &bytes[64 * half..][..64];
        let high = &bytes[128 + 32 * half..][..32];
        let scales = &bytes[192 + 8 * half..][..8];
        for (quarter, output) in output.chunks_exact_mut(32).enumerate() {
            let low = &low[32 * (quarter % 2)..][..32];
            let shift = 4 * (quarter / 2);
            for (i, output) in output.iter_mut().enumerate() {
                let q = ((low[i] >> shift) & 15) | (((high[i] >> (2 * quarter)) & 3) << 4);
                let scale = f32::from(scales[2 * quarter + i / 16] as i8);
                *output = d * scale * (f32::from(q) - 32.0);
            }
        }
    }
}
