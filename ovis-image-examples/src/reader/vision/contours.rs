//! Borders of the regions of a mask and of their holes, as `cv2.findContours` with `RETR_LIST`: the
//! algorithm of Suzuki and Abe (1985).

use super::Point;

/// The eight neighbors of a pixel as `[x, y]`, counterclockwise on the screen, from the right one.
const NEIGHBORS: [[isize; 2]; 8] = [
    [1, 0],
    [1, -1],
    [0, -1],
    [-1, -1],
    [-1, 0],
    [-1, 1],
    [0, 1],
    [1, 1],
];
const RIGHT: usize = 0;
const LEFT: usize = 4;

/// Pixel of a region that lies on no border so far.
const INSIDE: i8 = 1;
/// Pixel of a border that was followed.
const BORDER: i8 = 2;
/// Pixel of a border that was followed, with background at its right.
const RIGHT_BORDER: i8 = -2;

/// Mask with a margin of one background pixel on each side.
struct Marks {
    stride: usize,
    values: Vec<i8>,
}

impl Marks {
    fn step(&self, position: usize, direction: usize) -> usize {
        let [x, y] = NEIGHBORS[direction];
        position.wrapping_add_signed(y * self.stride as isize + x)
    }

    fn is_set(&self, position: usize, direction: usize) -> bool {
        self.values[self.step(position, direction)] != 0
    }
}

/// Returns the border pixels of each region and each hole of a mask whose rows have `width` pixels.
/// As in OpenCV, the border that is met last comes first.
pub(in crate::reader) fn find_contours(mask: &[bool], width: usize) -> Vec<Vec<Point>> {
    let stride = width + 2;
    let mut values = vec![0; stride];
    for row in mask.chunks_exact(width.max(1)) {
        values.push(0);
        values.extend(row.iter().map(|set| i8::from(*set)));
        values.push(0);
    }
    values.resize(values.len() + stride, 0);
    let mut marks = Marks { stride, values };
    let mut contours = Vec::new();
    for start in stride..marks.values.len() - stride {
        let value = marks.values[start];
        if value == INSIDE && !marks.is_set(start, LEFT) {
            contours.push(follow(&mut marks, start, LEFT));
        } else if value > 0 && !marks.is_set(start, RIGHT) {
            contours.push(follow(&mut marks, start, RIGHT));
        }
    }
    contours.reverse();
    contours
}

/// Follows the border at a pixel whose neighbor in `background`'s direction is not of the region.
fn follow(marks: &mut Marks, start: usize, background: usize) -> Vec<Point> {
    let stride = marks.stride;
    let point = |position: usize| Point {
        x: (position % stride) as i32 - 1,
        y: (position / stride) as i32 - 1,
    };
    let clockwise = (1..8).map(|turn| (background + 8 - turn) % 8);
    let Some(first) = clockwise.into_iter().find(|d| marks.is_set(start, *d)) else {
        marks.values[start] = RIGHT_BORDER;
        return vec![point(start)];
    };
    let last = marks.step(start, first);
    let (mut position, mut from) = (start, first);
    let mut border = Vec::new();
    loop {
        let mut passed_right = false;
        let mut next = from;
        // The pixel that was left is of the region, so the search ends there at the latest.
        for turn in 1..=8 {
            next = (from + turn) % 8;
            if marks.is_set(position, next) {
                break;
            }
            passed_right |= next == RIGHT;
        }
        if passed_right {
            marks.values[position] = RIGHT_BORDER;
        } else if marks.values[position] == INSIDE {
            marks.values[position] = BORDER;
        }
        border.push(point(position));
        let following = marks.step(position, next);
        if following == start && position == last {
            return border;
        }
        position = following;
        from = (next + 4) % 8;
    }
}
