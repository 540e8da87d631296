use bytemuck::Pod;
use half::{bf16, f16};

/// Float type of stored tensors; arithmetic is in f32.
pub(crate) trait Element: Pod + Send + Sync + 'static {
    /// Float type as a value.
    const KIND: Kind;
    /// Converts to f32 exactly.
    fn to_f32(self) -> f32;
    /// Rounds to the nearest value, ties to even.
    fn from_f32(value: f32) -> Self;
}

/// Supported float types.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    F32,
    F16,
    Bf16,
}

impl Element for f32 {
    const KIND: Kind = Kind::F32;
    #[inline(always)]
    fn to_f32(self) -> f32 {
        self
    }
    #[inline(always)]
    fn from_f32(value: f32) -> Self {
        value
    }
}

impl Element for bf16 {
    const KIND: Kind = Kind::Bf16;
    #[inline(always)]
    fn to_f32(self) -> f32 {
        f32::from_bits(u32::from(self.to_bits()) << 16)
    }
    // Written without a branch, so that loops over it are vectorized.
    #[inline(always)]
    fn from_f32(value: f32) -> Self {
        let bits = value.to_bits();
        let rounded = bits.wrapping_add(0x7fff + ((bits >> 16) & 1)) >> 16;
        let quiet_nan = (bits >> 16) | 0x40;
        let bits = if value.is_nan() { quiet_nan } else { rounded };
        bf16::from_bits(bits as u16)
    }
}

impl Element for f16 {
    const KIND: Kind = Kind::F16;
    #[inline(always)]
    fn to_f32(self) -> f32 {
        f16::to_f32(self)
    }
    #[inline(always)]
    fn from_f32(value: f32) -> Self {
        f16::from_f32(value)
    }
}
