//! Detection of files that end before their image does. Decoders of JPEG and WebP tolerate that and
//! fill the rest with gray.

use image::ImageFormat;

/// Returns true if a file ends before its image does.
pub(super) fn is_truncated(format: ImageFormat, bytes: &[u8]) -> bool {
    match format {
        ImageFormat::Jpeg => !jpeg_has_end(bytes),
        ImageFormat::Png => !png_has_end(bytes),
        ImageFormat::WebP => {
            let size = bytes.get(4..8).and_then(|size| size.try_into().ok());
            let size = size.map_or(u32::MAX, u32::from_le_bytes);
            (bytes.len() as u64) < u64::from(size) + 8
        }
        _ => false,
    }
}

/// Walks the markers. The end marker of a thumbnail lies inside a segment, which is skipped.
fn jpeg_has_end(bytes: &[u8]) -> bool {
    let mut at = 2;
    while let Some(found) = bytes
        .get(at..)
        .and_then(|rest| rest.iter().position(|b| *b == 0xff))
    {
        let marker = at + found + 1;
        match bytes.get(marker) {
            None => return false,
            Some(0xd9) => return true,
            // A stuffed byte, a restart marker, a start.
            Some(0x00 | 0x01 | 0xd0..=0xd8) => at = marker + 1,
            // A fill byte.
            Some(0xff) => at = marker,
            Some(_) => {
                let Some(length) = bytes.get(marker + 1..marker + 3) else {
                    return false;
                };
                let length = usize::from(u16::from_be_bytes([length[0], length[1]]));
                at = marker + 1 + length.max(2);
            }
        }
    }
    false
}

/// Walks the chunks.
fn png_has_end(bytes: &[u8]) -> bool {
    let mut at = 8_usize;
    while let Some(head) = bytes.get(at..at.saturating_add(8)) {
        if &head[4..] == b"IEND" {
            return true;
        }
        let length = u32::from_be_bytes([head[0], head[1], head[2], head[3]]) as usize;
        at = at.saturating_add(length).saturating_add(12);
    }
    false
}
