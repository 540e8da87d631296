//! Grids of images in one file.

use image::RgbImage;
use image::imageops::crop_imm;

/// Splits a grid of `side` by `side` images, row by row. Pixels that are left over at the right and
/// at the bottom belong to no image, as for the official scorers.
pub(super) fn parts(grid: &RgbImage, side: u32) -> Vec<RgbImage> {
    let (width, height) = (grid.width() / side, grid.height() / side);
    let places = (0..side).flat_map(|row| (0..side).map(move |column| (row, column)));
    places
        .map(|(row, column)| crop_imm(grid, column * width, row * height, width, height).to_image())
        .collect()
}

/// Returns true if all pixels are black.
pub(super) fn is_black(image: &RgbImage) -> bool {
    image.as_raw().iter().all(|level| *level == 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_grid_is_split_row_by_row() {
        let grid = RgbImage::from_fn(5, 4, |x, y| image::Rgb([x as u8, y as u8, 0]));
        let parts = parts(&grid, 2);
        let corners: Vec<[u8; 3]> = parts.iter().map(|part| part.get_pixel(0, 0).0).collect();
        assert_eq!(corners, [[0, 0, 0], [2, 0, 0], [0, 2, 0], [2, 2, 0]]);
        assert!(parts.iter().all(|part| part.dimensions() == (2, 2)));
        assert!(!is_black(&grid) && is_black(&RgbImage::new(2, 2)));
    }
}
