//! Convex hulls of whole points, as `cv2.convexHull`: exact, and with OpenCV's first vertex, which
//! decides between rectangles of equal area.

use super::Point;

/// Returns the vertices of the hull with the region at their right on the screen, in the order of
/// OpenCV.
pub(in crate::reader) fn convex_hull(points: &[Point]) -> Vec<Point> {
    let mut order: Vec<usize> = (0..points.len()).collect();
    order.sort_by_key(|index| (points[*index], *index));
    order.dedup_by_key(|index| points[*index]);
    if order.len() <= 2 {
        return order.iter().rev().map(|index| points[*index]).collect();
    }
    let upper = chain(points, order.iter().copied());
    let mut hull = chain(points, order.iter().rev().copied());
    hull.pop();
    hull.extend(&upper[..upper.len() - 1]);
    start_as_given(&mut hull);
    hull.into_iter().map(|index| points[index]).collect()
}

/// Returns the part of the hull from the first to the last point.
fn chain(points: &[Point], order: impl Iterator<Item = usize>) -> Vec<usize> {
    let mut chain: Vec<usize> = Vec::new();
    for index in order {
        while let [.., before, middle] = chain[..]
            && turn(points[before], points[middle], points[index]) <= 0
        {
            chain.pop();
        }
        chain.push(index);
    }
    chain
}

fn turn(first: Point, second: Point, third: Point) -> i64 {
    let difference = |a: i32, b: i32| i64::from(b) - i64::from(a);
    difference(first.x, second.x) * difference(first.y, third.y)
        - difference(first.y, second.y) * difference(first.x, third.x)
}

/// Rotates the hull so that indices ascend or descend, if one of the rotations does that.
fn start_as_given(hull: &mut Vec<usize>) {
    let count = hull.len();
    let lowest = (0..count).min_by_key(|at| hull[*at]).unwrap_or(0);
    let highest = (0..count).max_by_key(|at| hull[*at]).unwrap_or(0);
    let ascending = (highest + 1) % count == lowest;
    let start = if ascending { lowest } else { highest };
    let mut rotated = hull.clone();
    rotated.rotate_left(start);
    if rotated
        .windows(2)
        .all(|pair| (pair[0] < pair[1]) == ascending)
    {
        *hull = rotated;
    }
}
