//! Reading order: from top to bottom, and from left to right where boxes begin at nearly the same
//! height.

use super::Corners;

/// Boxes that begin at heights of less than this difference, in pixels, are in one line.
const SAME_LINE: f32 = 10.0;

/// Sorts boxes into reading order.
pub(super) fn sort(boxes: &mut [Corners]) {
    let key = |corners: &Corners| (corners[0][1], corners[0][0]);
    boxes.sort_by(|first, second| {
        let ((y, x), (other_y, other_x)) = (key(first), key(second));
        y.total_cmp(&other_y).then(x.total_cmp(&other_x))
    });
    for end in 1..boxes.len() {
        for at in (0..end).rev() {
            let ((y, x), (next_y, next_x)) = (key(&boxes[at]), key(&boxes[at + 1]));
            if (next_y - y).abs() >= SAME_LINE || next_x >= x {
                break;
            }
            boxes.swap(at, at + 1);
        }
    }
}
