//! DPG-Bench: questions about an image that are answered with yes or no, some of them only if
//! others were answered with yes (ELLA, arXiv 2403.05135). The rules are those of
//! `dpg_bench/compute_dpg_bench.py` in `TencentQQGYLab/ELLA`. The official model that answers is
//! mPLUG-large.

use super::Mode;
use super::python_text::is_space;

/// Question about an image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Question {
    /// Number of the question, from 1 (`proposition_id`).
    pub id: u32,
    /// Questions that must be answered with yes for this one to count (`dependency`). The number 0
    /// stands for no question.
    pub parents: Vec<u32>,
    /// Detailed category, such as `attribute - color`; see [`category`].
    pub category: String,
}

/// A question depends on one that does not exist.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
#[error("question {question} depends on question {parent}, which does not exist")]
pub struct UnknownParent {
    /// Number of the question.
    pub question: u32,
    /// Number of the question that does not exist.
    pub parent: u32,
}

/// Returns the detailed category in the column `tuple` of the questions: the part before the first
/// parenthesis, such as `entity - whole`.
pub fn category(tuple: &str) -> &str {
    before(tuple, '(')
}

/// Returns the broad category of a detailed one: the part before the first hyphen, such as
/// `entity`.
pub fn broad_category(category: &str) -> &str {
    before(category, '-')
}

fn before(text: &str, end: char) -> &str {
    let part = text.split(end).next().unwrap_or_default();
    part.trim_matches(is_space)
}

/// Returns true if an answer says yes. The official rule accepts only `yes` itself. In strict mode,
/// case, white space and a full stop do not count.
pub fn is_yes(answer: &str, mode: Mode) -> bool {
    match mode {
        Mode::Official => answer == "yes",
        Mode::Strict => answer
            .trim()
            .trim_end_matches('.')
            .eq_ignore_ascii_case("yes"),
    }
}

/// Groups the rows of `dpg_bench.csv` by their item, in the order of their appearance. Of questions
/// of an item with the same number, the last one counts.
///
/// The official rule skips the first row; and rows of an item that follow rows of another one
/// replace the item's earlier rows. Strict mode keeps all of them.
pub fn questions(
    rows: impl IntoIterator<Item = (String, Question)>,
    mode: Mode,
) -> Vec<(String, Vec<Question>)> {
    let skipped = match mode {
        Mode::Official => 1,
        Mode::Strict => 0,
    };
    let mut items: Vec<(String, Vec<Question>)> = Vec::new();
    let mut places = std::collections::HashMap::new();
    let mut previous = None;
    for (item, question) in rows.into_iter().skip(skipped) {
        let at = *places.entry(item.clone()).or_insert_with(|| {
            items.push((item, Vec::new()));
            items.len() - 1
        });
        let questions = &mut items[at].1;
        if previous != Some(at) && mode == Mode::Official {
            questions.clear();
        }
        previous = Some(at);
        match questions.iter_mut().find(|other| other.id == question.id) {
            Some(earlier) => *earlier = question,
            None => questions.push(question),
        }
    }
    items
}

/// Returns which answers count: those with yes whose parents count, too. `answers` has the answer
/// to each of the questions.
///
/// The official rule goes through the questions once, so a parent that comes later counts as it was
/// answered, whatever its own parents are. Strict mode has no order.
///
/// # Errors
/// Returns [`UnknownParent`] if a question depends on one that does not exist. In official mode,
/// this is an error only if none of the parents before it was answered with no. (The official
/// script drops such an image.)
pub fn counted_answers(
    questions: &[Question],
    answers: &[bool],
    mode: Mode,
) -> Result<Vec<bool>, UnknownParent> {
    let mut counted: Vec<bool> = answers.to_vec();
    counted.resize(questions.len(), false);
    loop {
        let before = counted.clone();
        for (index, question) in questions.iter().enumerate() {
            if any_parent_fails(question, questions, &counted, mode)? {
                counted[index] = false;
            }
        }
        if mode == Mode::Official || counted == before {
            return Ok(counted);
        }
    }
}

