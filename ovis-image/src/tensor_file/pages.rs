//! Buffers of weights in memory.

use std::marker::PhantomData;
use std::ops::{Deref, DerefMut};

use burn::tensor::{AllocationProperty, Bytes, Element, TensorData};
use bytemuck::Pod;
use bytemuck::allocation::zeroed_vec;
use memmap2::MmapMut;

/// Elements that begin as zeros. Many of them get pages from the system, not from the allocator, so
/// that all of their memory is given back when they are dropped: allocators keep freed memory for
/// later, and a streamed block, which comes and goes at each step, would count several times.
pub(super) enum Elements<T> {
    Heap(Vec<T>),
    Pages(Pages<T>),
}

/// Elements in pages of their own.
pub(super) struct Pages<T> {
    map: MmapMut,
    element: PhantomData<T>,
}

/// Fewer bytes come from the allocator, since a map costs a call of the system.
const LEAST_BYTES: usize = 1 << 20;

impl<T: Pod> Elements<T> {
    pub(super) fn zeroed(count: usize) -> Self {
        let map = match count.checked_mul(size_of::<T>()) {
            Some(bytes) if bytes >= LEAST_BYTES => MmapMut::map_anon(bytes).ok(),
            _ => None,
        };
        match map {
            Some(map) => Self::Pages(Pages {
                map,
                element: PhantomData,
            }),
            None => Self::Heap(zeroed_vec(count)),
        }
    }
}

impl<T: Pod + Element> Elements<T> {
    pub(super) fn into_data(self, shape: Vec<usize>) -> TensorData {
        match self {
            Self::Heap(values) => TensorData::new(values, shape),
            Self::Pages(pages) => {
                let bytes = bytes::Bytes::from_owner(pages.map);
                let bytes = Bytes::from_shared(bytes, AllocationProperty::Other);
                TensorData::from_bytes(bytes, shape, T::dtype())
            }
        }
    }
}

impl<T: Pod> Deref for Elements<T> {
    type Target = [T];

    fn deref(&self) -> &[T] {
        match self {
            Self::Heap(values) => values,
            // Pages are aligned for every element.
            Self::Pages(pages) => bytemuck::cast_slice(&pages.map),
        }
    }
}

impl<T: Pod> DerefMut for Elements<T> {
    fn deref_mut(&mut self) -> &mut [T] {
        match self {
            Self::Heap(values) => values,
            Self::Pages(pages) => bytemuck::cast_slice_mut(&mut pages.map),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filled(count: usize) -> (Elements<f32>, Vec<f32>) {
        let mut elements = Elements::<f32>::zeroed(count);
        assert!(elements.iter().all(|value| *value == 0.0));
        let expected: Vec<f32> = (0..count).map(|index| index as f32).collect();
        elements.copy_from_slice(&expected);
        (elements, expected)
    }

    #[test]
    fn many_elements_have_pages_of_their_own_and_few_have_none() {
        let least = LEAST_BYTES / 4;
        for (count, has_pages) in [(0, false), (5, false), (least - 1, false), (least, true)] {
            let (elements, expected) = filled(count);
            assert_eq!(matches!(elements, Elements::Pages(_)), has_pages);
            let data = elements.into_data(vec![count]);
            assert_eq!(data.to_vec::<f32>().unwrap(), expected);
        }
    }

    #[test]
    fn data_in_pages_can_be_changed() {
        let (elements, mut expected) = filled(LEAST_BYTES);
        let mut data = elements.into_data(vec![LEAST_BYTES]);
        data.as_mut_slice::<f32>().unwrap()[7] = -1.0;
        expected[7] = -1.0;
        assert_eq!(data.into_vec::<f32>().unwrap(), expected);
    }
}
