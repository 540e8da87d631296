use serde::Deserialize;

/// Position of an object relative to another one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Deserialize)]
pub enum Relation {
    /// Left of the other object.
    #[serde(rename = "left of")]
    LeftOf,
    /// Right of the other object.
    #[serde(rename = "right of")]
    RightOf,
    /// Above the other object.
    #[serde(rename = "above")]
    Above,
    /// Below the other object.
    #[serde(rename = "below")]
    Below,
}

/// Centers closer than this part of the sum of both extents have no relation.
const POSITION_THRESHOLD: f32 = 0.1;

/// Returns the relations of an object to a target: none if they are too close, one, or two on a
/// diagonal. Both boxes have a left, top, right and bottom edge in pixels. The rule is
/// `relative_position` of GenEval in f32, the precision of the official boxes. Boxes that are not
/// finite have no relations.
pub fn relations(bounds: [f32; 4], target: [f32; 4]) -> Vec<Relation> {
    let [x, y] = [0, 1].map(|axis| offset(bounds, target, axis));
    let revised = [x, y].map(|(_, revised)| revised);
    if revised.iter().all(|offset| offset.abs() < 1e-3) {
        return Vec::new();
    }
    let length = (x.0 * x.0 + y.0 * y.0).sqrt();
    let [x, y] = revised.map(|offset| offset / length);
    let relations = [
        (x < -0.5, Relation::LeftOf),
        (x > 0.5, Relation::RightOf),
        (y < -0.5, Relation::Above),
        (y > 0.5, Relation::Below),
    ];
    let holds = relations.into_iter().filter(|(holds, _)| *holds);
    holds.map(|(_, relation)| relation).collect()
}

/// Returns the offset of the centers along an axis, and how far it exceeds the threshold.
fn offset(bounds: [f32; 4], target: [f32; 4], axis: usize) -> (f32, f32) {
    let center = |bounds: [f32; 4]| (bounds[axis] + bounds[axis + 2]) / 2.0;
    let extent = |bounds: [f32; 4]| (bounds[axis + 2] - bounds[axis]).abs();
    let offset = center(bounds) - center(target);
    let least = POSITION_THRESHOLD * (extent(bounds) + extent(target));
    let excess = (offset.abs() - least).max(0.0);
    (offset, if offset < 0.0 { -excess } else { excess })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_diagonal_has_two_relations() {
        let target = [0.0, 0.0, 10.0, 10.0];
        assert_eq!(
            relations([-50.0, -50.0, -40.0, -40.0], target),
            [Relation::LeftOf, Relation::Above]
        );
        assert_eq!(
            relations([40.0, 5.0, 50.0, 15.0], target),
            [Relation::RightOf]
        );
        assert_eq!(
            relations([0.0, 20.0, 10.0, 30.0], target),
            [Relation::Below]
        );
    }

    #[test]
    fn objects_that_are_close_have_no_relation() {
        let target = [0.0, 0.0, 10.0, 10.0];
        assert_eq!(relations([2.0, 0.0, 12.0, 10.0], target), []);
        assert_eq!(relations(target, target), []);
        assert_eq!(relations([f32::NAN; 4], target), []);
    }
}
