//! Signs, the benchmark of the small model in this repository: one text in one color on a ground of
//! another.

use super::edit_distance;

/// Smallest distance of two colors, in levels of a channel, at which text stands out from a ground.
const LEAST_DISTANCE: f64 = 24.0;

/// Pixels count as text from this part of the distance between ground and farthest color. Those
/// below are the soft edges of letters.
const TEXT_PART: f64 = 0.75;

/// Score of the text of one image.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
#[non_exhaustive]
pub struct SignScore {
    /// Whether the whole text was read.
    pub exact: bool,
    /// One minus the edit distance over the length of the longer text, 0 to 1.
    pub similarity: f64,
}

/// Returns a text as it is compared: without white space, in capitals, with 0 as O and 1 as I,
/// which many fonts do not tell apart.
pub fn normalized(text: &str) -> String {
    let kept = text.chars().filter(|character| !character.is_whitespace());
    kept.flat_map(char::to_uppercase)
        .map(|character| match character {
            '0' => 'O',
            '1' => 'I',
            other => other,
        })
        .collect()
}

/// Scores the lines that were read against the text of the prompt. `None` stands for a missing
/// image, which scores 0.
pub fn score(text: &str, lines: Option<&[String]>) -> SignScore {
    let Some(lines) = lines else {
        return SignScore::default();
    };
    let (expected, read) = (normalized(text), normalized(&lines.concat()));
    let longest = expected.chars().count().max(read.chars().count()).max(1);
    SignScore {
        exact: expected == read,
        similarity: 1.0 - edit_distance(&expected, &read) as f64 / longest as f64,
    }
}

/// Colors of a sign, measured from its pixels.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct SignColors {
    /// Median of all pixels, channel by channel: the ground, where letters cover less than half.
    pub ground: [u8; 3],
    /// Median of the pixels farthest from the ground, or `None` if nothing stands out from it.
    pub text: Option<[u8; 3]>,
}

/// Measures the colors of a sign from its pixels in red, green and blue, or returns `None` without
/// pixels.
pub fn colors(pixels: &[[u8; 3]]) -> Option<SignColors> {
    let ground = median(pixels)?;
    let farthest = pixels
        .iter()
        .map(|pixel| distance(*pixel, ground))
        .fold(0.0, f64::max);
    let text: Vec<[u8; 3]> = pixels
        .iter()
        .filter(|pixel| distance(**pixel, ground) >= TEXT_PART * farthest)
        .copied()
        .collect();
    Some(SignColors {
        ground,
        text: median(&text).filter(|_| farthest >= LEAST_DISTANCE),
    })
}

/// Computes the Euclidean distance of two colors, in levels of a channel.
pub fn distance(first: [u8; 3], second: [u8; 3]) -> f64 {
    let squares = first.iter().zip(second).map(|(first, second)| {
        let difference = f64::from(*first) - f64::from(second);
        difference * difference
    });
    squares.sum::<f64>().sqrt()
}

fn median(pixels: &[[u8; 3]]) -> Option<[u8; 3]> {
    let middle = pixels.len() / 2;
    let mut median = [0; 3];
    for (channel, value) in median.iter_mut().enumerate() {
        let mut levels: Vec<u8> = pixels.iter().map(|pixel| pixel[channel]).collect();
        if levels.is_empty() {
            return None;
        }
        *value = *levels.select_nth_unstable(middle).1;
    }
    Some(median)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str, lines: &[&str]) -> SignScore {
        let lines: Vec<String> = lines.iter().map(|line| (*line).to_owned()).collect();
        score(text, Some(&lines))
    }

    #[test]
    fn case_spaces_and_similar_digits_do_not_count() {
        assert!(read("OPEN T0DAY 1", &["open", "TODAYI"]).exact);
        let wrong = read("OPEN", &["OPFN"]);
        assert_eq!((wrong.exact, wrong.similarity), (false, 0.75));
        assert_eq!(read("AB", &["ABCD"]).similarity, 0.5);
    }

    #[test]
    fn nothing_read_scores_nothing() {
        assert_eq!(read("OPEN", &[]).similarity, 0.0);
        assert_eq!(score("OPEN", None), SignScore::default());
    }

    #[test]
    fn colors_are_those_of_ground_and_letters() {
        let mut pixels = vec![[10, 20, 30]; 60];
        pixels.extend([[120, 110, 100]; 15]);
        pixels.extend([[250, 240, 230]; 25]);
        let found = colors(&pixels).unwrap();
        assert_eq!(found.ground, [10, 20, 30]);
        assert_eq!(found.text, Some([250, 240, 230]));
        assert_eq!(colors(&[[9, 9, 9]; 4]).unwrap().text, None);
        assert_eq!(colors(&[]), None);
    }
}