fn any_parent_fails(
    question: &Question,
    questions: &[Question],
    counted: &[bool],
    mode: Mode,
) -> Result<bool, UnknownParent> {
    let mut fails = false;
    for parent in question.parents.iter().filter(|parent| **parent != 0) {
        let at = questions.iter().position(|other| other.id == *parent);
        let at = at.ok_or(UnknownParent {
            question: question.id,
            parent: *parent,
        })?;
        fails |= !counted[at];
        if fails && mode == Mode::Official {
            break;
        }
    }
    Ok(fails)
}

/// Computes the score of an image, from 0 to 1: the share of questions whose answer counts. Returns
/// 0 without questions.
///
/// # Errors
/// Returns [`UnknownParent`] like [`counted_answers`].
pub fn score(questions: &[Question], answers: &[bool], mode: Mode) -> Result<f64, UnknownParent> {
    let counted = counted_answers(questions, answers, mode)?;
    let yes = counted.iter().filter(|counts| **counts).count();
    Ok(yes as f64 / questions.len().max(1) as f64)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn question(id: u32, parents: &[u32]) -> Question {
        Question {
            id,
            parents: parents.to_vec(),
            category: "entity - whole".to_owned(),
        }
    }

    #[test]
    fn a_question_counts_only_if_its_parents_do() {
        let questions = [question(1, &[0]), question(2, &[1]), question(3, &[2])];
        let score = |answers| score(&questions, answers, Mode::Official).unwrap();
        assert_eq!(score(&[true, true, true]), 1.0);
        assert_eq!(score(&[true, false, true]), 1.0 / 3.0);
        assert_eq!(score(&[false, true, true]), 0.0);
    }

    #[test]
    fn strict_dependencies_have_no_order() {
        let questions = [question(3, &[2]), question(2, &[1]), question(1, &[0])];
        let answers = [true, true, false];
        let counted = |mode| counted_answers(&questions, &answers, mode).unwrap();
        assert_eq!(counted(Mode::Official), [true, false, false]);
        assert_eq!(counted(Mode::Strict), [false, false, false]);
    }

    #[test]
    fn an_unknown_parent_is_an_error() {
        let questions = [question(2, &[0]), question(3, &[2, 1])];
        let expected = UnknownParent {
            question: 3,
            parent: 1,
        };
        assert_eq!(
            score(&questions, &[true, true], Mode::Official),
            Err(expected)
        );
        assert_eq!(score(&questions, &[false, true], Mode::Official), Ok(0.0));
        assert_eq!(
            score(&questions, &[false, true], Mode::Strict),
            Err(expected)
        );
    }

    #[test]
    fn the_official_rule_skips_the_first_row_and_replaces_items() {
        let rows = [("a", 1), ("a", 2), ("b", 1), ("a", 3), ("a", 3)];
        let grouped = |mode| {
            let rows = rows.map(|(item, id)| (item.to_owned(), question(id, &[0])));
            let items = questions(rows, mode).into_iter();
            items
                .map(|(item, questions)| (item, questions.iter().map(|q| q.id).collect()))
                .collect::<Vec<(String, Vec<u32>)>>()
        };
        let expected = |a: &[u32]| vec![("a".to_owned(), a.to_vec()), ("b".to_owned(), vec![1])];
        assert_eq!(grouped(Mode::Official), expected(&[3]));
        assert_eq!(grouped(Mode::Strict), expected(&[1, 2, 3]));
    }

    #[test]
    fn categories_are_parts_of_the_tuple() {
        let detailed = category("attribute - color (car, red)");
        assert_eq!(detailed, "attribute - color");
        assert_eq!(broad_category(detailed), "attribute");
    }

    #[test]
    fn strict_answers_need_not_be_exact() {
        for (answer, official, strict) in [
            ("yes", true, true),
            (" Yes.", false, true),
            ("yes it is", false, false),
            ("no", false, false),
        ] {
            assert_eq!(is_yes(answer, Mode::Official), official);
            assert_eq!(is_yes(answer, Mode::Strict), strict);
        }
    }
}
