//! Scores of GenEval, DPG-Bench and OneIG-Bench against the official scripts, on recorded
//! detections, answers and readings (`tests/reference/official_judges.py`).

use std::collections::{BTreeMap, HashMap};
use std::fs;

use ovis_image::evaluation::longtext::Language;
use ovis_image::evaluation::oneig::{TextMetrics, TextScore};
use ovis_image::evaluation::{Mode, Relation, dpg, geneval, oneig, relations};
use ovis_image_tests::golden::golden_folder;
use serde::Deserialize;
use serde::de::DeserializeOwned;

fn recorded<T: DeserializeOwned>(name: &str) -> T {
    serde_json::from_slice(&fs::read(golden_folder().join(name)).unwrap()).unwrap()
}

#[derive(Deserialize)]
struct GenEval {
    images: Vec<GenEvalImage>,
    relations: Vec<BoxPair>,
    task_percentages: HashMap<String, f64>,
    score: f64,
}

#[derive(Deserialize)]
struct GenEvalImage {
    prompt: geneval::Prompt,
    objects: Vec<geneval::Detection>,
    correct: bool,
}

#[derive(Deserialize)]
struct BoxPair {
    boxes: [[f32; 4]; 2],
    relations: Vec<Relation>,
}

#[test]
fn geneval_equals_the_official_scripts() {
    let recorded: GenEval = recorded("evaluation_geneval.json");
    assert!(recorded.images.len() >= 300);
    let mut verdicts = Vec::new();
    for image in &recorded.images {
        let correct = geneval::is_correct(&image.prompt, &image.objects);
        assert_eq!(correct, Ok(image.correct), "{:?}", image.prompt);
        verdicts.push((image.prompt.task.as_str(), image.correct));
    }
    // The official script prints five digits, and two for the percentages of tasks.
    assert!((geneval::score(verdicts.iter().copied()) - recorded.score).abs() < 5.1e-6);
    for (task, percentage) in &recorded.task_percentages {
        let of_task = verdicts.iter().filter(|(name, _)| name == task).copied();
        let share = geneval::score(of_task);
        assert!((100.0 * share - percentage).abs() < 0.0051, "{task}");
    }
}

#[test]
fn positions_of_geneval_equal_the_official_script() {
    let recorded: GenEval = recorded("evaluation_geneval.json");
    assert!(recorded.relations.len() >= 300);
    for pair in recorded.relations {
        let [bounds, target] = pair.boxes;
        assert_eq!(
            relations(bounds, target),
            pair.relations,
            "{:?}",
            pair.boxes
        );
    }
}

#[derive(Deserialize)]
struct Dpg {
    /// Item, number, numbers of the parents, tuple.
    rows: Vec<(String, u32, String, String)>,
    /// Answers to the questions of each of the four images, by item.
    answers: HashMap<String, Vec<HashMap<u32, String>>>,
    scores: HashMap<String, f64>,
    broad_percentages: BTreeMap<String, f64>,
    detailed_percentages: BTreeMap<String, f64>,
    percentage: f64,
}

impl Dpg {
    fn questions(&self) -> Vec<(String, Vec<dpg::Question>)> {
        let rows = self.rows.iter().map(|(item, id, parents, tuple)| {
            let parents = parents.split(',').map(|parent| parent.trim().parse());
            let question = dpg::Question {
                id: *id,
                parents: parents.collect::<Result<_, _>>().unwrap(),
                category: dpg::category(tuple).to_owned(),
            };
            (item.clone(), question)
        });
        dpg::questions(rows, Mode::Official)
    }

    fn answers(&self, item: &str, questions: &[dpg::Question]) -> Vec<Vec<bool>> {
        let images = self.answers[item].iter();
        let of_image = |answers: &HashMap<u32, String>| {
            let answers = questions.iter().map(|question| &answers[&question.id]);
            answers
                .map(|answer| dpg::is_yes(answer, Mode::Official))
                .collect()
        };
        images.map(of_image).collect()
    }
}

fn percentage(values: &[f64]) -> f64 {
    100.0 * values.iter().sum::<f64>() / values.len() as f64
}

#[test]
fn dpg_equals_the_official_script() {
    let recorded: Dpg = recorded("evaluation_dpg.json");
    let mut scores = Vec::new();
    let mut categories: BTreeMap<String, Vec<f64>> = BTreeMap::new();
    let mut broad_categories = categories.clone();
    for (item, questions) in recorded.questions() {
        let images = recorded.answers(&item, &questions);
        let of_images = images
            .iter()
            .map(|answers| dpg::score(&questions, answers, Mode::Official))
            .collect::<Result<Vec<f64>, _>>();
        // The official script drops an image with a question whose parent does not exist.
        let Ok(of_images) = of_images else {
            assert!(!recorded.scores.contains_key(&item), "{item}");
            continue;
        };
        let score = of_images.iter().sum::<f64>() / of_images.len() as f64;
        assert_eq!(score, recorded.scores[&item], "{item}");
        scores.push(score);
        for (question, answer) in questions.iter().zip(&images[3]) {
            let value = f64::from(*answer);
            let broad = dpg::broad_category(&question.category).to_owned();
            broad_categories.entry(broad).or_default().push(value);
            let detailed = question.category.clone();
            categories.entry(detailed).or_default().push(value);
        }
    }
    assert!(scores.len() >= 300);
    assert_eq!(scores.len(), recorded.scores.len());
    // The official script adds the values in another order.
    assert!((percentage(&scores) - recorded.percentage).abs() < 1e-10);
    for (found, expected) in [
        (categories, recorded.detailed_percentages),
        (broad_categories, recorded.broad_percentages),
    ] {
        assert!(found.keys().eq(expected.keys()));
        for (category, values) in found {
            assert!((percentage(&values) - expected[&category]).abs() < 1e-10);
        }
    }
}

#[derive(Deserialize)]
struct OneIg {
    images_en: Vec<OneIgImage>,
    metrics_en: OneIgMetrics,
    images_zh: Vec<OneIgImage>,
    metrics_zh: OneIgMetrics,
}

#[derive(Deserialize)]
struct OneIgImage {
    cell: String,
    reading: String,
    /// Edit distance, 1 for a complete text, share of words or characters.
    scores: [f64; 3],
}

#[derive(Deserialize)]
struct OneIgMetrics {
    edit_distance: f64,
    completion_rate: f64,
    word_accuracy: f64,
    score: f64,
}

#[test]
fn oneig_equals_the_official_script() {
    let recorded: OneIg = recorded("evaluation_oneig.json");
    assert!(recorded.images_en.len() + recorded.images_zh.len() >= 300);
    for (images, expected, language) in [
        (recorded.images_en, recorded.metrics_en, Language::English),
        (recorded.images_zh, recorded.metrics_zh, Language::Chinese),
    ] {
        let mut scores: Vec<TextScore> = Vec::new();
        for image in images {
            let score = oneig::score(&image.cell, Some(&image.reading), language, Mode::Official);
            let [distance, complete, share] = image.scores;
            assert_eq!(score.edit_distance as f64, distance, "{}", image.cell);
            assert_eq!(f64::from(score.edit_distance == 0), complete);
            assert_eq!(score.matched as f64 / score.expected.max(1) as f64, share);
            scores.push(score);
        }
        let metrics = TextMetrics::new(&scores, language);
        assert_eq!(metrics.edit_distance, expected.edit_distance);
        assert_eq!(metrics.completion_rate, expected.completion_rate);
        assert_eq!(metrics.word_accuracy, expected.word_accuracy);
        assert_eq!(metrics.score, expected.score);
    }
}
