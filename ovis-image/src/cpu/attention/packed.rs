//! Keys and values of a head, packed as left-hand panels in blocks of keys.

use super::heads::{HeadSizes, Tokens};
use super::values::pack_values;
use crate::cpu::element::Element;
use crate::cpu::output::unwritten;
use crate::cpu::panel::pack;

/// Largest number of keys of a block: even, so that no pair of bf16 spans two blocks.
pub(super) const BLOCK: usize = 512;

/// Packed keys and values of a head, one block after the other.
#[derive(Debug, Default)]
pub(super) struct PackedHead {
    /// Panels of keys, `[block][panel][units of head_dim][rows]`.
    keys: Vec<u32>,
    /// Panels of channels, `[block][panel][units of keys][rows]`.
    values: Vec<u32>,
}

/// Block of packed keys and values.
#[derive(Debug)]
pub(super) struct Block<'a> {
    pub(super) first: usize,
    pub(super) keys: usize,
    pub(super) key_panels: &'a [u32],
    pub(super) value_panels: &'a [u32],
}

/// Block that is to be packed.
#[derive(Debug)]
pub(super) struct BlockMut<'a> {
    pub(super) first: usize,
    pub(super) keys: usize,
    key_panels: &'a mut [u32],
    value_panels: &'a mut [u32],
}

impl PackedHead {
    /// Makes room for a head and iterates over its blocks.
    pub(super) fn blocks_mut(&mut self, sizes: &HeadSizes) -> impl Iterator<Item = BlockMut<'_>> {
        self.keys.resize(sizes.key_units(sizes.keys), 0);
        self.values.resize(sizes.value_units(sizes.keys), 0);
        let keys = self.keys.chunks_mut(sizes.key_units(BLOCK));
        let values = self.values.chunks_mut(sizes.value_units(BLOCK));
        let blocks = (0..sizes.keys).step_by(BLOCK).zip(keys.zip(values));
        blocks.map(|(first, (key_panels, value_panels))| BlockMut {
            first,
            keys: BLOCK.min(sizes.keys - first),
            key_panels,
            value_panels,
        })
    }

    /// Iterates over the blocks of a packed head.
    pub(super) fn blocks(&self, sizes: &HeadSizes) -> impl Iterator<Item = Block<'_>> {
        let keys = self.keys.chunks(sizes.key_units(BLOCK));
        let values = self.values.chunks(sizes.value_units(BLOCK));
        let blocks = (0..sizes.keys).step_by(BLOCK).zip(keys.zip(values));
        blocks.map(|(first, (key_panels, value_panels))| Block {
            first,
            keys: BLOCK.min(sizes.keys - first),
            key_panels,
            value_panels,
        })
    }
}

impl BlockMut<'_> {
    /// Packs keys and values.
    pub(super) fn pack<T: Element>(
        self,
        keys: &Tokens<'_, T>,
        values: &Tokens<'_, T>,
        sizes: &HeadSizes,
    ) {
        pack_keys(keys, sizes, self.key_panels);
        pack_values(values, sizes, self.value_panels);
    }
}

/// Packs keys as panels `[units of head_dim][rows]`.
fn pack_keys<T: Element>(keys: &Tokens<'_, T>, sizes: &HeadSizes, packed: &mut [u32]) {
    let HeadSizes { unit, set, .. } = *sizes;
    let units = unit.count(sizes.head_dim);
    let matrix = keys.matrix();
    for rows in sizes.panels(keys.count) {
        keys.prefetch(rows.end..rows.end + rows.len());
        let panel = &mut packed[rows.start * units..rows.end * units];
        let (first, count) = (rows.start, rows.len());
        pack(&matrix, [first, count], count, unit, set, unwritten(panel));
    }
}
