//! Captions that are lists of tags, in another order or with fewer tags each time.

use ovis_image::sampling::NoiseGenerator;

use super::has_word;

/// Changes to captions, which are split at commas.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct TagChanges {
    /// True if the tags are shuffled.
    pub shuffle: bool,
    /// Number of tags at the front that stay where they are.
    pub keep: usize,
    /// Share of the other tags that is left out.
    pub dropout: f32,
    /// Word whose tag is moved to the front, and stays.
    pub trigger: Option<String>,
}

impl TagChanges {
    /// Returns true if captions stay as they are.
    pub fn is_none(&self) -> bool {
        !self.shuffle && self.dropout == 0.0
    }

    /// Changes a caption. A caption that stays as it is takes no random numbers.
    pub fn apply(&self, caption: &str, generator: &mut NoiseGenerator) -> String {
        if self.is_none() {
            return caption.to_owned();
        }
        let tags = caption.split(',').map(str::trim);
        let mut tags: Vec<&str> = tags.filter(|tag| !tag.is_empty()).collect();
        let of_trigger = |tag: &&str| match &self.trigger {
            Some(word) => has_word(tag, word),
            None => false,
        };
        let trigger = tags.iter().position(of_trigger);
        if let Some(place) = trigger {
            tags[..=place].rotate_right(1);
        }
        let keep = self.keep.max(usize::from(trigger.is_some()));
        let mut others = tags.split_off(keep.min(tags.len()));
        if self.dropout > 0.0 {
            others.retain(|_| generator.uniform() >= self.dropout);
        }
        if self.shuffle {
            for last in (1..others.len()).rev() {
                let chosen = (generator.uniform() * (last + 1) as f32) as usize;
                others.swap(last, chosen.min(last));
            }
        }
        tags.append(&mut others);
        tags.join(", ")
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    const CAPTION: &str = "ovsstyle, red, green ,blue,, black";

    #[test]
    fn tags_are_shuffled_behind_those_that_are_kept() {
        let changes = TagChanges {
            shuffle: true,
            keep: 1,
            ..TagChanges::default()
        };
        let mut generator = NoiseGenerator::from_seed(1);
        let mut orders = BTreeSet::new();
        for _ in 0..200 {
            let caption = changes.apply(CAPTION, &mut generator);
            let mut tags: Vec<&str> = caption.split(", ").collect();
            assert_eq!(tags[0], "ovsstyle");
            tags.sort_unstable();
            assert_eq!(tags, ["black", "blue", "green", "ovsstyle", "red"]);
            orders.insert(caption);
        }
        assert_eq!(orders.len(), 24, "all orders of four tags occur");
    }

    #[test]
    fn a_share_of_the_tags_is_left_out() {
        let changes = TagChanges {
            keep: 1,
            dropout: 0.25,
            ..TagChanges::default()
        };
        let mut generator = NoiseGenerator::from_seed(1);
        let mut left = 0;
        for _ in 0..1000 {
            let caption = changes.apply(CAPTION, &mut generator);
            assert!(caption.starts_with("ovsstyle"), "{caption}");
            left += caption.split(", ").count() - 1;
        }
        assert!((2900..3100).contains(&left), "{left} of 4000");
        let all = TagChanges {
            dropout: 1.0,
            ..changes
        };
        assert_eq!(all.apply(CAPTION, &mut generator), "ovsstyle");
    }

    #[test]
    fn the_tag_of_the_trigger_moves_to_the_front_and_stays() {
        let changes = TagChanges {
            dropout: 1.0,
            trigger: Some("ovsstyle".to_owned()),
            ..TagChanges::default()
        };
        let mut generator = NoiseGenerator::from_seed(1);
        let caption = changes.apply("red car, by ovsstyle, flat", &mut generator);
        assert_eq!(caption, "by ovsstyle");
    }

    #[test]
    fn a_caption_without_changes_stays_and_takes_no_numbers() {
        let mut generator = NoiseGenerator::from_seed(1);
        let changes = TagChanges {
            keep: 2,
            ..TagChanges::default()
        };
        assert_eq!(changes.apply(CAPTION, &mut generator), CAPTION);
        let mut other = NoiseGenerator::from_seed(1);
        assert_eq!(generator.uniform(), other.uniform());
    }
}
