use super::Line;

/// Level of a word in the table.
const WORD: &str = "5";

/// Number of columns of the table: level, page, block, paragraph, line, word, left, top, width,
/// height, confidence in percent, text.
const COLUMNS: usize = 12;

/// Joins the words of a table to lines, or returns `None` if it is not a table of Tesseract.
pub(super) fn lines(table: &str) -> Option<Vec<Line>> {
    let mut rows = table.lines();
    rows.next().filter(|head| head.starts_with("level\t"))?;
    let mut lines = Vec::new();
    let mut previous = None;
    for row in rows {
        let cells: Vec<&str> = row.splitn(COLUMNS, '\t').collect();
        if cells.first() != Some(&WORD) {
            continue;
        }
        let word = Word::new(&cells)?;
        if word.text.is_empty() {
            continue;
        }
        let place = cells[1..5].to_vec();
        match lines.last_mut() {
            Some(words) if previous.as_ref() == Some(&place) => Vec::push(words, word),
            _ => lines.push(vec![word]),
        }
        previous = Some(place);
    }
    Some(lines.iter().map(|words| line(words)).collect())
}

/// Word of the table.
struct Word<'t> {
    text: &'t str,
    score: f64,
    /// Left, top, right and bottom edge in pixels.
    bounds: [f32; 4],
}

impl<'t> Word<'t> {
    fn new(cells: &[&'t str]) -> Option<Self> {
        let text = cells.get(COLUMNS - 1)?.trim();
        let number = |column: usize| cells[column].parse::<f32>().ok();
        let [left, top] = [number(6)?, number(7)?];
        let percent: f64 = cells[10].parse().ok()?;
        Some(Self {
            text,
            score: (percent / 100.0).clamp(0.0, 1.0),
            bounds: [left, top, left + number(8)?, top + number(9)?],
        })
    }
}

fn line(words: &[Word<'_>]) -> Line {
    let edge = |index: usize, choose: fn(f32, f32) -> f32| {
        let edges = words.iter().map(|word| word.bounds[index]);
        edges.reduce(choose).unwrap_or_default()
    };
    let (left, top) = (edge(0, f32::min), edge(1, f32::min));
    let (right, bottom) = (edge(2, f32::max), edge(3, f32::max));
    let texts: Vec<&str> = words.iter().map(|word| word.text).collect();
    let scores: f64 = words.iter().map(|word| word.score).sum();
    Line {
        text: texts.join(" "),
        score: scores / words.len().max(1) as f64,
        corners: [[left, top], [right, top], [right, bottom], [left, bottom]],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEAD: &str = "level\tpage_num\tblock_num\tpar_num\tline_num\tword_num\tleft\ttop\twidth\theight\tconf\ttext\n";

    #[test]
    fn words_are_joined_to_lines() {
        let rows = "4\t1\t1\t1\t1\t0\t6\t33\t60\t24\t-1\t\n\
            5\t1\t1\t1\t1\t1\t6\t33\t20\t24\t90\tBIG\n\
            5\t1\t1\t1\t1\t2\t30\t30\t36\t24\t70\tSALE\n\
            5\t1\t1\t1\t2\t1\t6\t70\t20\t24\t80\tNOW\n\
            5\t1\t2\t1\t1\t1\t0\t0\t9\t9\t95\t \n";
        let found = lines(&format!("{HEAD}{rows}")).unwrap();
        let texts: Vec<&str> = found.iter().map(|line| line.text.as_str()).collect();
        assert_eq!(texts, ["BIG SALE", "NOW"]);
        assert!((found[0].score - 0.8).abs() < 1e-9);
        assert_eq!(
            found[0].corners,
            [[6.0, 30.0], [66.0, 30.0], [66.0, 57.0], [6.0, 57.0]]
        );
    }

    #[test]
    fn other_texts_are_not_tables() {
        assert_eq!(lines(HEAD), Some(Vec::new()));
        assert_eq!(lines("BIG SALE\n"), None);
        assert_eq!(lines(&format!("{HEAD}5\t1\t1\n")), None);
        assert_eq!(
            lines(&format!("{HEAD}5\t1\t1\t1\t1\t1\tx\t0\t1\t1\t9\ta\n")),
            None
        );
    }
}
